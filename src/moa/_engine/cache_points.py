"""Whether a prompt is worth caching where the service has to be told: whether it saves by list price."""

from dataclasses import dataclass
from decimal import Decimal

from moa._ledger import Pricer
from moa._messages import Conversation
from moa._usage import TokenUsage
from moa.providers._token_estimates import estimated_conversation_tokens

LEAST_TOKENS = 1000
"""The shortest prefix that any service caches. Source: Amazon Bedrock's guide to prompt caching: 1,000 tokens for Nova,
1,024 to 4,096 for Claude."""

CHANCE_OF_SYSTEM = 0.5
"""How likely a long system prompt is sent again while it is cached. An application sends its own with every request; a
half is said of it, as of what is known to repeat and not how soon."""

_PROBE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMarks:
    """Which parts of a prompt to mark: the end of the system message, and those of the last user turn and of all."""

    system: bool = False
    turns: bool = False


NO_MARKS = CacheMarks()


def chance_to_go_on(conversation: Conversation, *, has_tools: bool) -> float:
    """Return how likely a further request will begin with this conversation, from 0 to 1.

    After k requests that all had a successor, the rule of succession gives the next one (k + a) / (k + 1), where `a` is
    what is known beforehand: nothing of a lone prompt (0), and with tools that every other request leads to a call
    (1/2). Each assistant turn stands for one earlier request.
    """
    earlier = sum(message.role == "assistant" for message in conversation)
    return (earlier + (0.5 if has_tools else 0.0)) / (earlier + 1)


def marks_for(conversation: Conversation, price: Pricer, *, has_tools: bool) -> CacheMarks:
    """Return which parts of a prompt to mark, by a model's list price.

    Marking costs the premium of writing now and saves the discount of reading by each further request that begins the
    same: it pays if p (input - cached_input) > cache_write - input, where p is the chance of one. Where a price is
    unknown, nothing is said to pay. What is shorter than any service caches is not marked.
    """
    chances = CHANCE_OF_SYSTEM, chance_to_go_on(conversation, has_tools=has_tools)
    system = tuple(message for message in conversation if message.role == "system")
    parts = [
        chance if chance and estimated_conversation_tokens(messages) >= LEAST_TOKENS else 0.0
        for chance, messages in zip(chances, (system, conversation), strict=True)
    ]
    if not any(parts):
        return NO_MARKS
    fresh = price(TokenUsage(input_tokens=_PROBE))
    read = price(TokenUsage(input_tokens=_PROBE, cached_input_tokens=_PROBE))
    written = price(TokenUsage(input_tokens=_PROBE, cache_write_tokens=_PROBE))
    if fresh is None or read is None or written is None:
        return NO_MARKS
    in_system, in_turns = (Decimal(chance) * (fresh - read) > written - fresh for chance in parts)
    return CacheMarks(system=in_system, turns=in_turns)
