"""What services really refuse and reply, one file each, on both kinds of provider, as proposer and aggregator."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from moa._config.settings import Settings
from moa._messages import ReplyOptions
from moa._mixture.loading import load
from moa._results import Answer
from moa._runtime.engine import Engine
from moa.errors import BadRequest, EngineError, Refused
from moa.providers._endpoint import Endpoint
from tests.providers.requests import lab
from tests.support.bedrock_calls import provider_at
from tests.support.bedrock_server import BedrockServer, Fails, Says
from tests.support.behaviours import Behaviour, Raw, Text
from tests.support.model_server import ModelServer, Status

CORPUS = Path(__file__).parent / "corpus"
Json = dict[str, Any]
GOOD = "Old pond, a frog"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}

OF_OPENAI: dict[str, Callable[[Json], bool]] = {
    "max_tokens": lambda body: "max_tokens" in body,
    "system": lambda body: any(turn["role"] == "system" for turn in body["messages"]),
    "alternation": lambda body: _repeats(turn["role"] for turn in body["messages"]),
    "prefill": lambda body: body["messages"][-1]["role"] == "assistant",
    "name": lambda body: any("name" in turn for turn in body["messages"]),
}
ON_BEDROCK: dict[str, Callable[[Json], bool]] = {
    "temperature": lambda body: "temperature" in body.get("inferenceConfig", {}),
    "top_p": lambda body: "topP" in body.get("inferenceConfig", {}),
    "top_k": lambda body: "top_k" in body.get("additionalModelRequestFields", {}),
    "reasoning_effort": lambda body: "effort" in body.get("outputConfig", {}),
    "max_tokens": lambda body: False,  # it has one name there
    "system": lambda body: "system" in body,
    "prefill": lambda body: body["messages"][-1]["role"] == "assistant",
    "tools": lambda body: "toolConfig" in body,
}
EXTRA = {"presence_penalty": 0.1, "frequency_penalty": 0.1, "user": "u", "prompt_cache_key": "k"}


def _repeats(roles: Any) -> bool:
    every = list(roles)
    return any(one == two for one, two in pairwise(every))


def _cases(kind: str) -> list[Any]:
    return [pytest.param(json.loads(path.read_text()), id=path.stem) for path in sorted((CORPUS / kind).glob("*.json"))]


def _mixture(model: str, temperature: float) -> Any:
    agent = {
        "model": f"lab/{model}",
        "temperature": temperature,
        "top_p": 0.9,
        "top_k": 5,
        "max_tokens": 50,
        "reasoning_effort": "low",
        "extra": EXTRA,
    }
    return load({"name": "test", "layers": [{"proposers": [agent]}], "aggregator": {**agent, "role": "Be brief."}})


TURNS = (
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "One.", "name": "bob"},
    {"role": "user", "content": "Two."},
)


async def _answer(engine: Engine, case: Json, model: str, *, streamed: bool) -> Answer:
    parts, temperature = case["refuses"], 1.5 if case["lesson"] is None else 0.7
    turns = [*TURNS, {"role": "assistant", "content": "So:"}] if "prefill" in parts else list(TURNS)
    options = ReplyOptions(tools=(TOOL,)) if "tools" in parts else ReplyOptions()
    if not streamed:
        return await engine.arun(_mixture(model, temperature), turns, options=options, seed=1)
    async with engine.astream(_mixture(model, temperature), turns, options=options, seed=1) as events:
        return [event async for event in events][-1].answer


class _Service:
    """A service that refuses a part of requests in a file's words."""

    def __init__(self, case: Json) -> None:
        self.refused = 0
        self._case = case

    def _refuses(self, has: Callable[[str], bool]) -> bool:
        self.refused += (refuses := all(map(has, self._case["refuses"])))
        return refuses

    def openai(self, body: Json, number: int) -> Behaviour:
        def has(part: str) -> bool:
            return OF_OPENAI[part](body) if part in OF_OPENAI else part in body

        return Status(self._case["status"], self._case["body"]) if self._refuses(has) else Text(GOOD)

    def bedrock(self, body: Json, operation: str) -> Says | Fails:
        def has(part: str) -> bool:
            if part == "stream":
                return operation == "converse-stream"
            return part in ON_BEDROCK and ON_BEDROCK[part](body)

        if not self._refuses(has):
            return Says(GOOD)
        said = self._case["body"]
        said = said[0] if isinstance(said, list) else said
        message = said.get("error", said.get("message", json.dumps(said)))
        if isinstance(message, dict):
            message = message.get("cause", message.get("message", json.dumps(message)))
        return Fails(400, "ValidationException", str(message))


