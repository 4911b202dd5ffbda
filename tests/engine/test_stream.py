"""What a run tells while it runs, and where its time went."""

from moa.events import (
    AnswerDelta,
    CallStarted,
    LayerFinished,
    LayerStarted,
    ProposalDelta,
    ProposalFinished,
    RunFinished,
    RunStarted,
)
from moa.providers._scripted import Pause
from tests.support.engines import engine_of, mixture_of, scripted
from tests.support.virtual_clock import virtual_time

SCRIPTS = {"a": [Pause(1), "o", Pause(1), "ne"], "b": [Pause(3), "two"], "agg": [Pause(2), "do", Pause(1), "ne"]}


@virtual_time
async def test_a_run_tells_everything_in_the_order_of_happening() -> None:
    async with engine_of(scripted(SCRIPTS)) as engine, engine.astream(mixture_of(["a", "b"]), "hi") as events:
        told = [event async for event in events]

    assert [type(event) for event in told] == [
        RunStarted,
        LayerStarted,
        CallStarted,
        CallStarted,
        ProposalDelta,
        ProposalDelta,
        ProposalFinished,
        ProposalDelta,
        ProposalFinished,
        LayerFinished,
        CallStarted,
        AnswerDelta,
        AnswerDelta,
        RunFinished,
    ]
    assert [agent.agent for agent in told[0].layers[0]] == ["a", "b"]


@virtual_time
async def test_latency_is_the_critical_path_and_nothing_else() -> None:
    async with engine_of(scripted(SCRIPTS)) as engine, engine.astream(mixture_of(["a", "b"]), "hi") as events:
        answer = [event async for event in events][-1].answer

    assert (answer.latency.total_s, answer.latency.critical_path_s, answer.latency.overhead_s) == (6, 6, 0)
    assert answer.latency.first_token_s == 5
    first = answer.proposals[0].attempts[0]
    assert (first.started_s, first.queue_s, first.first_token_s, first.duration_s) == (0, 0, 1, 2)
    assert answer.attempts[0].first_token_s == 2


@virtual_time
async def test_the_first_token_is_unknown_when_nothing_was_streamed() -> None:
    async with engine_of(scripted(SCRIPTS)) as engine:
        answer = await engine.arun(mixture_of(["a", "b"]), "hi")

    assert answer.latency.first_token_s is None
    assert answer.proposals[0].attempts[0].first_token_s is None


@virtual_time
async def test_proposals_are_not_told_piece_by_piece_if_nobody_wants_them() -> None:
    async with (
        engine_of(scripted(SCRIPTS)) as engine,
        engine.astream(mixture_of(["a", "b"]), "hi", proposal_deltas=False) as events,
    ):
        told = {type(event) async for event in events}

    assert ProposalDelta not in told
    assert {ProposalFinished, AnswerDelta} <= told
