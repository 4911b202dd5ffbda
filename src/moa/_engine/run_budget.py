"""What a run may spend: the worst case of each planned call is held for it from the start, whatever others use up."""

import asyncio
from collections.abc import Iterator, Sequence
from decimal import Decimal

from moa._engine.forecast import CallForecast, Layers, RemainingRun, worst_case
from moa._engine.plan import AgentSlot, RunPlan
from moa._ledger import Meter
from moa._mixture.schema import Degrade
from moa._policies.budget import Budget, SpendingLimit, reserve_in_all
from moa._results import Degradation
from moa._usage import TokenUsage
from moa.errors import BudgetExceeded, OverBudget, UsageError
from moa.providers._call_context import Account, Settle

_ENDLESS = Decimal("Infinity")
_NOTHING = Decimal(0)

EXTRA_WITHIN_S = 1.0
"""Seconds that a further attempt waits for money of a budget that its run shares: runs that waited for each other while
they hold theirs would wait for ever."""


def require_priced(plan: RunPlan) -> None:
    """Make sure that the worst case of every call is known.

    Raises:
        UsageError: A model's price or an agent's max_tokens is unknown; names all of them.
    """
    slots = [slot for layer in plan.layers for slot in layer] + [plan.aggregator]
    unpriced = {model.reference for slot in slots for model in slot.models if model.price(_probe(slot)) is None}
    if unpriced and not plan.mixture.allow_unpriced:
        raise UsageError(
            f"a budget needs prices, and there is none for {', '.join(sorted(unpriced))}: set `price:` for the "
            "agent or `prices:` for the endpoint (`price_factor:` for the tier `priority`), or `allow_unpriced: true` "
            "to leave such calls out of the budget"
        )
    unbounded = sorted({slot.name for slot in slots if slot.sampling.max_tokens is None})
    if unbounded:
        raise UsageError(f"a budget needs to know the worst case: set `max_tokens` for {', '.join(unbounded)}")


def _probe(slot: AgentSlot) -> TokenUsage:
    return TokenUsage(input_tokens=1, output_tokens=1, tier=slot.dearer_tier)


class RunBudget:
    """The budget of one run.

    Every planned call has its worst case held from the start: a proposal that turns out long, or is estimated so,
    takes nothing away from the calls after it. The aggregator, on whose call the paid proposals hang, has a second
    attempt held as well if the budget has room for it. Any further attempt is paid from what is left over.

    Args:
        budget: The run's own; None without a limit.
        shared: The budgets that the run shares with others.
        release: Settles with them at the end.
        most_usd: The most that the run may take in all.
        allow_unpriced: Whether calls at unknown prices are made; they count nothing.
    """

    def __init__(
        self,
        budget: Budget | None = None,
        *,
        shared: Sequence[SpendingLimit] = (),
        release: Settle | None = None,
        most_usd: Decimal = _ENDLESS,
        allow_unpriced: bool = False,
    ) -> None:
        self.budget = budget
        self._shared, self._release, self._most_usd = shared, release, most_usd
        self._allow_unpriced = allow_unpriced
        self._extensions: list[Settle] = []
        self._accounts: dict[tuple[int, int], _SlotAccount] = {}

    def hold(self, forecast: CallForecast, *, spare_usd: Decimal = _NOTHING) -> None:
        """Hold what a planned call costs at worst, and what is to spare for a second attempt."""
        if self.budget is not None:
            account = _SlotAccount(self, self.budget, forecast, allow_unpriced=self._allow_unpriced)
            account.hold(forecast.usd + spare_usd)
            self._accounts[forecast.slot.layer, forecast.slot.index] = account

    def account(self, slot: AgentSlot) -> Account | None:
        """Return what an agent's calls are paid from; None without a limit."""
        return self._accounts.get((slot.layer, slot.index))

    def needed_usd(self, layers: Layers, aggregator: AgentSlot) -> Decimal:
        """Return what is held for one attempt of each call of these layers and of the aggregator."""
        slots = [slot for layer in layers for slot in layer] + [aggregator]
        accounts = [self._accounts[slot.layer, slot.index] for slot in slots]
        return sum((account.planned_usd for account in accounts), _NOTHING)

    def keep_only(self, layers: Layers) -> None:
        """Give back what is still held for proposers that are done, or are not asked after all."""
        left = {(slot.layer, slot.index) for slots in layers for slot in slots}
        for place, account in list(self._accounts.items())[:-1]:  # the last one is the aggregator's
            if place not in left:
                account.finish()

    async def extend(self, amount_usd: Decimal, reference: str) -> None:
        """Take more out of the budgets that the run shares.

        Raises:
            BudgetExceeded: They have no room for it now.
        """
        budget = self.budget
        if budget is None or not self._shared or budget.limit_usd + amount_usd > self._most_usd:
            raise BudgetExceeded(f"${amount_usd:.6f} more is not left for a further attempt", model=reference)
        try:
            async with asyncio.timeout(EXTRA_WITHIN_S):
                self._extensions.append(await reserve_in_all(self._shared, amount_usd, reference))
        except TimeoutError:
            message = f"${amount_usd:.6f} more for a further attempt is held by other runs"
            raise BudgetExceeded(message, model=reference) from None
        budget.limit_usd += amount_usd

    def settle(self) -> None:
        """Give back what was not spent."""
        for extension in self._extensions:
            extension(_NOTHING)
        if self.budget is not None and self._release is not None:
            self._release(self.budget.spent_usd)


