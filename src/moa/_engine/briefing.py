"""What an agent reads (the conversation, its role, proposals of the layer before) and its layout as messages."""

from dataclasses import dataclass

from moa._messages import Conversation, Message, TextPart
from moa._mixture.prompts import with_system


@dataclass(frozen=True, slots=True, kw_only=True)
class Briefing:
    """What one agent is given to read, in its parts; `lay_out` makes messages of them.

    Attributes:
        conversation: What the caller said.
        role: The agent's own system text, None if it has none.
        proposals: The prompt that shows the proposals of the layer before; None if there are none.
    """

    conversation: Conversation
    role: str | None = None
    proposals: str | None = None


def lay_out(briefing: Briefing) -> Conversation:
    """Return a briefing as messages: role and proposals go to the end of the system message."""
    return with_system(briefing.conversation, briefing.role or "", briefing.proposals or "")


def tools_as_text(conversation: Conversation) -> Conversation:
    """Return a conversation in which tool calls and their results are plain text.

    Only the aggregator is given tools; services refuse tool turns from requests without tools, and a proposer has to
    know what the tools returned. The caller's own messages are not touched.
    """
    if not any(turn.tool_calls or turn.role == "tool" for turn in conversation):
        return conversation
    names = {call.id: call.name for turn in reversed(conversation) for call in turn.tool_calls}
    return tuple(_as_text(turn, names) for turn in conversation)


def _as_text(turn: Message, names: dict[str, str]) -> Message:
    if turn.role == "tool":
        call_id = turn.tool_call_id or "(unknown)"
        text = f"Result of the tool {names.get(call_id, call_id)}:\n{turn.text}"
        return Message(role="user", content=(TextPart(text=text), *turn.images) if turn.images else text)
    if turn.tool_calls:
        calls = (f"I call the tool {call.name} with {call.arguments}" for call in turn.tool_calls)
        return Message(role="assistant", content="\n".join(filter(None, (turn.text, *calls))))
    return turn
