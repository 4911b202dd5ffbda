"""Budgets: reserved at worst, settled at what was charged."""

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa._ledger import Meter
from moa._policies.budget import Budget, BudgetPolicy, reserve_in_all, worst_case
from moa._policies.metering import Metered
from moa._usage import TokenUsage
from moa.errors import BudgetExceeded, ServiceFailed
from moa.providers._base import Finish, collect
from moa.providers._call_context import Settle
from moa.providers._scripted import Pause, ScriptedProvider
from tests.support.requests import plain_request, with_context
from tests.support.virtual_clock import VirtualClockLoop, loop_time, virtual_time

USED = TokenUsage(input_tokens=5, output_tokens=1)
WORST = worst_case(plain_request()).total_tokens


def _model(script: object = ("fine", Finish(reason="stop", usage=USED))) -> BudgetPolicy:
    return BudgetPolicy(Metered(ScriptedProvider(script)))


class _Account:
    """Pays every attempt straight out of a budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    async def reserve(self, worst_usd: Decimal | None, reference: str) -> Settle:
        return await self._budget.reserve(worst_usd or Decimal(0), reference)


async def _ask(model: BudgetPolicy, budget: Budget) -> None:
    await collect(model, with_context(plain_request(Meter(loop_time)), account=_Account(budget)))


@virtual_time
async def test_a_call_is_charged_what_it_used_and_not_its_worst_case() -> None:
    budget = Budget(Decimal(100))
    await _ask(_model(), budget)

    assert (budget.spent_usd, budget.left_usd) == (6, 94)


@virtual_time
async def test_a_call_whose_worst_case_does_not_fit_is_not_made() -> None:
    provider = ScriptedProvider("fine")
    with pytest.raises(BudgetExceeded, match="at worst"):
        await _ask(BudgetPolicy(Metered(provider)), Budget(Decimal(WORST - 1)))

    assert provider.requests == []


@virtual_time
async def test_a_call_waits_while_others_may_still_give_back_enough() -> None:
    budget = Budget(Decimal(WORST + 7))
    model = _model([Pause(3), "fine", Finish(reason="stop", usage=USED)])
    await asyncio.gather(_ask(model, budget), _ask(model, budget))

    assert budget.spent_usd == 12
    assert loop_time() == 6, "one after the other"


@virtual_time
async def test_a_call_that_no_settlement_can_make_room_for_fails_at_once() -> None:
    budget = Budget(Decimal(WORST + 5))
    await _ask(_model(), budget)
    with pytest.raises(BudgetExceeded):
        await _ask(_model(), budget)


@virtual_time
async def test_every_budget_must_have_room_and_none_is_charged_if_one_has_not() -> None:
    wide, narrow = Budget(Decimal(1000)), Budget(Decimal(1))
    with pytest.raises(BudgetExceeded):
        await reserve_in_all([wide, narrow], Decimal(5), "fake/a")

    assert (wide.left_usd, narrow.left_usd) == (1000, 1)


@virtual_time
async def test_a_failed_call_gives_back_what_was_reserved() -> None:
    budget = Budget(Decimal(100))
    with pytest.raises(ServiceFailed):
        await _ask(_model([ServiceFailed("boom", model="fake/a")]), budget)

    assert budget.left_usd == 100


@virtual_time
async def test_a_cancelled_call_is_charged_what_it_may_have_cost() -> None:
    budget = Budget(Decimal(100))
    task = asyncio.create_task(_ask(_model(["begun", Pause(60)]), budget))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])

    assert 0 < budget.spent_usd < WORST


@virtual_time
async def test_a_call_without_max_tokens_has_no_worst_case() -> None:
    request = plain_request(Meter(loop_time), max_tokens=None)
    with pytest.raises(BudgetExceeded, match="max_tokens"):
        await collect(_model(), with_context(request, account=_Account(Budget(Decimal(9999)))))


@pytest.mark.slow
@given(limit=st.integers(0, 300), outputs=st.lists(st.integers(0, 10), max_size=30))
def test_calls_at_once_never_spend_more_than_the_budget(limit: int, outputs: list[int]) -> None:
    async def spend() -> Budget:
        budget = Budget(Decimal(limit))
        scripts = iter(outputs)

        def script(request: object) -> list[object]:
            used = TokenUsage(input_tokens=WORST - 10, output_tokens=next(scripts))
            return [Pause(1), "fine", Finish(reason="stop", usage=used)]

        model = _model(script)
        await asyncio.gather(*(_ask(model, budget) for _ in outputs), return_exceptions=True)
        return budget

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        budget = runner.run(spend())

    assert budget.spent_usd <= limit
    assert budget.left_usd == budget.limit_usd - budget.spent_usd, "nothing stays reserved"


def test_what_the_services_own_fields_may_add_is_reserved() -> None:
    plain = plain_request()
    for extra, prompt, reply in (
        ({"thinking_budget": 500}, 6, 500),
        ({"thinking": {"type": "enabled", "budget_tokens": 300}}, 14, 300),
        ({"thinking_budget": -1}, 6, 0),
        ({"chat_template_kwargs": {"text": "x" * 4_000}}, 1_000, 0),
    ):
        worst = worst_case(replace(plain, sampling=replace(plain.sampling, extra=extra)))
        assert worst.input_tokens - worst_case(plain).input_tokens >= prompt * 0.9
        assert worst.output_tokens - worst_case(plain).output_tokens == reply
