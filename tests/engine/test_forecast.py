"""What plans say of money and time beside what runs take, in virtual time; budgets' worst case beside both."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from moa._config.settings import Settings
from moa._engine.forecast import FROM_EMBEDDED, Expectations, Workload
from moa._engine.plan import Planner, RunOptions
from moa._policies.call_statistics import CallStatistics, kind_of_call
from moa._pricing.price import Price
from moa._runtime.engine import Engine
from moa._usage import TokenUsage
from moa.providers._base import Finish, ModelRequest
from moa.providers._endpoint import Endpoint, LimitSettings
from moa.providers._scripted import Pause
from tests.support.engines import mixture_of, scripted
from tests.support.virtual_clock import VirtualClockLoop, loop_time

CALL_S = {"a": 2.0, "b": 3.0, "agg": 4.0}
OUTPUT = {"a": 100, "b": 150, "agg": 300}
PRICES = {"*": Price(input=Decimal(1), output=Decimal(10))}
PROMPT = "word " * 300


def _measured() -> dict[tuple[str, str, str], CallStatistics]:
    found = {}
    for model, seconds in CALL_S.items():
        for layer in (1, 2):
            key = ("fake", model, kind_of_call(layer, 600, has_format=False))
            found[key] = CallStatistics(calls=3, input_tokens=900, output_tokens=3 * OUTPUT[model], seconds=3 * seconds)
    return found


def _reply(request: ModelRequest) -> list[Any]:
    prompt = sum(len(message.text) for message in request.messages) // 4
    usage = TokenUsage(input_tokens=prompt, output_tokens=OUTPUT[request.model])
    # A text as long as its tokens say, as the next prompt has it.
    return [Pause(CALL_S[request.model]), "abcd" * OUTPUT[request.model], Finish(reason="stop", usage=usage)]


def _agent(model: str, **keys: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 600, **keys}


MIXTURES = {
    "one model": mixture_of(aggregator=_agent("agg")),
    "two proposers": mixture_of([_agent("a"), _agent("b")], aggregator=_agent("agg")),
    "samples and two layers": mixture_of(
        [_agent("a", samples=3)], [_agent("a"), _agent("b", samples=2)], aggregator=_agent("agg")
    ),
}
LIMITS = {
    "without limits": {},
    "two calls at once": {"limits": LimitSettings(max_concurrency=2)},
    "one call of a model at once": {"model_limits": {"a": LimitSettings(max_concurrency=1)}},
    "twelve calls a minute": {"limits": LimitSettings(requests_per_minute=12)},
}


@pytest.mark.parametrize("name", MIXTURES)
@pytest.mark.parametrize("limited", LIMITS)
@pytest.mark.parametrize(("rows", "at_once"), [(1, 8), (10, 4), (24, 8)])
def test_a_plan_by_measured_replies_is_within_a_fifth_of_what_the_runs_take(
    name: str, limited: str, rows: int, at_once: int
) -> None:
    endpoint = Endpoint(name="fake", kind="given", prices=PRICES, retry=None, breaker=None, **LIMITS[limited])
    expectations = Expectations(endpoints={"fake": endpoint}, measured=_measured())

    async def work() -> tuple[Any, float, Decimal]:
        settings = Settings(endpoints={"fake": endpoint})
        providers = {"fake": scripted(dict.fromkeys(CALL_S, _reply))}
        async with Engine(settings=settings, providers=providers, clock=loop_time) as engine:
            engine.expectations = expectations
            forecast = await engine.aforecast(MIXTURES[name], PROMPT)
            places, began_at = asyncio.Semaphore(at_once), loop_time()

            async def run() -> Decimal:
                async with places:
                    return (await engine.arun(MIXTURES[name], PROMPT)).ledger.spend.priced_usd

            costs = await asyncio.gather(*(run() for _ in range(rows)))
            return forecast, loop_time() - began_at, sum(costs, Decimal(0))

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        forecast, took_s, cost_usd = runner.run(work())
    workload = Workload(expectations)
    workload.add([[(call, rows) for call in calls] for calls in forecast.expected], rows)

    assert workload.seconds(at_once) == pytest.approx(took_s, rel=0.2)
    assert float(forecast.expected_usd * rows) == pytest.approx(float(cost_usd), rel=0.2)
    assert forecast.worst_usd * rows >= cost_usd


class _Models:
    def __init__(self, endpoint: Endpoint) -> None:
        self._engine = Engine(settings=Settings(endpoints={"fake": endpoint}), providers={"fake": scripted({})})

    def model(self, reference: str, price: Price | None) -> Any:
        return self._engine._models.model(reference, price)

    async def prices_ready(self) -> None:
        pass


async def test_the_embedded_model_writes_one_reply_at_a_time_unless_it_has_more_slots() -> None:
    mixture = mixture_of(aggregator=_agent("agg"))

    def seconds(**given: Any) -> float:
        endpoint = Endpoint(name="fake", kind="local", **given)
        expectations = Expectations(endpoints={"fake": endpoint})
        workload = Workload(expectations)
        (calls,) = expectations.calls(Planner(_Models(endpoint)).plan(mixture, RunOptions()), 300)
        workload.add([[(call, 8) for call in calls]], 8)
        return workload.seconds(32)

    one = FROM_EMBEDDED.first_token_s + 300 / FROM_EMBEDDED.input_per_s + 80 / FROM_EMBEDDED.output_per_s
    assert seconds() == pytest.approx(8 * one)
    assert seconds(options={"slots": 4}) == pytest.approx(2 * one)
    assert seconds(limits=LimitSettings(max_concurrency=2)) == pytest.approx(4 * one)


async def test_no_more_tokens_are_planned_for_a_minute_than_it_allows() -> None:
    endpoint = Endpoint(name="fake", kind="given", limits=LimitSettings(tokens_per_minute=1000))
    expectations = Expectations(endpoints={"fake": endpoint})
    workload = Workload(expectations)
    ((call,),) = expectations.calls(Planner(_Models(endpoint)).plan(mixture_of(aggregator=_agent("agg")), RunOptions()))
    workload.add([[(call, 8)]], 8)

    minutes = -(-8 * call.usage.total_tokens // 1000)
    assert minutes > 1
    assert workload.seconds(32) == 60.0 * (minutes - 1)


async def test_a_kind_of_call_that_was_not_measured_is_like_the_models_others() -> None:
    endpoint = Endpoint(name="fake", kind="given")
    measured = {
        ("fake", "agg", kind_of_call(2, 600, has_format=False)): CallStatistics(
            calls=2, input_tokens=10, output_tokens=100, seconds=50.0
        )
    }
    expectations = Expectations(endpoints={"fake": endpoint}, measured=measured)

    ((call,),) = expectations.calls(Planner(_Models(endpoint)).plan(mixture_of(aggregator=_agent("agg")), RunOptions()))

    assert not expectations.is_measured(call)
    assert expectations.seconds(call) == pytest.approx(50 * 0.5)


async def test_what_caches_are_expected_to_save_is_as_it_was_measured() -> None:
    price = Price(input=Decimal(10), output=Decimal(0), cached_input=Decimal(1))
    endpoint = Endpoint(name="fake", kind="given", prices={"*": price})
    measured = {
        ("fake", "agg", kind_of_call(1, 600, has_format=False)): CallStatistics(
            calls=2, input_tokens=1000, cached_input_tokens=800, output_tokens=100, seconds=1.0
        )
    }
    expectations = Expectations(endpoints={"fake": endpoint}, measured=measured)

    plan = Planner(_Models(endpoint)).plan(mixture_of(aggregator=_agent("agg")), RunOptions())
    ((call,),) = expectations.calls(plan, 1000)

    assert call.usage == TokenUsage(input_tokens=1000, cached_input_tokens=800, output_tokens=50)
    assert (call.cost_usd, call.uncached_usd) == (Decimal("0.0028"), Decimal("0.01"))
