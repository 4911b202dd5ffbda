"""What an agent gets to read: the conversation, its role, and the proposals of the layer before."""

from moa._messages import Conversation, Message, TextPart
from moa._mixture.prompts import with_system


def tools_as_text(conversation: Conversation) -> Conversation:
    """Return a conversation in which tool calls and their results are told as plain text.

    Only the aggregator is given tools; services refuse tool turns from anybody else, and a proposer has to know what
    the tools have said. The caller's own messages are not touched.
    """
    if not any(turn.tool_calls or turn.role == "tool" for turn in conversation):
        return conversation
    return tuple(_turn_as_text(turn, conversation) for turn in conversation)


def _turn_as_text(turn: Message, conversation: Conversation) -> Message:
    if turn.role == "tool":
        text = f"Result of the tool {_tool_name(turn.tool_call_id, conversation)}:\n{turn.text}"
        return Message(role="user", content=(TextPart(text=text), *turn.images) if turn.images else text)
    if turn.tool_calls:
        wishes = (f"I call the tool {call.name} with {call.arguments}" for call in turn.tool_calls)
        return Message(role="assistant", content="\n".join(filter(None, (turn.text, *wishes))))
    return turn


def _tool_name(call_id: str | None, conversation: Conversation) -> str:
    for turn in conversation:
        for call in turn.tool_calls:
            if call.id == call_id:
                return call.name
    return call_id or "(unknown)"


def build_messages(conversation: Conversation, role: str | None, prompt: str | None) -> Conversation:
    """Return the conversation with an agent's role and the prompt that shows it the proposals as system text."""
    return with_system(conversation, role or "", prompt or "")
