"""The prompt of a row of a user's file: a text, or a conversation."""

import json
from collections.abc import Mapping
from typing import Any

from moa._messages import Message, conversation, whole_characters
from moa.errors import UsageError

PROMPT_COLUMNS = ("prompt", "instruction", "messages")
"""Columns in which a prompt may stand; the first one that a row has counts."""


def prompt_in(row: Mapping[str, Any], column: str | None = None) -> str | tuple[Message, ...]:
    """Return the prompt of a row.

    Args:
        row: Its columns.
        column: Where the prompt stands; None looks into `PROMPT_COLUMNS`.

    Raises:
        UsageError: There is none, or it is no conversation.
    """
    columns = PROMPT_COLUMNS if column is None else (column,)
    value = next((row[name] for name in columns if row.get(name)), None)
    if value is None:
        raise UsageError(f"has no prompt: it needs {'one of ' if column is None else ''}{', '.join(columns)}")
    if isinstance(value, str):
        value = messages_in(value)
    try:
        turns = conversation(value)
    except (UsageError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"the prompt can't be used: {error}") from error
    return whole_characters(value) if isinstance(value, str) else turns


def messages_in(text: str) -> Any:
    """Return the messages that a text is as JSON, as a cell of a CSV file holds them; else the text."""
    if not text.lstrip().startswith("["):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    is_conversation = isinstance(value, list) and all(
        isinstance(one, dict) and {"role", "content"} <= one.keys() for one in value
    )
    return value if is_conversation and value else text
