"""Tool calls in pieces: which piece belongs to which call, whatever a service makes of ids and indices."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from moa.providers._base import ToolCallDelta
from moa.providers._lenient_json import whole_characters
from moa.providers._service_state import ServiceState


@dataclass(slots=True, kw_only=True)
class _ToolCall:
    index: int
    id: str
    name: str
    arguments: str = ""


class ToolCalls:
    """The calls of one reply.

    A service may number the pieces of every call 0, leave the index or the id out, or send each call whole. A piece
    begins another call if it has another id together with a name, or a name after the call before has its arguments
    whole.

    Args:
        owner: Whom the state that calls carry belongs to.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._calls: list[_ToolCall] = []
        self._by_index: dict[int, _ToolCall] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, piece: Mapping[str, Any], function: Mapping[str, Any]) -> ToolCallDelta:
        """Return a piece as our event."""
        call_id = piece.get("id") if isinstance(piece.get("id"), str) else ""
        name = function.get("name") if isinstance(function.get("name"), str) else ""
        arguments = function.get("arguments")
        if not isinstance(arguments, str):
            arguments = "" if arguments is None else orjson.dumps(arguments).decode()
        call = self._call_of(piece.get("index"), call_id or "", name or "")
        call.arguments += arguments
        extra = piece.get("extra_content")
        return ToolCallDelta(
            index=call.index,
            id=call_id or None,
            name=name or None,
            arguments=whole_characters(arguments),
            state=ServiceState(self._owner, {"extra_content": extra}) if isinstance(extra, dict) else None,
        )

    def _call_of(self, index: object, call_id: str, name: str) -> _ToolCall:
        key = int(index) if isinstance(index, int) or (isinstance(index, str) and index.isdecimal()) else None
        known = self._by_index.get(key) if key is not None else None
        if known is None and key is None:
            known = next((call for call in self._calls if call_id and call.id == call_id), None)
            known = known or (self._calls[-1] if self._calls and not (call_id and name) else None)
        if known is not None and not self._begins(known, call_id, name):
            known.id, known.name = known.id or call_id, known.name or name
            return known
        call = _ToolCall(index=len(self._calls), id=call_id, name=name)
        self._calls.append(call)
        if key is not None:
            self._by_index[key] = call
        return call

    def _begins(self, known: _ToolCall, call_id: str, name: str) -> bool:
        """Whether a piece begins another call than the one that it would otherwise go on with."""
        if not name or not known.name:
            return False
        if call_id:
            return bool(known.id) and call_id != known.id
        return _is_whole(known.arguments)

    def end(self) -> list[ToolCallDelta]:
        """Return what is missing of calls: an empty object for no arguments, an id for a result to answer to."""
        return [
            ToolCallDelta(
                index=call.index,
                id=None if call.id else f"call_{call.index}",
                arguments="" if call.arguments.strip() else "{}",
            )
            for call in self._calls
            if not call.id or not call.arguments.strip()
        ]


def _is_whole(arguments: str) -> bool:
    try:
        return isinstance(orjson.loads(arguments), dict)
    except orjson.JSONDecodeError:
        return False