@asynccontextmanager
async def _engine(kind: str, service: _Service) -> AsyncIterator[tuple[Engine, str]]:
    if kind == "openai":
        async with ModelServer() as server:
            server.behave("m", service.openai)
            endpoint = lab(server.base_url, retry=None)
            async with Engine(settings=Settings(endpoints={"lab": endpoint})) as engine:
                yield engine, "m"
        return
    async with BedrockServer(Says(GOOD)) as server, provider_at(server.url) as provider:
        server.answer_by(lambda _: service.bedrock(server.seen[-1].body, server.seen[-1].operation))
        endpoint = Endpoint(name="lab", kind="bedrock", retry=None)
        settings = Settings(endpoints={"lab": endpoint})
        async with Engine(settings=settings, providers={"lab": provider}) as engine:
            yield engine, "anthropic.claude-x"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["openai", "bedrock"])
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("case", _cases("refusals"))
async def test_what_a_service_refuses_is_left_out_once_and_for_all_agents(
    case: Json, kind: str, streamed: bool
) -> None:
    service = _Service(case)
    async with _engine(kind, service) as (engine, model):
        if case["lesson"] is None:
            if kind == "openai":
                with pytest.raises(EngineError) as caught:
                    await _answer(engine, case, model, streamed=streamed)
                assert all(type(failure) is BadRequest for failure in caught.value.failures)
                assert service.refused == 1
            return
        answers = [await _answer(engine, case, model, streamed=streamed) for _ in range(2)]

    assert [(answer.text, answer.status) for answer in answers] == [(GOOD, "complete")] * 2
    # Once for all that ask the model: proposer and aggregator, the first run and the second.
    most = case.get("most_refusals", 1)
    assert service.refused <= most
    if service.refused:
        lessons = [attempt.dropped for answer in answers for attempt in answer.ledger.attempts]
        assert any(case["lesson"] in dropped for dropped in lessons)
    if kind == "openai" and (streamed or "stream" not in " ".join(case["refuses"])):
        assert service.refused == most


def _whole(case: Json) -> bytes:
    body = case["whole"]
    return body["raw"].encode() if "raw" in body else json.dumps(body).encode()


def _stream(case: Json) -> bytes:
    events = [event["raw"] if "raw" in event else json.dumps(event) for event in case["stream"]]
    return "".join(f"data: {event}\n\n" for event in (*events, "[DONE]")).encode()


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("case", _cases("replies"))
async def test_what_services_reply_is_read_as_it_is_meant_from_proposer_and_aggregator(
    case: Json, streamed: bool
) -> None:
    expect = case["expect"]

    def behave(body: Json, number: int) -> Behaviour:
        if body.get("stream"):
            return Raw(_stream(case), content_type="text/event-stream")
        return Raw(_whole(case), content_type="application/json")

    async with ModelServer() as server:
        server.behave("m", behave)
        endpoint = lab(server.base_url)
        async with Engine(settings=Settings(endpoints={"lab": endpoint})) as engine:
            run = _answer(engine, {"refuses": [], "lesson": ""}, "m", streamed=streamed)
            if "error" in expect:
                with pytest.raises(EngineError) as caught:
                    await run
                assert [type(failure) for failure in caught.value.failures] == [Refused]
                assert len(server.requests) == 1, "what can't pass by asking again is asked once"
                return
            answer = await run

    (proposal,) = answer.proposals
    for reply in (proposal, answer):
        assert (reply.text, reply.reasoning) == (expect["text"], expect["reasoning"])
    notes = expect.get("notes_of_stream", []) if streamed else []
    assert [reason.code for reason in answer.degraded] == notes * 2
    if "output_tokens" in expect:
        assert answer.usage.output_tokens == 2 * expect["output_tokens"]
