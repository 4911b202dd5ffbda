"""What services really refuse and reply, one file each: both kinds of provider; as proposer, aggregator and judge."""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from moa._config.settings import Settings
from moa._ledger import Ledger
from moa._messages import ReplyOptions, conversation
from moa._mixture.loading import load
from moa._mixture.schema import Mixture
from moa._results import Answer
from moa._runtime.engine import Engine
from moa.errors import BadRequest, EngineError
from moa.evaluation._judges.judge_calls import ask
from moa.providers._endpoint import Endpoint, RetrySettings
from tests.providers.requests import lab
from tests.support import event_stream
from tests.support.bedrock_calls import provider_at
from tests.support.bedrock_server import BedrockServer, Fails, Says, Sends
from tests.support.bedrock_server import Reply as BedrockReply
from tests.support.behaviours import Behaviour, Raw, Text
from tests.support.model_server import ModelServer

CORPUS = Path(__file__).parent / "corpus"
Json = dict[str, Any]
GOOD = "Old pond, a frog"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
ONCE_MORE = RetrySettings(max_attempts=2, base_s=0.0, cap_s=0.0)

OF_OPENAI: dict[str, Callable[[Json], bool]] = {
    "max_tokens": lambda body: "max_tokens" in body,
    "system": lambda body: any(turn["role"] == "system" for turn in body["messages"]),
    "alternation": lambda body: _repeats(turn["role"] for turn in body["messages"]),
    "prefill": lambda body: body["messages"][-1]["role"] == "assistant",
    "name": lambda body: any("name" in turn for turn in body["messages"]),
    "whole": lambda body: not body.get("stream"),
}
ON_BEDROCK: dict[str, Callable[[Json], bool]] = {
    "temperature": lambda body: "temperature" in body.get("inferenceConfig", {}),
    "top_p": lambda body: "topP" in body.get("inferenceConfig", {}),
    "top_k": lambda body: "top_k" in body.get("additionalModelRequestFields", {}),
    "reasoning_effort": lambda body: "effort" in body.get("outputConfig", {}),
    "response_format": lambda body: "textFormat" in body.get("outputConfig", {}),
    "max_tokens": lambda body: False,  # it has one name there
    "system": lambda body: "system" in body,
    "prefill": lambda body: body["messages"][-1]["role"] == "assistant",
    "tools": lambda body: "toolConfig" in body,
}
EXTRA = {"presence_penalty": 0.1, "frequency_penalty": 0.1, "user": "u", "prompt_cache_key": "k"}
FORMAT = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": {"type": "object"}}}


def _repeats(roles: Any) -> bool:
    every = list(roles)
    return any(one == two for one, two in pairwise(every))


def _cases(kind: str) -> list[Any]:
    return [pytest.param(json.loads(path.read_text()), id=path.stem) for path in sorted((CORPUS / kind).glob("*.json"))]


def _mixture(model: str, *, temperature: float = 0.7, proposes: bool = True) -> Mixture:
    agent = {
        "model": f"lab/{model}",
        "temperature": temperature,
        "top_p": 0.9,
        "top_k": 5,
        "max_tokens": 50,
        "reasoning_effort": "low",
        "extra": EXTRA,
    }
    layers = [{"proposers": [agent]}] if proposes else []
    return load({"name": "test", "layers": layers, "aggregator": {**agent, "role": "Be brief."}})


TURNS = (
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "One.", "name": "bob"},
    {"role": "user", "content": "Two."},
)


@dataclass
class Outcome:
    """What a role made of its replies."""

    ledger: Ledger
    readings: tuple[str, ...] = ()
    answer: Answer | None = None
    errors: tuple[str, ...] = ()


async def _run(engine: Engine, mixture: Mixture, role: str, turns: Any, options: ReplyOptions) -> Outcome:
    if role == "judge":
        return await _judged(engine, mixture, turns)
    try:
        if role == "streamed":
            async with engine.astream(mixture, turns, options=options, seed=1) as events:
                answer = [event async for event in events][-1].answer
        else:
            answer = await engine.arun(mixture, turns, options=options, seed=1)
    except EngineError as error:
        return Outcome(error.ledger, errors=tuple(failure.code for failure in error.failures))
    readings = (*(proposal.text or "" for proposal in answer.proposals), answer.text)
    return Outcome(answer.ledger, readings, answer)


