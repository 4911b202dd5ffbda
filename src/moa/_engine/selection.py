"""Selection: the aggregator names the best proposal, and that proposal is the answer, whole."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from moa.errors import UnusableReply
from moa.providers._base import Reply

_OBJECT = re.compile(r"\{[^{}]*\}")


def choice_format(count: int) -> Mapping[str, Any]:
    """Return the response format that admits nothing but the number of one of `count` proposals."""
    schema = {
        "type": "object",
        "properties": {"best": {"type": "integer", "minimum": 1, "maximum": count}},
        "required": ["best"],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "selection", "strict": True, "schema": schema}}


def chosen(reply: Reply, reference: str, count: int) -> int:
    """Return which proposal a reply names, from 0.

    Only a JSON object `{"best": number}` counts, be it inside of prose or a code fence; a number that merely occurs in
    prose doesn't. Objects that disagree count as none.

    Raises:
        UnusableReply: The reply names no proposal, or several.
    """
    named = {best for best in _named(reply.text) if 1 <= best <= count}
    if len(named) != 1:
        raise UnusableReply(f'no selection: the reply is not {{"best": 1 to {count}}}', model=reference)
    return named.pop() - 1


def _named(text: str) -> Iterator[int]:
    for match in _OBJECT.finditer(text):
        try:
            value = json.loads(match.group())
        except json.JSONDecodeError:
            continue
        best = value.get("best")
        if isinstance(best, int) and not isinstance(best, bool):
            yield best
