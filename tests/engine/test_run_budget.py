"""Running under a budget: what is dropped, what is refused, what is spent."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from moa._config.settings import Settings
from moa._mixture.schema import Mixture
from moa._pricing.price import Price
from moa._runtime.engine import Engine
from moa._usage import TokenUsage
from moa.errors import (
    AggregationFailed,
    BrokenReply,
    ConnectionFailed,
    EngineError,
    OverBudget,
    ServiceFailed,
    UsageError,
)
from moa.providers._base import Finish, ModelRequest
from moa.providers._endpoint import Endpoint, RetrySettings
from moa.providers._scripted import Pause, Script
from tests.support.engines import engine_of, mixture_of, scripted
from tests.support.virtual_clock import loop_time, virtual_time

DOLLAR_A_WRITTEN_TOKEN = {"input": 0, "output": 1_000_000}
USED = Finish(reason="stop", usage=TokenUsage(input_tokens=0, output_tokens=2))
SCRIPTS = {model: [f"from {model}", USED] for model in ("a", "b", "c", "d", "agg")}


def _agent(model: str, **keys: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 10, "price": DOLLAR_A_WRITTEN_TOKEN, **keys}


def _mixture(*layers: str, **keys: Any) -> Mixture:
    """Layers as strings of model ids, each agent costing at most ten dollars."""
    return mixture_of(*([_agent(model) for model in layer] for layer in layers), aggregator=_agent("agg"), **keys)


async def _agents_asked(mixture: Mixture, **arguments: Any) -> list[str]:
    provider = scripted(SCRIPTS)
    async with engine_of(provider) as engine:
        answer = await engine.arun(mixture, "hi", **arguments)
    assert answer.ledger.spend.priced_usd <= (answer.cost_usd or 0)
    return [request.model for request in provider.requests]


@virtual_time
async def test_a_run_whose_worst_case_fits_is_run_as_planned() -> None:
    assert await _agents_asked(_mixture("abc", budget_usd=40)) == ["a", "b", "c", "agg"]


@virtual_time
async def test_without_degrading_a_run_that_may_cost_too_much_is_not_begun() -> None:
    provider = scripted(SCRIPTS)
    async with engine_of(provider) as engine:
        with pytest.raises(OverBudget, match=r"at worst the run costs \$40\.000000") as caught:
            await engine.arun(_mixture("abc", budget_usd=39), "hi")

    assert provider.requests == []
    assert caught.value.ledger.calls == ()


@pytest.mark.parametrize(
    ("degrade", "budget", "asked"),
    [
        (["proposers"], 30, ["a", "c", "agg"]),
        (["layers"], 30, ["a", "b", "agg"]),
        (["proposers", "layers"], 25, ["a", "agg"]),
        (["layers", "aggregator_alone"], 10, ["agg"]),
        (["aggregator_alone"], 45, ["agg"]),
    ],
)
@virtual_time
async def test_what_is_dropped_follows_the_mixtures_order(degrade: list[str], budget: int, asked: list[str]) -> None:
    assert await _agents_asked(_mixture("ab", "cd", degrade=degrade, budget_usd=budget)) == asked


@virtual_time
async def test_an_answer_names_what_was_dropped() -> None:
    async with engine_of(scripted(SCRIPTS)) as engine:
        answer = await engine.arun(_mixture("abc", budget_usd=25, degrade=["proposers"]), "hi")

    assert answer.status == "degraded"
    assert [(reason.agent, reason.code) for reason in answer.degraded] == [("b", "budget"), ("c", "budget")]


@virtual_time
async def test_dropping_proposers_stops_at_a_layers_minimum() -> None:
    mixture = _mixture("abc", budget_usd=25, degrade=["proposers"], wait={"min_proposals": 2})
    async with engine_of(scripted(SCRIPTS)) as engine:
        with pytest.raises(OverBudget):
            await engine.arun(mixture, "hi")


@virtual_time
async def test_the_tighter_budget_wins() -> None:
    for given in ({"budget_usd": 39}, {}):
        mixture = _mixture("abc", budget_usd=39 if not given else 1000)
        async with engine_of(scripted(SCRIPTS)) as engine:
            with pytest.raises(OverBudget):
                await engine.arun(mixture, "hi", **given)


@virtual_time
async def test_a_budget_needs_prices_and_a_worst_case() -> None:
    async with engine_of(scripted(SCRIPTS)) as engine:
        with pytest.raises(UsageError, match="there is none for fake/a"):
            await engine.arun(
                mixture_of([{"model": "a", "max_tokens": 5}], aggregator=_agent("agg")), "hi", budget_usd=9
            )
        with pytest.raises(UsageError, match="max_tokens` for a"):
            await engine.arun(mixture_of([_agent("a", max_tokens=None)], aggregator=_agent("agg")), "hi", budget_usd=99)


@virtual_time
async def test_unpriced_models_run_under_a_budget_if_the_mixture_says_so() -> None:
    mixture = mixture_of([{"model": "a", "max_tokens": 5}], aggregator=_agent("agg"), allow_unpriced=True)
    async with engine_of(scripted(SCRIPTS)) as engine:
        answer = await engine.arun(mixture, "hi", budget_usd=10)

    assert answer.unpriced == ("fake/a",)
    assert answer.cost_usd is None


@pytest.mark.parametrize("amount", [0, -1, float("nan"), float("inf")])
@virtual_time
async def test_a_budget_that_makes_no_sense_is_refused(amount: float) -> None:
    async with engine_of(scripted(SCRIPTS)) as engine:
        with pytest.raises(UsageError, match="makes no sense"):
            await engine.arun(_mixture("a"), "hi", budget_usd=amount)


@virtual_time
async def test_a_budget_that_64_runs_share_is_never_exceeded() -> None:
    scripts = {model: [Pause(1), *script] for model, script in SCRIPTS.items()}
    async with Engine(
        settings=Settings(endpoints={}), providers={"fake": scripted(scripts)}, clock=loop_time, budget_usd=100
    ) as engine:
        ended = await asyncio.gather(
            *(engine.arun(_mixture("abc"), str(number)) for number in range(64)),
            return_exceptions=True,
        )
        assert engine.budget is not None
        assert engine.budget.spent_usd <= 100
        spent = sum((_spent(end) for end in ended), Decimal(0))
        assert spent == engine.budget.spent_usd, "the ledgers of answers and errors tell all of it"
        assert engine.budget.left_usd == 100 - spent
    answers = [end for end in ended if not isinstance(end, EngineError)]
    assert len(answers) >= 60 // 8, "each run that began has an answer: eight dollars used, forty reserved"
    assert all(not end.ledger.calls for end in ended if isinstance(end, OverBudget))


def _spent(end: Any) -> Decimal:
    return end.ledger.spend.priced_usd + end.ledger.spend.estimated_usd


@virtual_time
async def test_a_shared_budget_degrades_a_run_as_its_own_does() -> None:
    mixture = _mixture("abc", degrade=["proposers"])
    provider = scripted(SCRIPTS)
    async with Engine(
        settings=Settings(endpoints={}), providers={"fake": provider}, clock=loop_time, budget_usd=25
    ) as engine:
        answer = await engine.arun(mixture, "hi")

    assert [request.model for request in provider.requests] == ["a", "agg"]
    assert [(reason.agent, reason.code) for reason in answer.degraded] == [("b", "budget"), ("c", "budget")]


@virtual_time
async def test_a_mixture_that_selects_still_does_after_its_last_layer_was_dropped() -> None:
    scripts = {**SCRIPTS, "agg": ['{"best": 1}', USED], "a": ["from a", Finish(reason="stop", usage=_used(10))]}
    mixture = _mixture("a", "bcd", degrade=["layers"], aggregation="selection", budget_usd=50)
    async with engine_of(scripted(scripts)) as engine:
        answer = await engine.arun(mixture, "hi")
    assert answer.text == "from b"

    mixture = mixture_of(
        [_agent("a", max_tokens=1)], [_agent("b")], aggregator=_agent("agg"), aggregation="selection",
        degrade=["layers"], budget_usd=21,
    )  # fmt: skip
    async with engine_of(scripted(scripts)) as engine:
        answer = await engine.arun(mixture, "hi")
    assert (answer.text, [reason.code for reason in answer.degraded]) == ("from a", ["budget"])


def _used(output_tokens: int) -> TokenUsage:
    return TokenUsage(input_tokens=0, output_tokens=output_tokens)


# -- what a budget could afford at the start is never lost in the middle ----------------------------------------------

CENTS = {"input": 1, "output": 4}
LONG = "a word of many letters: incomprehensibilities " * 60
"""Some 700 tokens by its bytes; its service counts 400, as many as `max_tokens` allows."""


def _presets(**keys: Any) -> Mixture:
    members = [{"model": model, "max_tokens": 400, "price": CENTS} for model in "abc"]
    return mixture_of(members, members[:2], aggregator={"model": "agg", "max_tokens": 400, "price": CENTS}, **keys)


def _writes_all(request: ModelRequest) -> Script:
    # Prompts count as in the forecast: conversation, template, 400 tokens and a frame for each proposal.
    usage = TokenUsage(input_tokens=10, output_tokens=400)
    return [Pause(1), LONG, Finish(reason="length", usage=usage)]


@virtual_time
async def test_64_runs_that_a_shared_budget_can_afford_all_complete() -> None:
    provider = scripted(dict.fromkeys(("a", "b", "c", "agg"), _writes_all))
    plan_usd = Decimal("0.0775")
    async with Engine(
        settings=Settings(endpoints={}), providers={"fake": provider}, clock=loop_time, budget_usd=5
    ) as engine:
        answers = await asyncio.gather(*(engine.arun(_presets(), f"question {n}") for n in range(64)))

        assert engine.budget is not None
        assert 64 * answers[0].ledger.spend.charged_usd <= engine.budget.spent_usd <= 5
    assert all(len(answer.ledger.calls) == 6 for answer in answers)
    assert plan_usd * 64 < 5


@virtual_time
async def test_128_runs_of_five_agents_with_samples_and_faults_complete_with_no_more_than_their_worst_case() -> None:
    runs, random = 128, Random(128)
    members = [
        {"model": model, "max_tokens": 400, "price": CENTS, "samples": 1 + number % 3}
        for number, model in enumerate("abcde")
    ]
    aggregator = {"model": "agg", "max_tokens": 400, "price": CENTS}
    mixture = mixture_of(members, members[:3], aggregator=aggregator)

    faults: dict[object, int] = {}

    def shaky(request: ModelRequest) -> Script:
        # A call fails twice in a row at most: that more attempts don't help is no question of the budget.
        key = (request.context.call.run, request.context.call.id) if request.context.call else None
        if random.random() < 0.1 and faults.get(key, 0) < 2:
            faults[key] = faults.get(key, 0) + 1
            return [Pause(1), ServiceFailed("down", model=request.reference)]
        return _writes_all(request)

    settings = Settings(endpoints={"fake": Endpoint(name="fake", kind="given", breaker=None)})
    arguments = {"settings": settings, "providers": {"fake": scripted(dict.fromkeys([*"abcde", "agg"], shaky))}}
    async with Engine(**arguments) as engine:
        worst_usd = (await engine.aforecast(mixture, f"question {runs}")).worst_usd
    assert worst_usd is not None
    async with Engine(**arguments, clock=loop_time, budget_usd=runs * worst_usd) as engine:
        answers = await asyncio.gather(*(engine.arun(mixture, f"question {n}") for n in range(runs)))

        assert engine.budget is not None
        assert engine.budget.spent_usd <= runs * worst_usd
    assert all(answer.agent == "aggregator" for answer in answers)
    assert sum(attempt.status == "failed" for answer in answers for attempt in answer.ledger.attempts) > runs


def _priced(scripts: Any, **arguments: Any) -> Engine:
    """An engine whose every model costs a dollar for each written token, fallbacks too; nothing is tried again."""
    price = Price(input=Decimal(0), output=Decimal(1_000_000))
    endpoint = Endpoint(name="fake", kind="given", retry=None, breaker=None, prices={"*": price})
    settings = Settings(endpoints={"fake": endpoint})
    return Engine(settings=settings, providers={"fake": scripted(scripts)}, clock=loop_time, **arguments)


def _breaking_off(times: int) -> Callable[[ModelRequest], Script]:
    tries: list[int] = []

    def script(request: ModelRequest) -> Script:
        tries.append(1)
        if len(tries) <= times:
            return ["half an answer", BrokenReply("broke off", model=request.reference)]
        return ["whole", USED]

    return script


@virtual_time
async def test_a_further_attempt_without_money_costs_a_proposal_and_never_the_run() -> None:
    agents = [_agent("a"), _agent("b", fallback=["fake/c"])]
    async with _priced({**SCRIPTS, "b": _breaking_off(9)}) as engine:
        answer = await engine.arun(mixture_of(agents, aggregator=_agent("agg"), budget_usd=30), "hi")

    assert answer.text == "from agg"
    assert [(reason.agent, "left for a further attempt" in reason.message) for reason in answer.degraded] == [
        ("b", True)
    ]


def _with_retries(scripts: Any, **arguments: Any) -> Engine:
    """An engine whose every model costs a dollar for each written token; failed calls are retried at once."""
    retry = RetrySettings(max_attempts=20, base_s=0.0, cap_s=0.0, per_call=9.0)
    prices = {"*": Price(input=Decimal(0), output=Decimal(1_000_000))}
    settings = Settings(
        endpoints={"fake": Endpoint(name="fake", kind="given", retry=retry, breaker=None, prices=prices)}
    )
    return Engine(settings=settings, providers={"fake": scripted(scripts)}, clock=loop_time, **arguments)


@virtual_time
@pytest.mark.parametrize(("budget_usd", "is_whole"), [(22, True), (21.99, False)])
async def test_a_run_takes_more_from_a_shared_budget_up_to_exactly_its_own(budget_usd: float, is_whole: bool) -> None:
    # A proposal of 2 dollars, an attempt that may have cost 10, and one that costs 10 at most.
    mixture = _mixture("a", budget_usd=budget_usd, on_aggregator_failure="best_proposal")
    async with _with_retries({**SCRIPTS, "agg": _breaking_off(1)}, budget_usd=100) as engine:
        answer = await engine.arun(mixture, "hi")

    assert answer.text == ("whole" if is_whole else "from a")


@virtual_time
async def test_an_error_for_want_of_money_says_what_had_used_it_up() -> None:
    async with _with_retries({**SCRIPTS, "agg": _breaking_off(9)}) as engine:
        with pytest.raises(AggregationFailed) as caught:
            await engine.arun(_mixture("a", budget_usd=20), "hi")
        kept = await engine.arun(_mixture("a", budget_usd=20, on_aggregator_failure="best_proposal"), "hi")

    (cause,) = caught.value.failures
    assert "broke off; $" in str(cause)
    assert "more is not left for a further attempt" in str(cause)
    assert (kept.text, kept.status) == ("from a", "degraded")
    assert "broke off" in kept.degraded[0].message


@virtual_time
async def test_with_exactly_its_worst_case_a_run_is_lost_only_for_attempts_that_may_have_been_charged() -> None:
    random = Random(7)

    def shaky(request: ModelRequest) -> Script:
        faults = [ServiceFailed, ConnectionFailed, BrokenReply]
        if random.random() < 0.25:
            return [random.choice(faults)("down", model=request.reference)]
        return ["fine", Finish(reason="stop", usage=TokenUsage(input_tokens=0, output_tokens=random.randint(1, 10)))]

    lost = 0
    async with _with_retries(dict.fromkeys(("a", "b", "c", "agg"), shaky)) as engine:
        for _ in range(300):
            try:
                ledger = (await engine.arun(_mixture("abc"), "hi", budget_usd=40)).ledger
            except EngineError as error:
                ledger = error.ledger
                lost += 1
                charged = [attempt for attempt in ledger.attempts if attempt.usage_source == "upper_bound"]
                assert charged, "nothing that was not charged takes money away from a retry"
            assert ledger.spend.charged_usd <= 40

    assert 0 < lost < 30


@pytest.mark.parametrize(("times", "budget"), [(1, 30), (2, 100)])
@virtual_time
async def test_the_aggregator_has_a_second_attempt_held_and_takes_more_from_what_is_shared(
    times: int, budget: int
) -> None:
    agg = _agent("agg", fallback=["fake/agg"] * times)
    async with _priced({**SCRIPTS, "agg": _breaking_off(times)}, budget_usd=budget) as engine:
        answer = await engine.arun(mixture_of([_agent("a")], aggregator=agg), "hi")

        assert engine.budget is not None
        assert engine.budget.left_usd == budget - engine.budget.spent_usd
    assert answer.text == "whole"


@pytest.mark.slow
@virtual_time
async def test_200_runs_at_once_with_10_percent_faults_lose_no_answer() -> None:
    random = Random(5)

    def shaky(request: ModelRequest) -> Script:
        return ["fine", ServiceFailed("down", model=request.reference) if random.random() < 0.1 else USED]

    provider = scripted(dict.fromkeys(("a", "b", "c", "agg"), shaky))
    settings = Settings(endpoints={"fake": Endpoint(name="fake", kind="given")})
    async with Engine(settings=settings, providers={"fake": provider}, clock=loop_time) as engine:
        answers = await asyncio.gather(*(engine.arun(mixture_of("abc"), f"question {n}") for n in range(200)))

    faults = sum(attempt.status == "failed" for answer in answers for attempt in answer.ledger.attempts)
    assert faults > 60
    assert all(answer.agent == "aggregator" for answer in answers)
    assert sum(answer.status == "degraded" for answer in answers) <= 2


@virtual_time
async def test_what_is_held_for_the_aggregator_pays_for_no_further_attempt_of_a_proposer() -> None:
    full = Finish(reason="stop", usage=TokenUsage(input_tokens=0, output_tokens=10))
    broken = [BrokenReply("it broke off", model="fake/b")]
    scripts = {"a": ["one", full], "b": broken, "c": ["three", full], "agg": ["done", full]}
    async with _with_retries(scripts) as engine:
        answer = await engine.arun(_mixture("a", "bc", budget_usd=40), "hi")

    assert (answer.text, [reason.agent for reason in answer.degraded]) == ("done", ["b"])