async def _judged(engine: Engine, mixture: Mixture, turns: Any) -> Outcome:
    wish = ReplyOptions(response_format=FORMAT, format_is_optional=True)
    asked = conversation(turns)
    try:
        reply = await ask(engine, mixture, asked, lambda answer: answer.text or None, judge="j", options=wish)
    except EngineError as error:
        return Outcome(error.ledger, errors=tuple(failure.code for failure in error.failures))
    if reply.failure is not None:
        failed = [attempt.error.code for attempt in reply.ledger.attempts if attempt.error is not None]
        return Outcome(reply.ledger, errors=tuple(failed[-1:]))
    return Outcome(reply.ledger, (reply.value or "",))


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

        if not self._refuses(has):
            return Text(GOOD)
        content = self._case["body"]
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        if self._case["status"] == 200 and body.get("stream"):
            return Raw(f"data: {text}\n\ndata: [DONE]\n\n".encode())
        kind = self._case.get("content_type", "application/json")
        return Raw(text.encode(), content_type=kind, status=self._case["status"])

    def bedrock(self, body: Json, operation: str) -> Says | Fails:
        def has(part: str) -> bool:
            if part in ("stream", "whole"):
                return (operation == "converse-stream") == (part == "stream")
            return part in ON_BEDROCK and ON_BEDROCK[part](body)

        if not self._refuses(has):
            return Says(GOOD)
        return Fails(400, "ValidationException", " ".join(_sentences(self._case["body"])))


def _sentences(content: Any) -> Iterator[str]:
    """The texts of an error's body: what a service of another kind would put into its one message."""
    match content:
        case str():
            yield re.sub("<[^>]*>", " ", content)
        case dict():
            for key, value in content.items():
                yield f"{key}:"
                yield from _sentences(value)
        case list():
            for value in content:
                yield from _sentences(value)


@asynccontextmanager
async def _engine(
    kind: str, openai: Callable[[Json, int], Behaviour], bedrock: Callable[[Json, str], BedrockReply]
) -> AsyncIterator[tuple[Engine, str]]:
    if kind == "openai":
        async with ModelServer() as server:
            server.behave("m", openai)
            endpoint = lab(server.base_url, retry=ONCE_MORE)
            async with Engine(settings=Settings(endpoints={"lab": endpoint})) as engine:
                yield engine, "m"
        return
    async with BedrockServer(Says(GOOD)) as server, provider_at(server.url) as provider:
        server.answer_by(lambda _: bedrock(server.seen[-1].body, server.seen[-1].operation))
        endpoint = Endpoint(name="lab", kind="bedrock", retry=ONCE_MORE)
        settings = Settings(endpoints={"lab": endpoint})
        async with Engine(settings=settings, providers={"lab": provider}) as engine:
            yield engine, "anthropic.claude-x"


ROLES = pytest.mark.parametrize("role", ["whole", "streamed", "judge"])
KINDS = pytest.mark.parametrize("kind", ["openai", "bedrock"])


@pytest.mark.slow
@KINDS
@ROLES
@pytest.mark.parametrize("case", _cases("refusals"))
async def test_what_a_service_refuses_is_left_out_once_and_for_all_agents(case: Json, role: str, kind: str) -> None:
    service, parts, lesson = _Service(case), case["refuses"], case["lesson"]
    turns: list[Json] = [*TURNS, {"role": "assistant", "content": "So:"}] if "prefill" in parts else list(TURNS)
    options = ReplyOptions(tools=(TOOL,)) if "tools" in parts else ReplyOptions()
    async with _engine(kind, service.openai, service.bedrock) as (engine, model):
        mixture = _mixture(model, temperature=0.7 if lesson else 1.5, proposes=role != "judge")
        outcomes = [await _run(engine, mixture, role, turns, options) for _ in range(2 if lesson else 1)]

    if lesson is None:
        if service.refused:
            assert outcomes[0].errors
            assert set(outcomes[0].errors) == {BadRequest.code}
            assert service.refused == 1, "an error that can't pass is met once"
        return
    for outcome in outcomes:
        assert set(outcome.readings) == {GOOD}, outcome.errors
        assert outcome.answer is None or outcome.answer.status == "complete"
    # Once for all that ask the model: proposer and aggregator, the first run and the second.
    most = case.get("most_refusals", 1)
    assert service.refused <= most
    if service.refused:
        lessons = [attempt.dropped for outcome in outcomes for attempt in outcome.ledger.attempts]
        assert any(lesson in dropped for dropped in lessons)
    if kind == "openai" and _has_all(parts, role):
        assert service.refused == most


def _has_all(parts: list[str], role: str) -> bool:
    """Whether a role's request has the parts that are refused."""
    of_streams = {"stream", "stream_options"}.intersection(parts)
    whole = {"whole", "response_format"}.intersection(parts)
    of_runs = {"seed", "tools"}.intersection(parts)
    return not ((of_streams and role != "streamed") or (whole and role == "streamed") or (of_runs and role == "judge"))


def _whole(case: Json) -> bytes:
    body = case["whole"]
    return body["raw"].encode() if "raw" in body else json.dumps(body).encode()


def _stream(case: Json) -> bytes:
    lines = [
        event.get("raw_line") or "data: " + (event["raw"] if "raw" in event else json.dumps(event))
        for event in (*case["stream"], {"raw": "[DONE]"})
    ]
    return "".join(f"{line}\n\n" for line in lines).encode("utf-8")


