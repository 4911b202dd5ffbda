"""What services want back with their messages and tool calls, carried by clients as one opaque text.

Each API has a place for texts that only the service can read, and that clients send back: encrypted reasoning.
"""

from collections.abc import Mapping
from dataclasses import replace

from moa._messages import Message, ServiceState
from moa._results import Answer


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


def with_state(message: Message, packed: str | None) -> Message:
    """Return an assistant's message with what a client sent back with it; a text that isn't ours is left out."""
    state = ServiceState.unpack(packed) if packed else None
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
