"""What an agent reads (the conversation, its role, proposals of the layer before) and its layout as messages."""

from dataclasses import dataclass, replace

from moa._engine.cache_points import NO_MARKS, CacheMarks
from moa._messages import Conversation, Message, last_user_turn
from moa._mixture.prompts import with_system
from moa._mixture.schema import PromptLayout


@dataclass(frozen=True, slots=True, kw_only=True)
class Briefing:
    """What one agent is given to read, in its parts; `lay_out` makes messages of them.

    Attributes:
        conversation: What the caller said.
        role: The agent's own system text, None if it has none.
        proposals: The prompt that shows the proposals of the layer before; None if there are none.
        layout: Where that prompt goes.
    """

    conversation: Conversation
    role: str | None = None
    proposals: str | None = None
    layout: PromptLayout = "last"


def lay_out(briefing: Briefing, marks: CacheMarks = NO_MARKS) -> Conversation:
    """Return a briefing as messages.

    Args:
        briefing: What the agent reads.
        marks: What further requests will begin with, to be marked for the service's prompt cache: the system message
            (other conversations), all up to the last user turn's own text (the next turn) and all messages (the next
            step of a tool loop).

    The role goes to the end of the system message. With the layout `last` the proposals are a message of their own
    behind the last user turn: all before them is the same in the next turn's request, and inside of a tool loop each
    request begins with the whole one before it, so services can read both from their prompt caches. With the layout
    `system` the proposals follow the role.
    """
    conversation, proposals = briefing.conversation, briefing.proposals
    if briefing.layout == "system" and proposals is not None:
        return with_system(conversation, briefing.role or "", proposals)
    if proposals is None and marks is NO_MARKS:
        return with_system(conversation, briefing.role or "")
    at = last_user_turn(conversation) + 1
    behind = conversation[at:] if proposals is None else (Message(role="user", content=proposals), *conversation[at:])
    if marks.turns:
        conversation = (*conversation[: at - 1], _marked(conversation[at - 1]))
        conversation += (*behind[:-1], _marked(behind[-1])) if behind else ()
    elif proposals is not None:
        conversation = (*conversation[:at], *behind)
    messages = with_system(conversation, briefing.role or "")
    if not marks.system:
        return messages
    end = next((at for at, message in enumerate(messages) if message.role != "system"), len(messages))
    return (*messages[: end - 1], _marked(messages[end - 1]), *messages[end:]) if end else messages


def _marked(message: Message) -> Message:
    end = len(message.content)
    return message if end in message.cache_points else replace(message, cache_points=(*message.cache_points, end))
