"""Samples of one question that are asked for by one call, and one by one where the service doesn't have that."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from moa._config.settings import Settings
from moa._policies.profile_store import GOOD_FOR_S, ProfileStore
from moa._policies.sample_calls import SampleCalls
from moa._pricing.price import Price
from moa._results import Answer
from moa._runtime.engine import Engine
from moa._usage import TokenUsage
from moa.errors import BadRequest
from moa.providers._base import collect
from moa.providers._call_context import CallContext, SampleBatch
from moa.providers._endpoint import Endpoint, LimitSettings, RetrySettings
from moa.providers._openai_compatible import open_openai_compatible
from tests.providers.requests import ask as request
from tests.providers.requests import lab
from tests.support.behaviours import Behaviour, Hang
from tests.support.model_server import ModelServer, Raw, Status, Text

PRICE = Price(input=Decimal(1), output=Decimal(0))
SIX = {"proposers": [{"model": "lab/one", "samples": 6, "temperature": 0.7}]}
USAGE = {
    "prompt_tokens": 4000,
    "completion_tokens": 100,
    "prompt_tokens_details": {"cached_tokens": 64},
    "completion_tokens_details": {"reasoning_tokens": 10},
}


def _choices(body: dict[str, Any], number: int) -> Behaviour:
    """A service that has `n`; the texts grow in length."""
    return Raw(_completion(["word " * (index + 1) for index in range(body.get("n", 1))]))


def _completion(texts: list[str], reasons: list[str] | None = None) -> bytes:
    choices = [
        {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
        for index, (text, reason) in enumerate(zip(texts, reasons or ["stop"] * len(texts), strict=True))
    ]
    return json.dumps({"id": "x", "model": "one-2", "choices": choices, "usage": USAGE}).encode()


@asynccontextmanager
async def _engine(
    behave: Callable[[dict[str, Any], int], Behaviour], **fields: Any
) -> AsyncIterator[tuple[Engine, ModelServer]]:
    async with ModelServer() as server:
        server.behave("one", behave)
        server.behave("writer", Text("done"))
        cache = fields.pop("cache", None)
        endpoint = Endpoint(name="lab", kind="openai", base_url=server.base_url, prices={"*": PRICE}, **fields)
        async with Engine(settings=Settings(endpoints={"lab": endpoint}), cache=cache) as engine:
            yield engine, server


async def _ask(engine: Engine, layer: dict[str, Any] = SIX, **given: Any) -> Answer:
    return await engine.arun({"layers": [layer], "aggregator": {"model": "lab/writer"}}, "hi", **given)


def _asked(server: ModelServer) -> list[int]:
    return [request.body.get("n", 1) for request in server.requests if request.model == "one"]


async def test_six_samples_are_one_call_and_the_ledger_adds_up_to_what_the_service_reported() -> None:
    async with _engine(_choices) as (engine, server):
        answer = await _ask(engine, seed=7)

    assert _asked(server) == [6]
    assert [proposal.text for proposal in answer.proposals] == ["word " * (index + 1) for index in range(6)]
    calls = answer.ledger.calls[:6]
    assert [call.usage.input_tokens for call in calls] == [4000, 0, 0, 0, 0, 0]
    total = sum((call.usage for call in calls), TokenUsage())
    assert total == TokenUsage(input_tokens=4000, output_tokens=100, cached_input_tokens=64, reasoning_tokens=10)
    assert [call.usage.output_tokens for call in calls] == sorted(call.usage.output_tokens for call in calls)
    assert sum(call.spend.charged_usd for call in calls) == Decimal("0.004")
    assert {attempt.served_by for call in calls for attempt in call.attempts} == {"one-2"}


async def test_a_streamed_run_asks_for_its_samples_by_one_call_too() -> None:
    async with _engine(_choices) as (engine, server):
        mixture = {"layers": [SIX], "aggregator": {"model": "lab/writer"}}
        async with engine.astream(mixture, "hi") as events:
            seen = [type(event).__name__ async for event in events]

    assert _asked(server) == [6]
    assert seen.count("ProposalFinished") == 6


@pytest.mark.parametrize(
    "refusal",
    [
        # Groq's, Gemini's, and that of a gateway.
        {"error": {"message": "'n' : number must be at most 1", "type": "invalid_request_error"}},
        {"error": {"message": "Multiple candidates is not enabled for this model", "status": "INVALID_ARGUMENT"}},
        {"error": {"message": "Provider does not support the n parameter for multiple choices."}},
    ],
)
async def test_a_service_that_refuses_n_is_asked_sample_by_sample_and_not_for_n_again(refusal: dict[str, Any]) -> None:
    def behave(body: dict[str, Any], number: int) -> Behaviour:
        return Status(400, refusal) if "n" in body else Text(f"reply {number}")

    async with _engine(behave) as (engine, server):
        answers = [await _ask(engine) for _ in range(2)]

    assert _asked(server) == [6] + [1] * 12
    assert [answer.status for answer in answers] == ["complete"] * 2
    assert [len(call.attempts) for call in answers[0].ledger.calls] == [1] * 7


async def test_that_a_service_refuses_n_is_kept_on_disk_and_tried_again_by_one_batch(tmp_path: Path) -> None:
    times, refuses = [1000.0], [True]

    def behave(body: dict[str, Any], number: int) -> Behaviour:
        refused = {"error": {"message": "'n' : number must be at most 1"}}
        return Status(400, refused) if refuses[0] and "n" in body else _choices(body, number)

    async def ask(count: int) -> list[int]:
        """What a process of its own asks for, by this many runs at once."""
        store = ProfileStore(tmp_path / "profiles.sqlite", now=lambda: times[0])
        async with ModelServer() as server:
            server.behave("m", behave)
            inner = open_openai_compatible(lab(server.base_url))
            calls = SampleCalls(inner, endpoint="lab", store=store)
            batches = [SampleBatch(size=2) for _ in range(count)]
            contexts = [CallContext(batch=batch) for batch in batches for _ in range(2)]
            await asyncio.gather(*(collect(calls, request("m", context=context)) for context in contexts))
            await calls.aclose()
        return [one.body.get("n", 1) for one in server.requests]

    assert await ask(1) == [2, 1, 1]
    assert await ask(1) == [1, 1], "another process knows it"
    times[0] += GOOD_FOR_S
    assert sorted(await ask(2)) == [1, 1, 1, 1, 2], "one of two batches tries again"
    assert await ask(1) == [1, 1]
    times[0] += GOOD_FOR_S
    refuses[0] = False
    assert await ask(1) == [2]
    assert ProfileStore(tmp_path / "profiles.sqlite").lessons() == ()
    assert await ask(1) == [2]


async def test_a_refusal_that_asking_alone_does_not_mend_is_no_lesson_about_n(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / "profiles.sqlite")
    async with ModelServer() as server:
        server.behave("m", Status(400, {"error": {"message": "no chat completions for you"}}))
        inner = open_openai_compatible(lab(server.base_url))
        calls, batch = SampleCalls(inner, endpoint="lab", store=store), SampleBatch(size=2)
        asked = (collect(calls, request("m", context=CallContext(batch=batch))) for _ in range(2))
        failures = await asyncio.gather(*asked, return_exceptions=True)
        await calls.aclose()

    assert [type(failure) for failure in failures] == [BadRequest] * 2
    assert store.lessons() == ()


async def test_a_service_that_ignores_n_gives_the_first_sample_and_is_asked_for_the_others() -> None:
    async with _engine(lambda body, number: Text(f"reply {number}")) as (engine, server):
        first, second = [await _ask(engine) for _ in range(2)]

    assert _asked(server) == [6] + [1] * 5 + [1] * 6
    assert sorted(proposal.text for proposal in first.proposals) == [f"reply {number}" for number in range(6)]
    assert len({proposal.text for proposal in second.proposals}) == 6


async def test_another_refusal_is_not_taken_for_one_of_n() -> None:
    def behave(body: dict[str, Any], number: int) -> Behaviour:
        if "temperature" in body:
            message = "Unsupported parameter: 'temperature' is not supported with this model."
            return Status(400, {"error": {"message": message, "param": "temperature"}})
        return _choices(body, number)

    async with _engine(behave) as (engine, server):
        for _ in range(2):
            await _ask(engine)

    assert _asked(server) == [6, 6, 6], "refused once, for all of them"


async def test_one_reply_of_several_that_a_filter_refused_fails_alone() -> None:
    def behave(body: dict[str, Any], number: int) -> Behaviour:
        return Raw(_completion(["fine", "", "good"], ["stop", "content_filter", "stop"]))

    async with _engine(behave) as (engine, _):
        answer = await _ask(engine, {"proposers": [{"model": "lab/one", "samples": 3}]})

    assert [proposal.text for proposal in answer.layers[0].roster] == ["fine", "", "good"]
    assert [reason.code for reason in answer.degraded] == ["refused"]
    assert sum(call.usage.input_tokens for call in answer.ledger.calls[:3]) == 4000


async def test_a_call_for_samples_that_fails_is_made_again_within_the_retries() -> None:
    def behave(body: dict[str, Any], number: int) -> Behaviour:
        return Status(500) if number == 0 else _choices(body, number)

    async with _engine(behave, retry=RetrySettings(base_s=0.001)) as (engine, server):
        answer = await _ask(engine)

    assert _asked(server)[0] == 6
    assert answer.status == "complete"
    assert all(call.attempts[0].status == "failed" for call in answer.ledger.calls[:6])


async def test_samples_that_are_cached_are_not_asked_for_and_each_has_an_entry_of_its_own(tmp_path: Path) -> None:
    fewer = {"proposers": [{**SIX["proposers"][0], "samples": 2}]}
    async with _engine(_choices, cache=tmp_path / "calls.sqlite") as (engine, server):
        few = await _ask(engine, fewer)
        more = await _ask(engine)
        again = await _ask(engine)

    assert _asked(server) == [2, 4]
    assert [proposal.text for proposal in more.proposals[:2]] == [proposal.text for proposal in few.proposals]
    assert [proposal.text for proposal in again.proposals] == [proposal.text for proposal in more.proposals]
    assert again.ledger.spend.charged_usd == 0


async def test_no_more_samples_are_asked_for_at_once_than_the_limit_lets_through() -> None:
    async with _engine(_choices, limits=LimitSettings(max_concurrency=2)) as (engine, server):
        answer = await _ask(engine)

    assert answer.status == "complete"
    assert sum(_asked(server)) == 6
    assert max(_asked(server)) <= 2


@pytest.mark.parametrize(
    "layer",
    [
        {**SIX, "wait": {"min_proposals": 3, "grace_s": 60}},
        {"proposers": [{**SIX["proposers"][0], "hedge": {"after_s": 60}}]},
    ],
)
async def test_who_does_not_want_to_wait_for_stragglers_has_samples_asked_for_one_by_one(layer: dict[str, Any]) -> None:
    async with _engine(_choices) as (engine, server):
        await _ask(engine, layer)

    assert _asked(server) == [1] * 6


async def test_leaving_a_run_cancels_the_call_for_its_samples() -> None:
    async with _engine(lambda body, number: Hang()) as (engine, server):
        mixture = {"layers": [SIX], "aggregator": {"model": "lab/writer"}}
        async with engine.astream(mixture, "hi") as events:
            await anext(events)
            await server.until(lambda: server.running == 1)
        await server.until(lambda: server.cancelled == 1)

    assert _asked(server) == [6]
    assert {attempt.status for attempt in events.ledger.attempts} == {"cancelled"}
