"""What is dropped under a budget: the rest of a run is cut down until its worst case fits what is left."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from moa._engine.agents import RunContext
from moa._engine.plan import AgentSlot, Plan
from moa._ledger import Meter
from moa._messages import Conversation
from moa._mixture.schema import Degrade
from moa._policies.budget import Budget, SpendingLimit, reserve_in_all
from moa._results import Degradation
from moa._usage import TokenUsage
from moa.errors import BudgetExceeded, OverBudget, UsageError
from moa.providers._token_estimates import estimated_conversation_tokens, estimated_tokens

_ENDLESS = Decimal("Infinity")

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


def require_priced(plan: Plan) -> None:
    """Make sure that the worst case of every call is known.

    Raises:
        UsageError: A model's price or an agent's max_tokens is unknown; names all of them.
    """
    slots = [slot for layer in plan.layers for slot in layer] + [plan.aggregator]
    probe = TokenUsage(input_tokens=1, output_tokens=1)
    unpriced = {model.reference for slot in slots for model in slot.models if model.price(probe) is None}
    if unpriced and not plan.mixture.allow_unpriced:
        raise UsageError(
            f"a budget needs prices, and there is none for {', '.join(sorted(unpriced))}: set `price:` for the "
            "agent or `prices:` for the endpoint, or `allow_unpriced: true` to leave such calls out of the budget"
        )
    unbounded = sorted({slot.name for slot in slots if slot.sampling.max_tokens is None})
    if unbounded:
        raise UsageError(f"a budget needs to know the worst case: set `max_tokens` for {', '.join(unbounded)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBudget:
    """What a run may spend.

    Attributes:
        budget: Its own; None without a limit.
        release: Settles with the budgets that it shares with others.
    """

    budget: Budget | None = None
    release: Callable[[Decimal], None] | None = None

    def settle(self) -> None:
        """Give back what was not spent."""
        if self.budget is not None and self.release is not None:
            self.release(self.budget.spent_usd)


async def reserve_budget(plan: Plan, rest: RemainingRun, shared: Sequence[SpendingLimit], meter: Meter) -> RunBudget:
    """Take what a run costs at worst out of the budgets that it shares, waiting while other runs may give some back.

    So a budget that is nearly used up buys whole answers to the last, and not proposals without an answer.

    Raises:
        UsageError: A price or a worst case is unknown.
        OverBudget: The worst case doesn't fit, whatever may be dropped; nothing was sent.
    """
    own = plan.budget_usd
    if own is None and not shared:
        return RunBudget()
    require_priced(plan)
    if not shared:
        return RunBudget(budget=Budget(own or Decimal(0)))
    while True:
        most = min(*(budget.limit_usd - budget.spent_usd for budget in shared), own if own is not None else _ENDLESS)
        _, worst_usd = _fitting(plan, rest, most, most, meter)
        try:
            release = await reserve_in_all(shared, worst_usd, plan.aggregator.agent.model)
        except BudgetExceeded:
            # Others have spent more meanwhile: perhaps a smaller run still fits.
            continue
        return RunBudget(budget=Budget(worst_usd), release=release)


def fit_to_budget(context: RunContext, rest: RemainingRun) -> tuple[Layers, tuple[Degradation, ...]]:
    """Return the layers that the budget allows for, and what was dropped.

    Proposers go first from the end of the largest layer, layers from the end, as far as the mixture's `degrade` says.

    Raises:
        OverBudget: The worst case doesn't fit even so; the ledger says what was spent before.
    """
    budget = context.budget
    if budget is None:
        return rest.layers, ()
    layers, _ = _fitting(context.plan, rest, budget.left_usd, budget.limit_usd, context.meter)
    return layers, _dropped(rest.layers, layers)


def _fitting(
    plan: Plan, rest: RemainingRun, left_usd: Decimal, limit_usd: Decimal, meter: Meter
) -> tuple[Layers, Decimal]:
    """The largest rest of the run whose worst case fits, and that worst case in US dollars."""
    least = Decimal(0)
    for layers in _candidates(rest, plan):
        least = worst_case_usd(plan, rest, layers)
        if least <= left_usd:
            return layers, least
    raise OverBudget(
        f"at worst the rest of the run costs ${least:.6f}, but only ${left_usd:.6f} of ${limit_usd:f} "
        "is left: raise the budget, lower max_tokens, or let `degrade:` drop more",
        ledger=meter.ledger(),
    )


def worst_case_usd(plan: Plan, rest: RemainingRun, layers: Layers) -> Decimal:
    """Return the most that these layers and the aggregator may cost, in US dollars.

    Calls at unknown prices count nothing; retries and fallbacks are not counted, they reserve for themselves.
    """
    conversation = estimated_conversation_tokens(rest.conversation)
    template = estimated_tokens(plan.mixture.template or "")
    shown = [estimated_tokens(text) for text in rest.shown]
    total = Decimal(0)
    for slots in (*layers, (plan.aggregator,)):
        prompt = conversation + (template + prompt_tokens(shown) if shown else 0)
        total += sum((_worst_usd(slot, prompt) for slot in slots), Decimal(0))
        shown = [slot.sampling.max_tokens or 0 for slot in slots]
    return total


def prompt_tokens(shown: Sequence[int]) -> int:
    """Return the tokens of a prompt that shows proposals of so many tokens each; 0 if there are none."""
    return PROMPT_TOKENS + sum(shown) + TOKENS_PER_PROPOSAL * len(shown) if shown else 0


def _worst_usd(slot: AgentSlot, prompt_tokens: int) -> Decimal:
    prompt_tokens += estimated_tokens(slot.agent.role or "")
    usage = TokenUsage(input_tokens=prompt_tokens, output_tokens=slot.sampling.max_tokens or 0)
    return slot.models[0].price(usage) or Decimal(0)


def _candidates(rest: RemainingRun, plan: Plan) -> Iterator[Layers]:
    """The layers as planned, then smaller and smaller, in the order that the mixture gives."""
    layers = rest.layers
    yield layers
    for step in plan.mixture.degrade:
        for smaller in _smaller(step, layers, rest, plan):
            layers = smaller
            yield layers


def _smaller(step: Degrade, layers: Layers, rest: RemainingRun, plan: Plan) -> Iterator[Layers]:
    match step:
        case "proposers":
            while (at := _largest(layers, plan)) is not None:
                layers = (*layers[:at], layers[at][:-1], *layers[at + 1 :])
                yield layers
        case "layers":
            fewest = 0 if rest.shown else 1
            while len(layers) > fewest:
                layers = layers[:-1]
                yield layers
        case "aggregator_alone":
            yield ()


def _largest(layers: Layers, plan: Plan) -> int | None:
    """The layer with most proposers to spare, None if each is at its minimum."""
    spare = [len(slots) - _fewest(slots, plan) for slots in layers]
    most = max(spare, default=0)
    return spare.index(most) if most > 0 else None


def _fewest(slots: tuple[AgentSlot, ...], plan: Plan) -> int:
    wait = plan.mixture.layers[slots[0].layer - 1].wait or plan.mixture.wait
    return wait.min_proposals if wait else 1


def _dropped(planned: Layers, kept: Layers) -> tuple[Degradation, ...]:
    stay = {(slot.layer, slot.index) for slots in kept for slot in slots}
    return tuple(
        Degradation(agent=slot.name, code="budget", message=f"left out of layer {slot.layer} to stay within the budget")
        for slots in planned
        for slot in slots
        if (slot.layer, slot.index) not in stay
    )
