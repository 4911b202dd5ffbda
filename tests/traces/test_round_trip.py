"""Runs of every kind, recorded and replayed: the same answer, order and books come out, without any network."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from moa._config.settings import Settings
from moa._messages import ImagePart, ReplyOptions, Sampling
from moa._mixture.loading import load
from moa._pricing.price import Price
from moa._runtime.engine import Engine
from moa._traces.reading import read_trace
from moa._traces.replaying import replay
from moa._usage import TokenUsage
from moa.errors import (
    AuthenticationFailed,
    CircuitOpen,
    EngineError,
    MoaError,
    RateLimited,
    ServiceFailed,
    TraceError,
    UsageError,
)
from moa.providers._base import Finish, ModelRequest, ReasoningDelta, TextDelta, ToolCallDelta
from moa.providers._endpoint import Endpoint, LimitSettings, RetrySettings
from moa.providers._scripted import Pause, Script, ScriptedProvider
from tests.support.engines import mixture_of, scripted
from tests.support.virtual_clock import VirtualClockLoop, loop_time

PRICE = {"input": 1.0, "output": 2.0}
USED = TokenUsage(input_tokens=10, output_tokens=5)
TOOL = {"type": "function", "function": {"name": "find", "parameters": {}}}


def _boom(model: str) -> ServiceFailed:
    return ServiceFailed("boom", model=f"fake/{model}", status=500)


def _first_then(first: Script, then: Script) -> Callable[[ModelRequest], Script]:
    scripts = iter([first])
    return lambda request: next(scripts, then)


def _record(
    path: Path, scripts: Any, mixture: Any, *, stream: bool = True, leave_after_s: float | None = None, **given
):
    """Run a mixture in virtual time and record it; return its answer, its error or None, and its books."""

    async def run() -> tuple[Any, Any]:
        endpoint = Endpoint(name="fake", kind="given", retry=RetrySettings(), limits=LimitSettings(max_concurrency=3))
        provider = scripts if isinstance(scripts, ScriptedProvider) else scripted(scripts)
        arguments = dict(settings=Settings(endpoints={"fake": endpoint}), providers={"fake": provider}, clock=loop_time)
        async with Engine(**arguments) as engine:
            if not stream:
                answer = await engine.arun(mixture, "hi", trace=path, **given)
                return answer, answer.ledger
            async with engine.astream(mixture, "hi", trace=path, **given) as events:
                told = []
                try:
                    async with asyncio.timeout(leave_after_s):
                        told = [event async for event in events]
                except TimeoutError:
                    pass
                except MoaError as error:
                    return error, events.ledger
        return (told[-1].answer if told else None), events.ledger

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(run())


WATCHED: dict[str, tuple[dict[str, Any], Any, dict[str, Any]]] = {
    "a plain run": ({"a": ["o", "ne"], "b": [Pause(1), "two"], "agg": ["do", "ne"]}, mixture_of(["a", "b"]), {}),
    "three layers with samples and a seed": (
        {"a": lambda request: f"{request.sampling.seed}", "agg": "done"},
        mixture_of([{"model": "a", "samples": 3}], ["a", "a"]),
        {"seed": 7},
    ),
    "a single model": ({"agg": "alone"}, mixture_of(), {}),
    "retries": (
        {"a": _first_then([RateLimited("slow", model="fake/a", retry_after_s=3)], "one"), "agg": "done"},
        mixture_of([{"model": "a", "price": PRICE}]),
        {},
    ),
    "a reply that begins anew": (
        {"a": _first_then(["half ", _boom("a")], ["who", "le"]), "agg": "done"},
        mixture_of(["a"]),
        {},
    ),
    "a fallback and a failure": (
        {
            "a": [Pause(1), AuthenticationFailed("no", model="fake/a", status=401)],
            "b": "two",
            "c": [Pause(1), AuthenticationFailed("no", model="fake/c")],
            "agg": "done",
        },
        mixture_of([{"model": "a", "fallback": ["fake/b"]}, "c"]),
        {},
    ),
    "an empty proposal": ({"a": "", "b": "two", "agg": "done"}, mixture_of(["a", "b"]), {}),
    "a straggler that is left": (
        {"a": "one", "b": ["I ", Pause(50), "am late"], "agg": [Pause(1), "done"]},
        mixture_of([{"model": "a", "price": PRICE}, {"model": "b", "price": PRICE}], wait={"grace_s": 2}),
        {},
    ),
    "a queue longer than an agent's own time limit": (
        {"a": [Pause(2), "one"], "agg": "done"},
        mixture_of([{"model": "a", "samples": 8, "timeout_s": 3}]),
        {},
    ),
    "a queue, and a time limit after it": (
        {"a": lambda request: [Pause(50 if request.context.sample == 3 else 2), "one"], "agg": "done"},
        mixture_of([{"model": "a", "samples": 4, "timeout_s": 3}]),
        {},
    ),
    "a hedged aggregator": (
        {"a": "one", "agg": _first_then([Pause(50), "never"], [Pause(1), "second"])},
        mixture_of(["a"], aggregator={"model": "agg", "hedge": {"after_s": 2}, "price": PRICE}),
        {},
    ),
    "an agent's own time limit": (
        {"a": [Pause(50), "late"], "b": "two", "agg": "done"},
        mixture_of([{"model": "a", "timeout_s": 3}, "b"]),
        {},
    ),
    "a deadline that only closes the layer": (
        {"a": "one", "b": [Pause(50), "late"], "agg": "done"},
        mixture_of(["a", "b"]),
        {"deadline_s": 9.0},
    ),
    "a budget that drops proposers": (
        {"a": ["one", Finish(reason="stop", usage=USED)], "agg": ["done", Finish(reason="stop", usage=USED)]},
        mixture_of(
            [{"model": "a", "samples": 4, "price": PRICE, "max_tokens": 1000}],
            aggregator={"model": "agg", "price": PRICE, "max_tokens": 100},
            degrade=["proposers"],
        ),
        {"budget_usd": "0.012"},
    ),
    "a selection": (
        {"a": "one", "b": "two", "agg": '{"best": 2}'},
        mixture_of(["a", "b"], aggregation="selection"),
        {},
    ),
    "the best proposal in place of an answer": (
        {"a": "one", "agg": [AuthenticationFailed("no", model="fake/agg")]},
        mixture_of(["a"], on_aggregator_failure="best_proposal"),
        {},
    ),
    "tools, reasoning, parameters, an image, a system text": (
        {
            "a": [ReasoningDelta("hm"), "one"],
            "agg": [
                ReasoningDelta("hm"),
                TextDelta("d", ({"token": "d"},)),
                ToolCallDelta(index=0, id="c1", name="find", arguments="{"),
                ToolCallDelta(index=0, arguments="}"),
                Finish(reason="tool_calls", usage=USED, served_by="agg-2", request_id="r1"),
            ],
        },
        mixture_of(["a"]),
        {
            "options": ReplyOptions(tools=(TOOL,), tool_choice="auto", top_logprobs=1),
            "sampling": Sampling(temperature=0.5, stop=("x",), extra={"min_p": 0.1}),
            "images": [ImagePart(data=b"\x89PNG", media_type="image/png")],
            "system": "be brief </script>",
        },
    ),
}  # fmt: skip

FAILING: dict[str, tuple[dict[str, Any], Any, dict[str, Any]]] = {
    "too few proposals": (
        {"a": [AuthenticationFailed("no", model="fake/a")], "b": "", "agg": "done"},
        mixture_of(["a", "b"]),
        {},
    ),
    "no aggregator": (
        {"a": "one", "agg": [CircuitOpen("skipped", model="fake/agg")]},
        mixture_of(["a"]),
        {},
    ),
    "an answer that breaks off": ({"agg": ["Once upon", _boom("agg")]}, mixture_of(), {}),
    "a deadline": ({"agg": ["Once ", Pause(50), "upon"]}, mixture_of(), {"deadline_s": 3.0}),
    "a budget that nothing fits into": (
        {"agg": "done"},
        mixture_of(aggregator={"model": "agg", "price": PRICE, "max_tokens": 10**6}),
        {"budget_usd": 0.01},
    ),
    "what the mixture can't do": (
        {"a": "one", "agg": "1"},
        mixture_of(["a"], aggregation="selection"),
        {"options": ReplyOptions(tools=(TOOL,))},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WATCHED)
@pytest.mark.parametrize("stream", [True, False])
def test_a_replay_gives_the_same_answer_order_and_books(tmp_path: Path, name: str, stream: bool) -> None:
    scripts, mixture, given = WATCHED[name]
    # Some scripts say something else the second time they are asked.
    answer, ledger = _record(tmp_path / "t.jsonl", dict(scripts), mixture, stream=stream, **given)

    again = replay(tmp_path / "t.jsonl")

    assert again.differences == ()
    assert again.answer is not None
    assert again.answer.text == answer.text
    assert [p.text for layer in again.answer.layers for p in layer.roster] == [
        p.text for layer in answer.layers for p in layer.roster
    ]
    assert again.ledger.usage == ledger.usage
    assert again.ledger.spend.unpriced_calls == ledger.spend.unpriced_calls
    assert float(again.ledger.spend.charged_usd) == pytest.approx(float(ledger.spend.charged_usd), rel=1e-9)
    assert again.answer.latency.total_s == pytest.approx(answer.latency.total_s)


@pytest.mark.parametrize("name", FAILING)
def test_a_replay_of_a_failed_run_fails_for_the_same_reasons(tmp_path: Path, name: str) -> None:
    scripts, mixture, given = FAILING[name]
    error, ledger = _record(tmp_path / "t.jsonl", scripts, mixture, **given)

    again = replay(tmp_path / "t.jsonl")

    assert isinstance(error, EngineError | UsageError)
    assert again.differences == ()
    assert (type(again.error), str(again.error)) == (type(error), str(error))
    assert again.ledger.usage == ledger.usage


def test_a_replay_of_a_cancelled_run_is_cancelled_at_the_same_moment(tmp_path: Path) -> None:
    scripts = {"a": "one", "b": ["I ", Pause(5), "am ", Pause(50), "late"], "agg": "done"}
    _, ledger = _record(tmp_path / "t.jsonl", scripts, mixture_of(["a", "b"]), leave_after_s=7)

    again = replay(tmp_path / "t.jsonl")

    assert (again.answer, again.error, again.differences) == (None, None, ())
    assert read_trace(tmp_path / "t.jsonl").outcome.kind == "cancelled"
    assert [attempt.status for attempt in ledger.attempts] == ["ok", "cancelled"]
    assert [attempt.status for attempt in again.ledger.attempts] == ["ok", "cancelled"]


async def test_a_replay_works_within_a_running_loop(tmp_path: Path) -> None:
    engine = Engine(settings=Settings(endpoints={}), providers={"fake": scripted({"agg": "alone"})})
    async with engine:
        await engine.arun(mixture_of(), "hi", trace=tmp_path / "t.jsonl")

    assert replay(tmp_path / "t.jsonl").answer.text == "alone"


def test_a_hit_of_the_cache_is_replayed_as_one(tmp_path: Path) -> None:
    async def run() -> None:
        provider = scripted({"agg": ["alone", Finish(reason="stop", usage=USED)]})
        cache = tmp_path / "calls.sqlite"
        async with Engine(settings=Settings(endpoints={}), providers={"fake": provider}, cache=cache) as engine:
            mixture = mixture_of(aggregator={"model": "agg", "price": PRICE})
            for _ in range(2):
                await engine.arun(mixture, "hi", trace=tmp_path / "t.jsonl")

    asyncio.run(run())
    again = replay(tmp_path / "t.jsonl")

    assert again.differences == ()
    assert again.ledger.attempts[0].cached
    assert again.answer.as_dict()["charged_usd"] == 0
    assert again.answer.cost_usd > 0


def test_an_engine_that_asks_something_else_than_was_recorded_is_told(tmp_path: Path) -> None:
    _record(tmp_path / "t.jsonl", {"a": "one", "agg": "done"}, mixture_of(["a"]))
    trace = read_trace(tmp_path / "t.jsonl")
    # As if the engine of today made another prompt of the proposals.
    changed = trace.mixture.model_copy(update={"prompt": "numbered"})

    again = replay(_with(trace, mixture=changed))

    assert again.differences == ("call 2: aggregator asks fake/agg something else than it did",)


def test_a_call_that_was_not_recorded_is_told(tmp_path: Path) -> None:
    _record(tmp_path / "t.jsonl", {"a": "one", "agg": "done"}, mixture_of(["a"]))
    trace = read_trace(tmp_path / "t.jsonl")

    again = replay(_with(trace, mixture=load({**trace.mixture.as_dict(), "layers": []})))

    assert again.answer is None
    assert again.differences[0] == "call 1: model asks fake/agg, which was not recorded"


def test_a_replay_that_would_wait_for_ever_is_given_up(tmp_path: Path) -> None:
    scripts = {"a": "one", "b": [Pause(50), "late"], "agg": "done"}
    _record(tmp_path / "t.jsonl", scripts, mixture_of(["a", "b"], wait={"grace_s": 1}))
    trace = read_trace(tmp_path / "t.jsonl")
    patient = trace.mixture.model_copy(update={"wait": None})

    with pytest.raises(TraceError, match="doesn't contain"):
        replay(_with(trace, mixture=patient))


def _with(trace, **changes):
    return replace(trace, **changes)


def test_a_trace_of_a_crashed_run_is_shown_and_replayed_as_far_as_it_goes(tmp_path: Path) -> None:
    path, cut = tmp_path / "t.jsonl", tmp_path / "cut.jsonl"
    scripts = {"a": ["o", "ne"], "b": [Pause(1), "two"], "agg": "done"}
    _record(path, scripts, mixture_of(["a", "b"]))
    whole = path.read_bytes()
    first, last = whole.index(b"\n") + 1, whole.rindex(b"\n", 0, -1) + 1
    for size in range(first, len(whole), 97):
        cut.write_bytes(whole[:size])
        trace = read_trace(cut)
        assert trace.outcome is None, "the last line is not whole"
        assert all(attempt.status in ("ok", "running") for attempt in trace.ledger.attempts)
        if size < last:
            assert replay(trace).differences == ()


def test_every_line_has_its_time_and_the_last_one_says_it_all(tmp_path: Path) -> None:
    answer, _ = _record(tmp_path / "t.jsonl", {"a": ["o", "ne"], "agg": "done"}, mixture_of(["a"]), seed=3)
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]

    assert [line["at_s"] for line in lines] == sorted(line["at_s"] for line in lines)
    kinds = [line["type"] for line in lines]
    assert (kinds[0], kinds[-1]) == ("trace", "answer")
    assert {"event", "call", "reply", "call_ended"} < set(kinds)
    assert lines[-1]["result"] == json.loads(json.dumps(answer.as_dict()))
    assert (lines[0]["version"], lines[0]["options"]["seed"]) == (1, 3)
    assert [line["sampling"]["seed"] is not None for line in lines if line["type"] == "call"] == [True, True]


def test_a_replay_prices_a_tier_by_the_factor_of_its_endpoint(tmp_path: Path) -> None:
    flex = ["one", Finish(reason="stop", usage=replace(USED, tier="flex"))]
    endpoint = Endpoint(
        name="fake",
        kind="given",
        prices={"*": Price(input=Decimal(1), output=Decimal(2))},
        price_factor={"flex": Decimal("0.5")},
    )
    path = tmp_path / "t.jsonl"

    async def run() -> Any:
        arguments = dict(settings=Settings(endpoints={"fake": endpoint}), providers={"fake": scripted({"agg": flex})})
        async with Engine(**arguments) as engine:
            return await engine.arun(mixture_of(), "hi", trace=path)

    answer = asyncio.run(run())
    trace = replace(read_trace(path), outcome=None)  # without it, nothing tells what was booked

    assert answer.cost_usd == Decimal("0.00001")
    assert replay(trace).ledger.spend.priced_usd == answer.cost_usd
