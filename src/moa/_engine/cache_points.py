"""Whether a prompt is worth caching where the service has to be told: whether it saves by list price."""

from decimal import Decimal

from moa._ledger import Pricer
from moa._messages import Conversation
from moa._usage import TokenUsage
from moa.providers._token_estimates import estimated_conversation_tokens

LEAST_TOKENS = 1000
"""The shortest prefix that any service caches. Source: Amazon Bedrock's guide to prompt caching: 1,000 tokens for Nova,
1,024 to 4,096 for Claude."""

_PROBE = 1_000_000


def chance_to_go_on(conversation: Conversation, *, has_tools: bool) -> float:
    """Return how likely a further request will begin with this conversation, from 0 to 1.

    After k requests that all had a successor, the rule of succession gives the next one (k + a) / (k + 1), where `a` is
    what is known beforehand: nothing of a lone prompt (0), and with tools that every other request leads to a call
    (1/2). Each assistant turn stands for one earlier request.
    """
    earlier = sum(message.role == "assistant" for message in conversation)
    return (earlier + (0.5 if has_tools else 0.0)) / (earlier + 1)


def is_worth_caching(conversation: Conversation, price: Pricer, *, has_tools: bool) -> bool:
    """Return whether writing the prompt to the service's cache saves, by list price and in expectation.

    With the chance p of a further request, caching costs the premium of writing now and saves the discount of reading
    then: it pays if p (input - cached_input) > cache_write - input. Where no price is known, nothing is said to pay.
    """
    chance = chance_to_go_on(conversation, has_tools=has_tools)
    if not chance or estimated_conversation_tokens(conversation) < LEAST_TOKENS:
        return False
    fresh = price(TokenUsage(input_tokens=_PROBE))
    read = price(TokenUsage(input_tokens=_PROBE, cached_input_tokens=_PROBE))
    written = price(TokenUsage(input_tokens=_PROBE, cache_write_tokens=_PROBE))
    if fresh is None or read is None or written is None:
        return False
    return Decimal(chance) * (fresh - read) > written - fresh
