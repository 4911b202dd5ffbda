"""What a run tells while it runs, and where its time went."""

import asyncio
from typing import Any

import pytest

from moa._engine.stream import BACKLOG, RunStream
from moa._ledger import Meter
from moa.events import (
    AnswerDelta,
    AnswerToolCallDelta,
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


def _piece(number: int) -> Any:
    """Two proposers and an aggregator write at the same time, with thoughts, log probabilities and tool calls."""
    match number % 7:
        case 0 | 1 | 2:
            return ProposalDelta(layer=1, index=number % 2, text=f"{number} ", reasoning=number % 5000 < 100)
        case 3 | 4:
            return AnswerDelta(text=f"{number} ", reasoning=number % 3000 < 50, logprobs=({"token": number},))
        case 5:
            first = {"id": f"c{number}", "name": "f"} if number % 2100 == 5 else {}
            return AnswerToolCallDelta(index=number // 2100, arguments=f"{number} ", **first)
        case _:
            return LayerStarted(layer=number) if number % 4900 == 6 else AnswerDelta(text=f"{number} ")


def _joined(events: list[Any]) -> list[Any]:
    """Everything that is said, by who says it, piece by piece."""
    found: list[Any] = []
    for event in events:
        match event:
            case ProposalDelta():
                found += [(event.index, event.reasoning, word) for word in event.text.split()]
            case AnswerDelta():
                found += [("answer", event.reasoning, word) for word in event.text.split()]
                found += [("logprob", each["token"]) for each in event.logprobs]
            case AnswerToolCallDelta():
                found += [("call", event.index, word) for word in event.arguments.split()]
                found += [("begins", event.index, event.id, event.name)] if event.id else []
            case _:
                found.append(event)
    return found


@pytest.mark.parametrize("reads_s", [None, 0.0])
async def test_for_a_reader_that_is_slow_pieces_of_a_text_become_one_and_nothing_is_lost(reads_s: float | None) -> None:
    pieces = [_piece(number) for number in range(20_000)]

    async def run(emit: Any) -> Any:
        for number, piece in enumerate(pieces):
            emit(piece)
            if reads_s is not None and number % 20 == 0:
                await asyncio.sleep(reads_s)

    told: list[Any] = []
    async with RunStream(run, Meter()) as events:
        async for event in events:
            told.append(event)
            if reads_s is not None:
                await asyncio.sleep(0)

    by_writer = [
        [[each for each in _joined(some) if writer(each)] for some in (told, pieces)]
        for writer in (
            lambda each: isinstance(each, tuple) and each[0] == 0,
            lambda each: isinstance(each, tuple) and each[0] == 1,
            lambda each: isinstance(each, tuple) and each[0] == "logprob",
            lambda each: isinstance(each, tuple) and each[0] in ("answer", "call", "begins"),
            lambda each: not isinstance(each, tuple),
        )
    ]
    for heard, written in by_writer:
        assert heard == written != []
    assert len(told) < len(pieces)


async def test_a_reader_that_reads_nothing_leaves_a_bounded_number_of_events() -> None:
    """A client that took nothing of a run with 128 samples kept 500,000 events in memory."""

    async def run(emit: Any) -> Any:
        for number in range(50_000):
            emit(ProposalDelta(layer=1, index=number % 128, text="word "))

    async with RunStream(run, Meter()) as events:
        await asyncio.sleep(0)
        await asyncio.sleep(0)

        assert events._queue.qsize() <= BACKLOG + 128 + 1
