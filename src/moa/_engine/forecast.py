"""What a run will need before it is run: the most tokens that each of its calls may use, and what they cost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from moa._engine.plan import AgentSlot, RunPlan
from moa._messages import Conversation
from moa._usage import TokenUsage
from moa.providers._token_estimates import (
    estimated_conversation_tokens,
    estimated_options_tokens,
    estimated_tokens,
    most_extra_tokens,
)

Layers = tuple[tuple[AgentSlot, ...], ...]

PROMPT_TOKENS = 250
"""Room for the prompt around the proposals: the default one has about 150 tokens, that for selecting about 130."""

TOKENS_PER_PROPOSAL = 16
"""Room for the delimiters around a proposal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemainingRun:
    """What of a run is still to be done.

    Attributes:
        layers: The proposers' layers.
        conversation: What the caller said.
        shown: Texts of the proposals that the next layer (or the aggregator) is shown; none before layer 1.
    """

    layers: Layers
    conversation: Conversation
    shown: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CallForecast:
    """One planned call: whose it is, the most tokens it may use, and what they cost in US dollars.

    An unknown price counts nothing here: `require_priced` has refused it, or the mixture allows it.
    """

    slot: AgentSlot
    usage: TokenUsage
    usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class RunForecast:
    """What a run takes at most.

    Attributes:
        calls: Planned calls, the samples of an agent counted.
        worst_usd: US dollars if every reply uses up its `max_tokens`; None if a price or a `max_tokens` is unknown.
    """

    calls: int
    worst_usd: Decimal | None


def worst_case(plan: RunPlan, rest: RemainingRun, layers: Layers) -> Iterator[CallForecast]:
    """Give one attempt of each call of these layers and of the aggregator, the aggregator's last.

    Proposals are as long as their `max_tokens` allow: what is written is known only afterwards, and what a service then
    reports never exceeds that.

    Args:
        plan: The run.
        rest: What is still to be done; its `layers` are not looked at.
        layers: The layers that are to be run.
    """
    conversation = estimated_conversation_tokens(rest.conversation)
    template = estimated_tokens(plan.mixture.template or "")
    shown = [estimated_tokens(text) for text in rest.shown]
    for slots in (*layers, (plan.aggregator,)):
        prompt = conversation + (template + prompt_tokens(shown) if shown else 0)
        options = plan.options.reply if slots[-1] is plan.aggregator else plan.proposers_options
        prompt += estimated_options_tokens(options)
        for slot in slots:
            extra, thoughts = most_extra_tokens(slot.sampling)
            tokens = prompt + extra + estimated_tokens(slot.agent.role or "")
            output = (slot.sampling.max_tokens or 0) + thoughts
            usage = TokenUsage(input_tokens=tokens, output_tokens=output, tier=slot.dearer_tier)
            yield CallForecast(slot=slot, usage=usage, usd=slot.models[0].price(usage) or Decimal(0))
        shown = [slot.sampling.max_tokens or 0 for slot in slots]


def prompt_tokens(shown: Sequence[int]) -> int:
    """Return the tokens of a prompt that shows proposals of so many tokens each; 0 if there are none."""
    return PROMPT_TOKENS + sum(shown) + TOKENS_PER_PROPOSAL * len(shown) if shown else 0