def _on_bedrock(case: Json) -> Says | None:
    """The same reply by Converse, where it has one: its texts, thoughts, calls and reason."""
    choice = case["whole"].get("choices") or [{}]
    message = choice[0].get("message", {})
    content, calls = message.get("content"), message.get("tool_calls") or ()
    if case["expect"].get("error") == "refused" and "choices" in case["whole"]:
        return Says(stop="content_filtered")
    if "error" in case["expect"] or not (isinstance(content, str) or calls) or choice[0].get("logprobs"):
        return None
    if "raw" in case["whole"] or "tool_calls_of_stream" in case["expect"]:
        return None
    events = [event for event in case["stream"] if "raw_line" not in event]
    chunks = [json.loads(event["raw"]) if "raw" in event else event for event in events]
    pieces = [one.get("delta", {}).get("content") for chunk in chunks for one in chunk.get("choices", ())]
    thought = case["expect"]["reasoning"] if {"reasoning_content", "reasoning", "thinking"} & set(message) else ""
    tools = [(call["id"], call["function"]["name"], [_arguments(call)]) for call in calls]
    texts = [piece for piece in pieces if isinstance(piece, str) and piece]
    stop = "tool_use" if tools else "end_turn"
    return Says(*texts, reasoning=[thought] if thought else (), tools=tools, stop=stop)


def _arguments(call: Json) -> str:
    arguments = call["function"]["arguments"]
    return arguments if isinstance(arguments, str) else json.dumps(arguments, separators=(",", ":"))


def _half_emojis(says: Says, *, streamed: bool) -> BedrockReply:
    """The reply; with halves of emojis written as JSON's escapes, which orjson doesn't do."""
    if all(text.isascii() for text in says.texts):
        return says
    if not streamed:
        content = [{"text": "".join(says.texts)}]
        output = {"message": {"role": "assistant", "content": content}}
        return Sends([json.dumps({"output": output, "stopReason": says.stop, "usage": says.usage}).encode()])
    frames = [
        event_stream.frame({":message-type": "event", ":event-type": kind}, json.dumps(fields).encode())
        for kind, fields in says.events()
    ]
    return Sends(frames)


def _replies() -> Iterator[Any]:
    """Each reply in each role and kind where it has a meaning: Converse has no odd shapes, a judge has no tools."""
    for case in _cases("replies"):
        (content,) = case.values
        for role in ("whole", "streamed", "judge"):
            for kind in ("openai", "bedrock"):
                of_kind = kind == "openai" or _on_bedrock(content) is not None
                if of_kind and not (role == "judge" and "tool_calls" in content["expect"]):
                    yield pytest.param(content, role, kind, id=f"{case.id}-{role}-{kind}")


@pytest.mark.slow
@pytest.mark.parametrize(("case", "role", "kind"), list(_replies()))
async def test_what_services_reply_is_read_as_it_is_meant_in_every_role(case: Json, role: str, kind: str) -> None:
    expect, calls = case["expect"], case["expect"].get("tool_calls")
    asked = 0

    def openai(body: Json, number: int) -> Behaviour:
        nonlocal asked
        asked += 1
        if body.get("stream"):
            return Raw(_stream(case), content_type="text/event-stream")
        return Raw(_whole(case), content_type="application/json", status=case["whole"].get("status", 200))

    def bedrock(body: Json, operation: str) -> BedrockReply:
        nonlocal asked
        asked += 1
        says = _on_bedrock(case)
        assert says is not None
        return _half_emojis(says, streamed=operation == "converse-stream")

    options = ReplyOptions(tools=(TOOL,)) if calls else ReplyOptions()
    async with _engine(kind, openai, bedrock) as (engine, model):
        mixture = _mixture(model, proposes=role != "judge" and not calls)
        outcome = await _run(engine, mixture, role, list(TURNS), options)

    if "error" in expect:
        assert outcome.errors == (expect["error"],)
        assert asked == expect.get("asked", 1), "what can't pass by asking again is asked once"
        return
    assert set(outcome.readings) == {expect["text"]}, outcome.errors
    if (answer := outcome.answer) is None:
        return
    for reply in (*answer.proposals, answer):
        assert reply.reasoning == expect["reasoning"]
    wanted = expect.get("tool_calls_of_stream", calls) if role == "streamed" else calls
    assert [[call.name, call.arguments] for call in answer.tool_calls] == (wanted or [])
    notes = expect.get("notes_of_stream", []) if role == "streamed" and kind == "openai" else []
    assert [reason.code for reason in answer.degraded] == notes * 2
    if "output_tokens" in expect and kind == "openai":
        assert answer.usage.output_tokens == 2 * expect["output_tokens"]
