"""How long a run waits: for stragglers, for agents that are too slow, for its deadline."""

import asyncio
from typing import Any

import pytest

from moa._config.settings import Settings
from moa._mixture.schema import Mixture
from moa._results import Answer
from moa._runtime.engine import Engine
from moa.errors import DeadlineExceeded, LayerFailed
from moa.events import AnswerDelta
from moa.providers._base import ModelRequest
from moa.providers._scripted import Pause, Script
from tests.support.engines import Scripts, engine_of, mixture_of, scripted
from tests.support.virtual_clock import loop_time, virtual_time

HANG = Pause(float("inf"))


async def _run(scripts: Scripts, mixture: Mixture, **arguments: Any) -> Answer:
    async with engine_of(scripted(scripts)) as engine:
        return await engine.arun(mixture, "hi", **arguments)


@virtual_time
async def test_by_default_every_proposer_is_waited_for() -> None:
    answer = await _run({"a": "one", "b": [Pause(60), "two"], "agg": "done"}, mixture_of(["a", "b"]))

    assert [proposal.text for proposal in answer.proposals] == ["one", "two"]
    assert answer.layers[0].closed_by == "all"
    assert answer.layers[0].duration_s == 60


@virtual_time
async def test_stragglers_get_the_grace_time_once_enough_are_in() -> None:
    scripts = {"a": [Pause(2), "one"], "b": [Pause(6), "two"], "c": [Pause(8), "three"], "agg": "done"}
    answer = await _run(scripts, mixture_of(["a", "b", "c"], wait={"min_proposals": 1, "grace_s": 5}))

    assert [proposal.text for proposal in answer.proposals] == ["one", "two"]
    assert answer.layers[0].closed_by == "grace"
    assert answer.layers[0].duration_s == 7
    assert [(reason.agent, reason.code) for reason in answer.degraded] == [("c", "abandoned")]


@virtual_time
async def test_a_layers_own_wait_comes_before_the_mixtures() -> None:
    mixture = mixture_of(["a", "b"], wait={"min_proposals": 2}).as_dict()
    mixture["layers"][0]["wait"] = {"min_proposals": 1, "grace_s": 0}
    answer = await _run({"a": "one", "b": [Pause(9), "two"], "agg": "done"}, mixture)

    assert [proposal.text for proposal in answer.proposals] == ["one"]


@virtual_time
async def test_an_agent_that_is_too_slow_times_out_and_the_run_goes_on() -> None:
    mixture = mixture_of(["a", {"model": "b", "timeout_s": 30}])
    answer = await _run({"a": "one", "b": [HANG], "agg": "done"}, mixture)

    assert [(reason.agent, reason.code) for reason in answer.degraded] == [("b", "call_timed_out")]
    assert answer.latency.total_s == 30


@virtual_time
async def test_a_stream_that_falls_silent_is_left_after_the_idle_limit() -> None:
    mixture = mixture_of(["a", {"model": "b", "idle_timeout_s": 3}])
    answer = await _run({"a": "one", "b": ["begun", HANG], "agg": "done"}, mixture)

    assert [(reason.agent, reason.code) for reason in answer.degraded] == [("b", "idle_timed_out")]


@virtual_time
async def test_a_mixture_may_set_the_aggregators_share_of_the_deadline() -> None:
    mixture = mixture_of(["a", "b"], aggregator_share=0.8)
    answer = await _run({"a": "one", "b": [HANG], "agg": [Pause(9), "done"]}, mixture, deadline_s=30)

    assert answer.layers[0].duration_s == pytest.approx(6)


@virtual_time
async def test_layers_close_early_enough_to_leave_the_aggregator_its_share_of_the_deadline() -> None:
    answer = await _run({"a": "one", "b": [HANG], "agg": [Pause(9), "done"]}, mixture_of(["a", "b"]), deadline_s=30)

    assert answer.text == "done"
    assert answer.layers[0].closed_by == "deadline"
    assert answer.layers[0].duration_s == pytest.approx(20)
    assert [(reason.agent, reason.code) for reason in answer.degraded] == [("b", "abandoned")]


@virtual_time
async def test_layers_share_evenly_what_they_leave_to_the_aggregator() -> None:
    scripts = {"a": "one", "b": [HANG], "c": "two", "agg": "done"}
    answer = await _run(scripts, mixture_of(["a", "b"], ["c"]), deadline_s=30)

    assert (answer.layers[0].closed_by, answer.layers[0].duration_s) == ("deadline", pytest.approx(10))


