"""Proposals that are made once for a user turn, however many steps its tool loop has."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from moa._engine.proposal_reuse import MAX_TURNS, RETENTION_S, OwnedProposals
from moa._messages import Message, ReplyOptions, ToolCall
from moa._mixture.schema import Mixture
from moa._results import Answer
from moa._runtime.engine import Engine
from moa._state.memory import MemoryStore
from moa._traces.replaying import replay
from moa.errors import OverBudget, ServiceFailed, StateUnavailable
from moa.events import CallStarted, LayerFinished, ProposalFinished
from moa.providers._scripted import ScriptedProvider
from tests.support.engines import engine_of, mixture_of, scripted
from tests.support.virtual_clock import virtual_time

TOOLS = ReplyOptions(tools=({"type": "function", "function": {"name": "look", "parameters": {}}},))
QUESTION = (Message(role="system", content="Be brief."), Message(role="user", content="Where is it?"))


def _models(**scripts: Any) -> ScriptedProvider:
    return scripted({"a": "from a", "b": "from b", "agg": "done", **scripts})


def _step(number: int) -> tuple[Message, Message]:
    call = ToolCall(id=f"call-{number}", name="look", arguments="{}")
    return (
        Message(role="assistant", tool_calls=(call,)),
        Message(role="tool", tool_call_id=call.id, content=f"not in place {number}"),
    )


def _asked(provider: ScriptedProvider) -> str:
    return " ".join(request.model for request in provider.requests)


async def _loop(
    engine: Engine, mixture: Mixture, steps: int, turn: Sequence[Message] = QUESTION, **given: Any
) -> list[Answer]:
    talk, answers = tuple(turn), []
    for number in range(steps):
        answers.append(await engine.arun(mixture, talk, options=TOOLS, **given))
        talk = (*talk, *_step(number))
    return answers


@virtual_time
async def test_a_tool_loop_of_ten_steps_asks_its_proposers_once() -> None:
    provider = _models()
    async with engine_of(provider) as engine:
        first, *further = await _loop(engine, mixture_of(["a", "b"], ["b"]), 10)

    assert _asked(provider) == "a b b" + " agg" * 10
    assert [proposal.text for proposal in first.proposals] == ["from b"]
    for answer in further:
        assert answer.status == "complete"
        assert [[p.text for p in layer.proposals] for layer in answer.layers] == [["from a", "from b"], ["from b"]]
        assert [(call.agent, [attempt.reused for attempt in call.attempts]) for call in answer.ledger.calls] == [
            *(("a", [True]), ("b", [True]), ("b", [True]), ("aggregator", [False])),
        ]
        assert answer.usage == answer.ledger.calls[-1].usage
        assert answer.ledger.spend.unpriced_calls == 1, "only the aggregator's call was made"


@virtual_time
async def test_every_step_of_a_loop_begins_with_the_whole_request_before_it() -> None:
    provider = _models()
    async with engine_of(provider) as engine:
        await _loop(engine, mixture_of(["a", "b"], aggregator={"model": "agg", "role": "An editor."}), 4)

    earlier: tuple[Message, ...] = ()
    for request in [request for request in provider.requests if request.model == "agg"]:
        assert request.messages[: len(earlier)] == earlier
        earlier = request.messages
    assert len(earlier) == 3 + 2 * 3


@virtual_time
async def test_the_next_user_turn_asks_the_proposers_again_and_so_does_another_owner_or_seed() -> None:
    provider, mixture = _models(), mixture_of(["a"])
    next_turn = (*QUESTION, *_step(0), Message(role="assistant", content="?"), Message(role="user", content="And now?"))
    async with engine_of(provider) as engine:
        await _loop(engine, mixture, 2)
        await _loop(engine, mixture, 2, next_turn)
        await _loop(engine, mixture, 2, owner="another")
        await _loop(engine, mixture, 2, seed=1)
        await _loop(engine, mixture_of([{"model": "a", "temperature": 1}]), 2)

    assert _asked(provider) == " ".join(["a agg agg"] * 5)


@pytest.mark.parametrize(
    ("fan_out", "with_tools", "asked"),
    [
        (None, True, "a agg agg"),
        (None, False, "a agg a agg"),
        ("every_step", True, "a agg a agg"),
        ("user_turn", False, "a agg agg"),
    ],
)
@virtual_time
async def test_where_tools_are_given_proposers_are_asked_once_per_user_turn_unless_the_mixture_says_otherwise(
    fan_out: str | None, with_tools: bool, asked: str
) -> None:
    provider, mixture = _models(), mixture_of(["a"], fan_out=fan_out)
    async with engine_of(provider) as engine:
        for talk in (QUESTION, (*QUESTION, *_step(0))):
            await engine.arun(mixture, talk, options=TOOLS if with_tools else None)

    assert _asked(provider) == asked


@virtual_time
async def test_proposers_that_are_asked_late_in_a_loop_read_what_they_would_have_read_at_its_beginning() -> None:
    provider, late = _models(), _models()
    async with engine_of(provider) as engine, engine_of(late) as other:
        await engine.arun(mixture_of(["a"]), QUESTION, options=TOOLS)
        await other.arun(mixture_of(["a"]), (*QUESTION, *_step(0), *_step(1)), options=TOOLS)

    assert provider.requests[0].messages == late.requests[0].messages == QUESTION


@virtual_time
async def test_an_answer_from_reused_proposals_says_again_why_it_is_degraded() -> None:
    provider = _models(b=[ServiceFailed("down", model="fake/b")])
    async with engine_of(provider) as engine:
        first, second = await _loop(engine, mixture_of(["a", "b"]), 2)

    assert first.degraded == second.degraded
    assert [reason.code for reason in second.degraded] == ["service_failed"]
    assert [proposal.status for proposal in second.layers[0].roster] == ["used", "failed"]
    assert [call.agent for call in second.ledger.calls] == ["a", "aggregator"], "what failed is not reused"
    assert _asked(provider) == "a b agg agg"


@virtual_time
async def test_a_run_that_reuses_proposals_needs_no_budget_for_them() -> None:
    agents = [{"model": name, "max_tokens": 10, "price": {"input": 0, "output": 1_000_000}} for name in ("a", "agg")]
    mixture = mixture_of([agents[0]], aggregator=agents[1])
    async with engine_of(_models()) as engine:
        with pytest.raises(OverBudget):
            await engine.arun(mixture, QUESTION, options=TOOLS, budget_usd=15)
        await engine.arun(mixture, QUESTION, options=TOOLS, budget_usd=20)
        again = await engine.arun(mixture, (*QUESTION, *_step(0)), options=TOOLS, budget_usd=15)

    assert again.ledger.calls[0].spend.charged_usd == 0


@virtual_time
async def test_a_stream_of_reused_proposals_tells_of_layers_and_of_no_calls() -> None:
    async with engine_of(_models()) as engine:
        await engine.arun(mixture_of(["a"]), QUESTION, options=TOOLS)
        async with engine.astream(mixture_of(["a"]), (*QUESTION, *_step(0)), options=TOOLS) as events:
            seen = [event async for event in events]

    assert [event.agent for event in seen if isinstance(event, CallStarted)] == ["aggregator"]
    assert not any(isinstance(event, ProposalFinished) for event in seen)
    (layer,) = (event.result for event in seen if isinstance(event, LayerFinished))
    assert [(proposal.text, proposal.reused) for proposal in layer.proposals] == [("from a", True)]


def test_a_trace_of_a_run_that_reused_proposals_can_be_replayed(tmp_path: Path) -> None:
    @virtual_time
    async def record() -> None:
        async with engine_of(_models()) as engine:
            await engine.arun(mixture_of(["a", "b"]), QUESTION, options=TOOLS)
            talk = (*QUESTION, *_step(0))
            await engine.arun(mixture_of(["a", "b"]), talk, options=TOOLS, trace=tmp_path / "t.jsonl")

    record()
    replayed = replay(tmp_path / "t.jsonl")

    assert replayed.differences == ()
    assert replayed.answer is not None
    assert [proposal.text for proposal in replayed.answer.proposals] == ["from a", "from b"]


class _Store(MemoryStore):
    """A store whose items can be broken, and that can be out of reach."""

    value: bytes | None = None
    is_down = False

    async def get(self, key: str) -> bytes | None:
        if self.is_down:
            raise StateUnavailable("no connection")
        return self.value or await super().get(key)

    async def put(self, key: str, value: bytes, **given: Any) -> None:
        if self.is_down:
            raise StateUnavailable("no connection")
        await super().put(key, value, **given)


@pytest.mark.parametrize("fault", [{"value": b"{"}, {"value": b'{"layers": 1}'}, {"is_down": True}])
@virtual_time
async def test_what_cannot_be_found_or_read_is_asked_again(fault: dict[str, Any]) -> None:
    provider = _models()
    async with engine_of(provider) as engine:
        engine._turns = store = _Store()
        for name, value in fault.items():
            setattr(store, name, value)
        await _loop(engine, mixture_of(["a"]), 2)

    assert _asked(provider) == "a agg a agg"


async def test_kept_proposals_expire_and_make_room_within_their_owners_bounds() -> None:
    now = [0.0]
    store = MemoryStore(lambda: now[0])
    mine, other = OwnedProposals(store, "me"), OwnedProposals(store, "you")
    await other.put("key", b"theirs")
    for number in range(MAX_TURNS + 1):
        await mine.put(f"key {number}", b"mine")

    assert [await mine.get(f"key {number}") for number in (0, 1)] == [None, b"mine"]
    assert await mine.get("key") is None
    assert await other.get("key") == b"theirs"
    now[0] = RETENTION_S + 1
    assert await mine.get("key 1") is None
