"""Bodies that are made to cost work or memory: each is refused before anything is sent."""

import asyncio
import gzip
import json
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest

from tests.server.raw_client import CHAT, JSON, PATHS
from tests.server.test_narrowing import CALL as TOOL_CALL
from tests.server.test_narrowing import keys
from tests.support.model_server import Text
from tests.support.served import HELLO, ServedModel, served


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"a": value}
    return value


CALLING = {"role": "assistant", "content": "a", "tool_calls": [TOOL_CALL]}
HOSTILE: dict[str, Callable[[], dict[str, Any]]] = {
    "a mixture of many levels": lambda: {"moa": {"mixture": nested(900)}},
    "a mixture of 45 levels": lambda: {"moa": {"mixture": nested(45)}},
    "many proposers": lambda: {"moa": {"mixture": {"layers": [{"proposers": [{"model": "lab/one"}] * 20_000}]}}},
    "many samples": lambda: {
        "moa": {"mixture": {"layers": [{"proposers": [{"model": "lab/one", "samples": 256}]}] * 24}}
    },
    "many fallbacks": lambda: {
        "moa": {"mixture": {"layers": [{"proposers": [{"model": "lab/one", "fallback": ["lab/two"] * 6000}]}]}}
    },
    "parameters of many levels": lambda: {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": nested(300)}}]
    },
    "a schema of many levels": lambda: {
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": nested(300)}}
    },
    "content of many levels": lambda: {"messages": [{"role": "user", "content": [[[[nested(95)]]]]}]},
    "many messages": lambda: {"messages": [{"role": "user", "content": "x"}] * 50_000},
    "a message too many": lambda: {"messages": [{"role": "user", "content": "x"}] * 5_001},
    "a message with a tool call too many": lambda: {"messages": [CALLING] * 5_001},
    "many metadata": lambda: {"metadata": {f"k{number}": number for number in range(150_000)}},
    "a long key": lambda: {"x" * 2_000_000: 1},
    "a long model": lambda: {"model": "y" * 2_000_000},
    "many stop sequences": lambda: {"stop": ["z"] * 120_000},
    "a large seed": lambda: {"seed": 10**30},
    "a large limit": lambda: {"max_tokens": 10**18},
    "a large temperature": lambda: {"temperature": 1e308},
}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_body_that_is_made_to_cost_work_is_refused_before_anything_is_sent(
    shared: ServedModel, kind: str
) -> None:
    data = BytesIO(json.dumps({"model": "moa/duo", "messages": HELLO, **HOSTILE[kind]()}).encode())
    async with shared.http.post(f"{shared.url}{CHAT}", data=data, headers=JSON) as reply:
        text = await reply.text()

    assert 400 <= reply.status < 500
    assert len(text) < 5_000
    assert shared.upstream.requests == []


@pytest.mark.parametrize(
    "text",
    [
        "a: [" + "1," * 40_000 + "1]",
        "- " * 40_000,
        "[" * 80_000,
        "a: " + "1:" * 40_000 + "1",
        "a: 1" + ":59" * 30_000 + ".5",
        "a: !!float 1" + ":59" * 30_000,
        "x" * 900_000,
        "layers: [" + "{proposers: [{model: lab/a, samples: 256}]}," * 24 + "]\naggregator: {model: lab/a}",
        "a: &a [1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"{n}: &{n} [{','.join(['*' + p] * 9)}]\n" for p, n in zip("abcdef", "bcdefg", strict=True)),
        "a: !!timestamp x",
        "? [x]\n: 1",
    ],
    ids=lambda text: text[:24],
)
async def test_a_mixture_file_that_is_made_to_cost_work_is_told_to_be_wrong(shared: ServedModel, text: str) -> None:
    status, reply = await shared.post("/api/check", {"yaml": text})

    assert status == 200
    assert reply["error"]["message"]


async def test_the_playground_takes_no_longer_conversation_than_the_others(shared: ServedModel) -> None:
    messages = [{"role": "user", "content": "x"}] * 5_001
    status, reply = await shared.post("/api/runs", {"mixture": "moa/solo", "messages": messages})

    assert (status, reply["error"]["code"]) == (413, "request_too_large")


@pytest.mark.parametrize("path", PATHS)
async def test_a_body_in_many_small_pieces_is_read_like_any_other(shared: ServedModel, path: str) -> None:
    async def pieces() -> Any:
        for byte in rb'{"colour": "\\\"[[[", "moa": {}}':
            yield bytes([byte])

    async with shared.http.post(f"{shared.url}{path}", data=pieces(), headers=JSON) as response:
        assert response.status == 400
        assert "colour" in await response.text()


async def test_a_packed_body_is_not_unpacked(shared: ServedModel) -> None:
    packed = gzip.compress(b'{"model":"moa/solo","messages":[]}' + b" " * 10_000_000)
    headers = {**JSON, "content-encoding": "gzip"}
    async with shared.http.post(f"{shared.url}{CHAT}", data=packed, headers=headers) as response:
        assert response.status in (400, 415)


async def test_a_body_times_the_calls_that_it_goes_to_takes_a_bounded_part_of_the_memory() -> None:
    """A body of 19 MB for 120 samples took 4.5 GB."""
    wide = {"layers": [{"proposers": [{"model": "lab/one", "samples": 100, "max_tokens": 50}]}]}
    large = [{"role": "user", "content": "x" * 30_000}]
    async with served(keys=keys()) as server:
        memory = server.app.state.service.running
        memory.caller_bytes = 1_000_000
        server.http.headers["authorization"] = "Bearer moa-0"
        refused, reply = await server.chat(messages=large, moa={"mixture": wide})
        playground, _ = await server.post(
            "/api/runs", {"mixture": {**wide, "aggregator": {"model": "lab/writer"}}, "messages": large}
        )
        narrow, _ = await server.chat(messages=large)
        small, _ = await server.chat(moa={"mixture": wide})

        gate = asyncio.Event()
        server.upstream.behave("writer", Text("x", gate=gate))
        memory.caller_bytes = 100_000
        running = asyncio.create_task(server.chat(messages=large))
        await server.upstream.until(lambda: server.upstream.running == 1)
        meanwhile, _ = await server.chat(messages=large)
        gate.set()
        await running

    assert (refused, reply["error"]["code"], playground) == (413, "request_too_large", 413)
    assert (narrow, small, meanwhile) == (200, 200, 503)
    assert (memory._sum, dict(memory._taken)) == (0, {})


async def test_bodies_together_take_a_bounded_part_of_the_memory() -> None:
    async with served(max_body_bytes=1_000_000, keys=keys()) as server:
        memory = server.app.state.service.bodies
        memory.caller_bytes = 100_000
        server.http.headers["authorization"] = "Bearer moa-0"
        status, reply = await server.post(CHAT, {"model": "x" * 200_000})
        small, _ = await server.chat()

    assert (status, reply["error"]["code"]) == (503, "overloaded")
    assert small == 200
    assert (memory._sum, dict(memory._taken)) == (0, {})