@virtual_time
async def test_time_that_a_quick_layer_leaves_over_goes_to_the_layers_after_it() -> None:
    scripts = {"a": "one", "b": [Pause(19), "two"], "agg": "done"}
    answer = await _run(scripts, mixture_of(["a"], ["b"]), deadline_s=30)

    assert answer.status == "complete"


@pytest.mark.parametrize(("file_s", "call_s"), [(12, 60), (60, 12), (12, None)])
@virtual_time
async def test_the_tighter_deadline_wins(file_s: float, call_s: float | None) -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        await _run({"a": [HANG]}, mixture_of(["a"], deadline_s=file_s), deadline_s=call_s)

    assert loop_time() == pytest.approx(8), "two thirds of 12 s"
    assert [failure.code for failure in caught.value.failures] == ["abandoned"]
    assert caught.value.ledger.calls[0].attempts[0].status == "cancelled"


@virtual_time
async def test_a_deadline_during_the_answer_is_an_error_with_the_partial_text() -> None:
    mixture = mixture_of(["a"], on_aggregator_failure="best_proposal", deadline_s=10)
    shown = []

    async def watch() -> None:
        provider = scripted({"a": "one", "agg": ["Once upon", HANG]})
        async with engine_of(provider) as engine, engine.astream(mixture, "hi") as events:
            async for event in events:
                shown.append(event)

    with pytest.raises(DeadlineExceeded) as caught:
        await watch()

    assert loop_time() == pytest.approx(10)
    assert caught.value.partial_text == "Once upon"
    assert caught.value.ledger.calls[-1].attempts[0].error.code == "deadline_exceeded"
    assert [event.text for event in shown if isinstance(event, AnswerDelta)] == ["Once upon"]


@virtual_time
async def test_at_the_deadline_the_best_proposal_answers_if_the_mixture_says_so() -> None:
    mixture = mixture_of(["a", "b"], on_aggregator_failure="best_proposal", deadline_s=10)
    answer = await _run({"a": "short", "b": "a longer one", "agg": [HANG]}, mixture)

    assert (answer.text, answer.agent, answer.status) == ("a longer one", "b", "degraded")
    assert [reason.code for reason in answer.degraded] == ["deadline_exceeded"]


@virtual_time
async def test_a_call_that_ignores_its_cancellation_does_not_hold_up_the_run() -> None:
    freed = asyncio.Event()

    class Stubborn:
        takes_seed = True

        def stream(self, request: object) -> "Stubborn":
            return self

        async def __aenter__(self) -> None:
            while not freed.is_set():
                try:
                    await freed.wait()
                except asyncio.CancelledError:
                    continue
            raise asyncio.CancelledError

        async def __aexit__(self, *error: object) -> None: ...

        async def aclose(self) -> None: ...

    providers = {"fake": scripted({"a": "one", "agg": "done"}), "stubborn": Stubborn()}
    mixture = mixture_of(["a"], wait={"min_proposals": 1, "grace_s": 1}).as_dict()
    mixture["layers"][0]["proposers"].append({"model": "stubborn/x"})
    async with Engine(settings=Settings(endpoints={}), providers=providers, clock=loop_time) as engine:
        answer = await engine.arun(mixture, "hi")
        assert answer.text == "done"
        assert answer.latency.total_s < 2
        left = answer.ledger.calls[1].attempts[0]
        assert (left.status, left.error and left.error.code) == ("cancelled", "abandoned")
        freed.set()
        await asyncio.sleep(0)


@virtual_time
async def test_enough_failures_close_a_layer_with_an_error_at_once() -> None:
    with pytest.raises(LayerFailed):
        await _run({"a": "", "b": [HANG]}, mixture_of(["a", "b"], wait={"min_proposals": 2}))

    assert loop_time() < 1


@virtual_time
async def test_a_clock_that_jumps_ahead_ends_the_run_by_its_deadline_and_loses_no_call() -> None:
    # As after a laptop was asleep: between two readings an hour has passed.
    jumped = [0.0]

    def clock() -> float:
        return loop_time() + jumped[0]

    def sleep(request: ModelRequest) -> Script:
        jumped[0] = 3600.0
        return [Pause(1), "one"]

    provider = scripted({"a": sleep, "agg": [HANG]})
    mixture = mixture_of(["a"], deadline_s=30)
    async with Engine(settings=Settings(endpoints={}), providers={"fake": provider}, clock=clock) as engine:
        with pytest.raises(DeadlineExceeded) as caught:
            await engine.arun(mixture, "hi")

    assert loop_time() < 30
    assert [call.agent for call in caught.value.ledger.calls] == ["a"]
