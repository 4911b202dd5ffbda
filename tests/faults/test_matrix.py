"""Every fault of the list, on OpenAI-style and Bedrock-style endpoints, streamed and not.

One of two proposers has the fault. The run ends by its deadline, the answer or the error is right, what the ledger
calls reported is what the server billed for whole replies, and nothing is left behind.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from moa._config.settings import Settings
from moa._mixture.loading import load
from moa._mixture.schema import Mixture
from moa._results import Answer
from moa._runtime.engine import Engine
from moa.providers._bedrock import open_bedrock
from moa.providers._endpoint import BreakerSettings, Endpoint, RetrySettings
from tests.support import event_stream
from tests.support.bedrock_calls import signing_session
from tests.support.bedrock_server import BedrockServer, Fails, Reply, Says, Sends
from tests.support.model_server import Drip, Hang, ModelServer, Raw, Reset, Status, Text

QUICK = RetrySettings(max_attempts=2, base_s=0.001)
TWO_FAILURES = BreakerSettings(failures=2)
DEADLINE_S = 5.0


def _mixture(endpoint: str) -> Mixture:
    bad = {"model": f"{endpoint}/bad", "timeout_s": 0.7, "idle_timeout_s": 0.2}
    return load(
        {
            "name": "faults",
            "layers": [{"proposers": [{"model": f"{endpoint}/good"}, bad]}],
            "aggregator": {"model": f"{endpoint}/agg"},
            "deadline_s": DEADLINE_S,
        }
    )


async def _run(engine: Engine, endpoint: str, *, streamed: bool) -> Answer:
    if not streamed:
        return await engine.arun(_mixture(endpoint), "hi there")
    async with engine.astream(_mixture(endpoint), "hi there") as events:
        return [event async for event in events][-1].answer


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    before = _open_files()
    yield
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert left == []
    assert _open_files() <= before


def _open_files() -> int:
    """How many file descriptors this process holds; 0 where that can't be told."""
    folder = Path("/proc/self/fd")
    return len(os.listdir(folder)) if folder.exists() else 0


@dataclass(frozen=True)
class Fault:
    """A fault and what becomes of the proposer that has it: the code of its error, None if a retry helps."""

    name: str
    behaviours: tuple[Any, ...]
    code: str | None
    streamed_only: bool = False


FINE = Text(("it ", "works"))
FAULTS = [
    Fault("429", (Status(429),), "rate_limited"),
    Fault("429 once", (Status(429, headers={"Retry-After": "0"}), FINE), None),
    Fault("429 with a wait beyond the deadline", (Status(429, headers={"Retry-After": "60"}),), "rate_limited"),
    Fault("429 with a date", (Status(429, headers={"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"}),), "rate_limited"),
    Fault("500", (Status(500),), "service_failed"),
    Fault("500 once", (Status(500), FINE), None),
    Fault("503", (Status(503, body="busy"),), "service_failed"),
    Fault("400", (Status(400, body={"error": {"message": "no such thing"}}),), "bad_request"),
    Fault("401", (Status(401),), "authentication_failed"),
    Fault("reset before the headers", (Reset(),), "connection_failed"),
    Fault("reset once", (Reset(), FINE), None),
    Fault("reset in the body", (Reset(after_bytes=120),), "broken_reply"),
    Fault("reset in the body once", (Reset(after_bytes=120), FINE), None),
    Fault("invalid JSON", (Raw(b'{"choices": [', "application/json"),), "broken_reply"),
    Fault("invalid UTF-8", (Raw(b'{"choices": "\xff\xfe"}', "application/json"),), "broken_reply"),
    Fault("empty choices", (Raw(b'{"choices": []}', "application/json"),), "broken_reply"),
    Fault(
        "null content",
        (Raw(b'{"choices":[{"index":0,"finish_reason":"stop","message":{"content":null}}]}', "application/json"),),
        "empty_reply",
    ),
    Fault("a web page", (Raw(b"<html>Hello, this is the proxy</html>", "text/html"),), "bad_request"),
    Fault("an empty body", (Raw(b"", "application/json"),), "broken_reply"),
    Fault("an error in a 200", (Raw(b'{"error": {"message": "overloaded"}}', "application/json"),), "service_failed"),
    Fault("hang before the headers", (Hang(),), "call_timed_out"),
    Fault("hang after the first token", (Hang(after=("it ",)),), "idle_timed_out", streamed_only=True),
    Fault("slow drip", (Drip(FINE, size=40),), None),
    Fault("drip slower than the call's time", (Drip(FINE, size=1, pace_s=0.1),), "call_timed_out"),
]


def _as_cases(faults: list[Fault]) -> list[Any]:
    return [
        pytest.param(fault, streamed, id=f"{fault.name}, {'streamed' if streamed else 'whole'}")
        for fault in faults
        for streamed in (True, False)
        if streamed or not fault.streamed_only
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "streamed"), _as_cases(FAULTS))
async def test_a_fault_of_an_openai_style_endpoint(fault: Fault, streamed: bool) -> None:
    async with ModelServer() as server:
        server.behave("good", FINE)
        server.behave("agg", Text("done"))
        server.behave("bad", *fault.behaviours)
        lab = Endpoint(name="lab", kind="openai", base_url=server.base_url, retry=QUICK, breaker=BreakerSettings())
        async with Engine(settings=Settings(endpoints={"lab": lab})) as engine:
            answer = await _run(engine, "lab", streamed=streamed)
        await server.until(lambda: server.running == 0)
        bad_requests = sum(received.model == "bad" for received in server.requests)

    _check(answer, fault)
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (
        server.bill.input_tokens,
        server.bill.output_tokens,
    )
    attempts = [attempt for call in answer.ledger.calls if call.agent == "bad" for attempt in call.attempts]
    assert len(attempts) == bad_requests


