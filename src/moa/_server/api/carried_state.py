"""What services want back with their messages and tool calls, carried by clients as one opaque text.

Each API has a place for texts that only the service can read, and that clients send back: encrypted reasoning.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from moa._messages import MOST_STATE_BYTES, Message, ServiceState
from moa._results import Answer
from moa._server.http.errors import RequestError
from moa._server.http.json_bounds import MAX_VALUES, JsonBounds

MOST_STATES_BYTES = 16 * 1024 * 1024
"""Most bytes that all such texts of a request may have when they are unpacked."""


def packed_state(answer: Answer, call_ids: Mapping[int, str]) -> str | None:
    """Return what an answer's service wants back, as one text; None if it wants nothing.

    Args:
        answer: The answer.
        call_ids: The ids by which the client knows the tool calls, by their index.
    """
    calls = {call_ids[index]: call.state for index, call in enumerate(answer.tool_calls) if call.state is not None}
    states = [state for state in (answer.state, *calls.values()) if state is not None]
    if not states:
        return None
    message = None if answer.state is None else answer.state.data
    data = {"message": message, "calls": {identity: state.data for identity, state in calls.items()}}
    return ServiceState(states[0].owner, data).pack()


def unpacked_states(packed: Iterable[str | None]) -> list[ServiceState | None]:
    """Return what a client sent back with each message; a text that isn't ours is left out.

    Unpacked, they have together no more bytes and values than a body: a few kilobytes can be packed gigabytes.

    Raises:
        RequestError: They have more.
    """
    states: list[ServiceState | None] = []
    left, values = MOST_STATES_BYTES, 0
    for each in packed:
        text = ServiceState.unpacked_text(each, MOST_STATE_BYTES) if each else None
        if text is None:
            states.append(None)
            continue
        left -= len(text)
        if left < 0:
            message = f"the texts that carry a service's state have more than {MOST_STATES_BYTES:,} bytes when unpacked"
            raise RequestError(413, "request_too_large", message)
        bounds = JsonBounds(max_values=MAX_VALUES - values)
        bounds.feed(text)
        values += bounds.values
        states.append(ServiceState.from_text(text))
    return states


def with_state(message: Message, state: ServiceState | None) -> Message:
    """Return an assistant's message with what a client sent back with it."""
    if state is None or message.role != "assistant":
        return message
    own, calls = state.data.get("message"), state.data.get("calls")
    of_calls = calls if isinstance(calls, dict) else {}
    return replace(
        message,
        state=ServiceState(state.owner, own) if isinstance(own, dict) else None,
        tool_calls=tuple(
            replace(call, state=ServiceState(state.owner, data))
            if isinstance(data := of_calls.get(call.id), dict)
            else call
            for call in message.tool_calls
        ),
    )