class _SlotAccount:
    """What one agent's attempts are paid from: what is held for it, then what the run has left over."""

    def __init__(self, run: RunBudget, budget: Budget, forecast: CallForecast, *, allow_unpriced: bool) -> None:
        self.planned_usd = forecast.usd
        self._run, self._budget, self._allow_unpriced = run, budget, allow_unpriced
        self._reference = forecast.slot.models[0].reference
        self._held = self._in_use = _NOTHING

    def hold(self, amount_usd: Decimal) -> None:
        self._held += amount_usd
        self._budget.hold(amount_usd)

    async def reserve(self, worst_usd: Decimal | None, reference: str) -> Settle:
        """Reserve an attempt's worst case.

        Raises:
            BudgetExceeded: There is no money left for it, or its price is unknown.
        """
        if worst_usd is None and not self._allow_unpriced:
            message = "its price is unknown: set `price:`, or `allow_unpriced: true` to leave it out of the budget"
            raise BudgetExceeded(message, model=reference)
        amount = worst_usd or _NOTHING
        if reference == self._reference:
            # What was planned for it holds: how long a prompt is estimated to be now is no better a guess.
            amount = min(amount, self.planned_usd)
        if (missing := amount - (self._held - self._in_use)) > 0:
            if missing > self._budget.left_usd:
                await self._run.extend(missing - max(self._budget.left_usd, _NOTHING), reference)
            self.hold(missing)
        self._in_use += amount
        return lambda charged_usd: self._settle(amount, charged_usd)

    def _settle(self, amount_usd: Decimal, charged_usd: Decimal) -> None:
        self._in_use -= amount_usd
        paid = min(charged_usd, self._held)
        self._held -= paid
        self._budget.settle(paid, charged_usd)

    def finish(self) -> None:
        rest, self._held = self._held, _NOTHING
        self._budget.settle(rest, _NOTHING)


