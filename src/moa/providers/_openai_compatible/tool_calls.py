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
    service_id: str
    id: str
    name: str
    arguments: str = ""


class ToolCalls:
    """The calls of one reply.

    A service may number the pieces of every call 0, leave the index or the id out, send each call whole, or give
    several calls the same id. A piece begins another call if it has another id or another function's name, or a name
    after the call before has its arguments whole. A call that is repeated whole under its id is one call.

    Args:
        owner: Whom the state that calls carry belongs to.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._calls: list[_ToolCall] = []
        self._by_index: dict[int, _ToolCall] = {}

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def has_nameless(self) -> bool:
        """Whether a call has come whose function is unknown."""
        return not all(call.name for call in self._calls)

    def add(self, piece: Mapping[str, Any], function: Mapping[str, Any]) -> ToolCallDelta:
        """Return a piece as our event."""
        service_id = piece.get("id") if isinstance(piece.get("id"), str) else ""
        name = function.get("name") if isinstance(function.get("name"), str) else ""
        arguments = function.get("arguments")
        if not isinstance(arguments, str):
            arguments = "" if arguments is None else orjson.dumps(arguments).decode()
        call = self._call_of(piece.get("index"), service_id or "", name or "", arguments)
        if (
            service_id
            and service_id == call.service_id
            and name
            and _is_whole(arguments)
            and arguments == call.arguments
        ):
            arguments = ""
        call.arguments += arguments
        extra = piece.get("extra_content")
        return ToolCallDelta(
            index=call.index,
            id=call.id if service_id else None,
            name=name or None,
            arguments=whole_characters(arguments),
            state=ServiceState(self._owner, {"extra_content": extra}) if isinstance(extra, dict) else None,
        )

    def _call_of(self, index: object, service_id: str, name: str, arguments: str) -> _ToolCall:
        key = int(index) if isinstance(index, int) or (isinstance(index, str) and index.isdecimal()) else None
        known = self._by_index.get(key) if key is not None else None
        if known is None and key is None:
            known = next((call for call in reversed(self._calls) if service_id and call.service_id == service_id), None)
            known = known or (self._calls[-1] if self._calls and not (service_id and name) else None)
        if known is not None and not self._begins(known, service_id, name, arguments):
            known.service_id, known.name = known.service_id or service_id, known.name or name
            known.id = known.id or service_id
            return known
        # Results are told apart by the ids of their calls.
        is_taken = any(call.service_id == service_id for call in self._calls)
        own_id = f"{service_id}_{len(self._calls)}" if service_id and is_taken else service_id
        call = _ToolCall(index=len(self._calls), service_id=service_id, id=own_id, name=name)
        self._calls.append(call)
        if key is not None:
            self._by_index[key] = call
        return call

    def _begins(self, known: _ToolCall, service_id: str, name: str, arguments: str) -> bool:
        """Whether a piece begins another call than the one that it would otherwise go on with."""
        if not name or not known.name:
            return False
        if not service_id:
            return _is_whole(known.arguments)
        if service_id != known.service_id:
            return bool(known.service_id)
        if name != known.name:
            return True
        return arguments != known.arguments and _is_whole(known.arguments) and arguments.lstrip().startswith("{")

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
