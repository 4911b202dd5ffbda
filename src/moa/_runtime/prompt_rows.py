"""The prompt of a row of a user's file: a text, or a conversation."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from moa._messages import MESSAGE_KEYS, Message, conversation, whole_characters
from moa._validation.suggestions import did_you_mean
from moa.errors import UsageError

PROMPT_COLUMNS = ("prompt", "instruction", "messages")
"""Columns in which a prompt may stand; the first one that a row has counts."""

DATASET_COLUMNS = (
    *("question", "query", "problem", "input", "user_input"),
    *("conversations", "conversation", "conversation_input", "turns"),
    *("inputs", "body", "params"),
)
"""Columns in which others write prompts: public datasets, exports of evaluation tools, batch files of services."""

ANSWER_COLUMNS = ("answer", "output", "outputs", "response", "completion")
"""Columns in which a row may have an answer to its prompt; the first one counts."""

_INSTRUCTED = ("input", "context")
"""What an instruction is about, in columns of its own: Alpaca's and Dolly's."""

_SHOWN_TOO = ("context", "choices", "options")
"""What a model has to see beside a question, and datasets leave to a template."""

_SPEAKERS = {"human": "user", "gpt": "assistant", "chatgpt": "assistant"}
"""Roles as ShareGPT's files name them."""

_CHANGES_A_TURN = (*MESSAGE_KEYS, "function_call", "image", "images", "audio", "video", "files")
"""Keys of a turn that aren't ignored: what can't be sent is refused by name."""

MOST_NAMED = 12
"""The most columns that an error names."""


def prompt_in(row: Mapping[str, Any], column: str | None = None) -> str | tuple[Message, ...]:
    """Return the prompt of a row.

    Args:
        row: Its columns.
        column: Where the prompt stands; None looks into `PROMPT_COLUMNS`, then into `DATASET_COLUMNS`.

    Raises:
        UsageError: There is none, it is no conversation, or what belongs to it stands elsewhere.
    """
    value = _found(row) if column is None else row.get(column)
    if not value:
        raise UsageError(f"has no prompt: it needs {column}" if column else f"has no prompt {_columns(row)}")
    if isinstance(value, str):
        value = messages_in(value)
    if isinstance(value, list):
        value = [_turn(one) for one in value]
    try:
        turns = conversation(value)
    except (UsageError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"the prompt can't be used: {error}") from error
    return whole_characters(value) if isinstance(value, str) else turns


def asked_in(row: Mapping[str, Any]) -> tuple[str | tuple[Message, ...], list[str]]:
    """Return what a row asks, and the answer that its conversation ends with, as logs and training data do.

    Raises:
        UsageError: As for `prompt_in`.
    """
    prompt = prompt_in(row)
    if isinstance(prompt, str) or prompt[-1].role != "assistant" or len(prompt) == 1:
        return prompt, []
    return prompt[:-1], [prompt[-1].text] if prompt[-1].text else []


def text_of(prompt: str | tuple[Message, ...]) -> str:
    """Return a prompt as one text."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return prompt[0].text
    return "\n\n".join(f"{message.role}: {message.text}" for message in prompt)


def answers_in(row: Mapping[str, Any], columns: Sequence[str] = ANSWER_COLUMNS) -> list[str]:
    """Return the answers in the first of some columns that has any: texts, messages, or a traced function's outputs."""
    name = next((one for one in columns if row.get(one) not in (None, "", [])), None)
    return [] if name is None else _texts(row[name], columns)


def _texts(value: Any, columns: Sequence[str]) -> list[str]:
    if isinstance(value, Mapping):
        inside = value.get("content") or value.get("message") or answers_in(value, columns)
        if not inside and len(value) == 1:
            (inside,) = value.values()
        return _texts(inside, columns) if inside else [json.dumps(value, ensure_ascii=False, default=str)]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one, columns)]
    return [str(value)]


def _found(row: Mapping[str, Any]) -> Any:
    """What a row says as its prompt, with what belongs to it from other columns; None if there is nothing."""
    name = next((one for one in (*PROMPT_COLUMNS, *DATASET_COLUMNS) if row.get(one)), None)
    if name is None:
        return None
    value = row[name]
    if isinstance(value, Mapping):
        return _found(value) or _only_text(value, name)
    if name == "instruction" and isinstance(value, str):
        value = "\n\n".join([value, *(text for one in _INSTRUCTED if isinstance(text := row.get(one), str) and text)])
    elif name in DATASET_COLUMNS:
        _require_whole(row, name)
    has_turns = isinstance(value, list)
    if name == "turns" or (has_turns and len(value) > 1 and all(isinstance(one, str) for one in value)):
        return _one_turn(value, "`turns`" if name == "turns" else f"turns in `{name}`")
    system = row.get("system_prompt") or (row.get("system") if has_turns else None)
    if not system or not isinstance(system, str | list):
        return value
    turns = value if has_turns else [{"role": "user", "content": value}]
    return [{"role": "system", "content": system}, *turns]


def _only_text(values: Mapping[str, Any], name: str) -> str:
    texts = [value for value in values.values() if value]
    if len(texts) != 1 or not isinstance(texts[0], str):
        raise UsageError(f"has no prompt: `{name}` {_columns(values)}")
    return texts[0]


def _require_whole(row: Mapping[str, Any], name: str) -> None:
    variables = [key for key in row if str(key).startswith("__expected")]
    beside = variables[0] if variables else next((one for one in _SHOWN_TOO if row.get(one)), None)
    if beside is not None:
        raise UsageError(
            f"has `{beside}` beside `{name}`: write all that a model is to be shown into a column `prompt`"
        )


def _one_turn(value: Any, what: str) -> Any:
    if not isinstance(value, list) or len(value) != 1:
        raise UsageError(
            f"has several {what}, of which each is asked after an answer to the one before: one prompt is asked of "
            "each row, so write the one to ask into a column `prompt`, or a conversation into `messages`"
        )
    return value[0].get("content") if isinstance(value[0], Mapping) else value[0]


def _columns(row: Mapping[str, Any]) -> str:
    """What columns a row has, and what to do."""
    if empty := [name for name in PROMPT_COLUMNS if name in row]:
        return f"in its column `{empty[0]}`, which is empty"
    names = ", ".join(f"`{name}`" for name in [*row][:MOST_NAMED]) or "none"
    return f"in a column that is known; its columns are {names}: name the one with the prompt `prompt`"


def _turn(value: Any) -> Any:
    """A turn as the OpenAI API has it, without what datasets note about turns, such as their language."""
    if not isinstance(value, Mapping):
        return value
    if "from" in value and "value" in value:
        speaker = value["from"]
        return {"role": _SPEAKERS.get(speaker, speaker), "content": value["value"]}
    return {
        key: content for key, content in value.items() if key in _CHANGES_A_TURN or did_you_mean(str(key), MESSAGE_KEYS)
    }


def messages_in(text: str) -> Any:
    """Return the messages that a text is as JSON, as a cell of a CSV file holds them; else the text."""
    if not text.lstrip().startswith("["):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    is_conversation = isinstance(value, list) and all(
        isinstance(one, dict) and ({"role", "content"} <= one.keys() or {"from", "value"} <= one.keys())
        for one in value
    )
    return value if is_conversation and value else text