async def reserve_budget(
    plan: RunPlan, rest: RemainingRun, shared: Sequence[SpendingLimit], meter: Meter
) -> tuple[RunBudget, Layers]:
    """Take what a run costs at worst out of the budgets that it shares, waiting while other runs may give some back.

    So a budget that is nearly used up buys whole answers to the last, and not proposals without an answer.

    Returns:
        The run's budget, and the layers that it has room for: proposers go first from the end of the largest layer,
        layers from the end, as far as the mixture's `degrade` says.

    Raises:
        UsageError: A price or a worst case is unknown.
        OverBudget: The worst case doesn't fit, whatever may be dropped; nothing was sent.
    """
    own = plan.budget_usd
    if own is None and not shared:
        return RunBudget(), rest.layers
    require_priced(plan)
    while True:
        limits = [budget.limit_usd - budget.spent_usd for budget in shared] + ([] if own is None else [own])
        layers, calls = _largest_that_fits(plan, rest, min(limits), meter)
        needed = sum((call.usd for call in calls), _NOTHING)
        spare = calls[-1].usd if needed + calls[-1].usd <= min(limits) else _NOTHING
        release = None
        if shared:
            try:
                release = await reserve_in_all(shared, needed + spare, plan.aggregator.agent.model)
            except BudgetExceeded:
                # Others have spent more meanwhile: perhaps a smaller run still fits.
                continue
        run = RunBudget(
            Budget(needed + spare if shared else min(limits)),
            shared=shared,
            release=release,
            most_usd=_ENDLESS if own is None else own,
            allow_unpriced=plan.mixture.allow_unpriced,
        )
        for call in calls:
            run.hold(call, spare_usd=spare if call is calls[-1] else _NOTHING)
        return run, layers


def fit_to_budget(budget: RunBudget, plan: RunPlan, layers: Layers) -> Layers:
    """Return the layers that there is still money for, once a service has charged more than was to be expected.

    What the mixture's `degrade` doesn't allow to drop is run all the same: what was paid for is not lost for an
    estimate.
    """
    if budget.budget is None:
        return layers
    left, fitting = budget.budget.limit_usd - budget.budget.spent_usd, layers
    for fitting in _candidates(RemainingRun(layers=layers, conversation=(), shown=("",)), plan):
        if budget.needed_usd(fitting, plan.aggregator) <= left:
            break
    return fitting


def dropped_agents(planned: Layers, remaining: Layers) -> tuple[Degradation, ...]:
    """Return what is missing for want of money."""
    stay = {(slot.layer, slot.index) for slots in remaining for slot in slots}
    return tuple(
        Degradation(agent=slot.name, code="budget", message=f"left out of layer {slot.layer} to stay within the budget")
        for slots in planned
        for slot in slots
        if (slot.layer, slot.index) not in stay
    )


def _largest_that_fits(
    plan: RunPlan, rest: RemainingRun, left_usd: Decimal, meter: Meter
) -> tuple[Layers, list[CallForecast]]:
    """The largest rest of the run whose worst case fits, and its calls."""
    least = _NOTHING
    for layers in _candidates(rest, plan):
        calls = worst_case(plan, rest, layers)
        least = sum((call.usd for call in calls), _NOTHING)
        if least <= left_usd:
            return layers, calls
    raise OverBudget(
        f"at worst the run costs ${least:.6f}, but only ${left_usd:.6f} is left of its budget: "
        "raise the budget, lower max_tokens, or let `degrade:` drop more",
        ledger=meter.ledger(),
    )


def _candidates(rest: RemainingRun, plan: RunPlan) -> Iterator[Layers]:
    """The layers as planned, then smaller and smaller, in the order that the mixture gives."""
    layers = rest.layers
    yield layers
    for step in plan.mixture.degrade:
        for smaller in _smaller(step, layers, rest, plan):
            layers = smaller
            yield layers


def _smaller(step: Degrade, layers: Layers, rest: RemainingRun, plan: RunPlan) -> Iterator[Layers]:
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


def _largest(layers: Layers, plan: RunPlan) -> int | None:
    """The layer with most proposers to spare, None if each is at its minimum."""
    spare = [len(slots) - _fewest(slots, plan) for slots in layers]
    most = max(spare, default=0)
    return spare.index(most) if most > 0 else None


def _fewest(slots: tuple[AgentSlot, ...], plan: RunPlan) -> int:
    wait = plan.mixture.layers[slots[0].layer - 1].wait or plan.mixture.wait
    return wait.min_proposals if wait else 1