def _check(answer: Answer, fault: Fault) -> None:
    assert answer.text == "done"
    assert answer.latency.total_s < DEADLINE_S
    assert [proposal.text for proposal in answer.proposals] == ["it works"] * (1 if fault.code else 2)
    assert [reason.code for reason in answer.degraded] == ([fault.code] if fault.code else [])
    assert answer.ledger.usage + answer.ledger.estimated_usage is not None
    assert all(attempt.status != "running" for attempt in answer.ledger.attempts)


def _frames(*, broken_crc: bool = False, cut: bool = False) -> Sends:
    whole = b"".join(Says("it ", "works").frames())
    if broken_crc:
        return Sends([whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:]])
    return Sends([whole[: len(whole) // 2]], cut=cut)


BEDROCK_FINE = Says("it ", "works")
THROTTLED = Fails(429, "ThrottlingException", "Too many requests")
BEDROCK_FAULTS = [
    Fault("throttling", (THROTTLED,), "rate_limited"),
    Fault("throttling once", (THROTTLED, BEDROCK_FINE), None),
    Fault("model timeout", (Fails(408, "ModelTimeoutException", "too slow"),), "service_failed"),
    Fault("model error", (Fails(424, "ModelErrorException", "it broke"),), "service_failed"),
    Fault("unavailable", (Fails(503, "ServiceUnavailableException", "later"),), "service_failed"),
    Fault("no access", (Fails(403, "AccessDeniedException", "not for you"),), "authentication_failed"),
    Fault("expired token", (Fails(403, "ExpiredTokenException", "too old"),), "authentication_failed"),
    Fault("bad request", (Fails(400, "ValidationException", "no such field"),), "bad_request"),
    Fault(
        "too long", (Fails(400, "ValidationException", "Input is too long for requested model."),), "context_too_long"
    ),
    Fault("a bad CRC", (_frames(broken_crc=True),), "broken_reply", streamed_only=True),
    Fault("broken off", (_frames(cut=True),), "broken_reply", streamed_only=True),
    Fault("ends half-way", (_frames(),), "broken_reply", streamed_only=True),
    Fault(
        "an exception in the stream",
        (Sends([*Says("it ").frames()[:2], event_stream.exception("throttlingException", "slow down")]),),
        "rate_limited",
        streamed_only=True,
    ),
    Fault("not JSON", (Sends([b"<html>"]),), "broken_reply"),
]


@pytest.mark.parametrize(("fault", "streamed"), _as_cases(BEDROCK_FAULTS))
async def test_a_fault_of_a_bedrock_style_endpoint(fault: Fault, streamed: bool) -> None:
    left = list(fault.behaviours)

    def script(model: str) -> Reply:
        if model == "bad":
            return left.pop(0) if len(left) > 1 else left[0]
        return BEDROCK_FINE if model == "good" else Says("done")

    async with BedrockServer(by_model=script) as server:
        aws = Endpoint(name="aws", kind="bedrock", region="eu-central-1", endpoint_url=server.url, retry=QUICK)
        provider = open_bedrock(aws, make_session=signing_session)
        async with Engine(settings=Settings(endpoints={"aws": aws}), providers={"aws": provider}) as engine:
            answer = await _run(engine, "aws", streamed=streamed)
        await provider.aclose()

    _check(answer, fault)
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (
        server.billed["inputTokens"],
        server.billed["outputTokens"],
    )


async def test_a_refused_connection_is_told_as_one() -> None:
    async with ModelServer() as server:
        server.behave("*", FINE)
        lab = Endpoint(name="lab", kind="openai", base_url=server.base_url)
        gone = Endpoint(name="gone", kind="openai", base_url="http://127.0.0.1:9", retry=QUICK)
        mixture = _mixture("lab").as_dict()
        mixture["layers"][0]["proposers"][1]["model"] = "gone/bad"
        async with Engine(settings=Settings(endpoints={"lab": lab, "gone": gone})) as engine:
            answer = await engine.arun(mixture, "hi")

    assert [reason.code for reason in answer.degraded] == ["connection_failed"]


async def test_a_broken_model_is_skipped_and_its_fallback_takes_over() -> None:
    async with ModelServer() as server:
        server.behave("bad", Status(500))
        server.behave("*", FINE)
        lab = Endpoint(name="lab", kind="openai", base_url=server.base_url, retry=None, breaker=TWO_FAILURES)
        mixture = _mixture("lab").as_dict()
        mixture["layers"][0]["proposers"][1]["fallback"] = ["lab/spare"]
        async with Engine(settings=Settings(endpoints={"lab": lab})) as engine:
            answers: list[Answer] = [await engine.arun(mixture, "hi") for _ in range(4)]

    assert sum(received.model == "bad" for received in server.requests) == 2
    assert [answer.proposals[1].model for answer in answers] == ["lab/spare"] * 4
    assert all(len(answer.proposals) == 2 for answer in answers)
