import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.support.model_server import Drip, Hang, ModelServer, Raw, Reset, Status, Text


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        yield server


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def post(session: aiohttp.ClientSession, server: ModelServer, **fields: Any) -> tuple[int, bytes]:
    body = {"model": "small", "messages": [{"role": "user", "content": "two words"}]} | fields
    async with session.post(f"{server.base_url}/chat/completions", json=body) as response:
        return response.status, await response.read()


async def test_behaviours_come_one_after_another_and_the_last_one_stays(
    server: ModelServer, session: aiohttp.ClientSession
) -> None:
    server.behave("small", Status(429), Raw(b"raw"))

    assert [(await post(session, server))[0] for _ in range(3)] == [429, 200, 200]
    assert [received.number for received in server.requests] == [0, 1, 2]


async def test_function_sees_body_and_number(server: ModelServer, session: aiohttp.ClientSession) -> None:
    server.behave("small", lambda body, number: Text(f"{body['messages'][0]['content']} {number}"))

    replies = [json.loads((await post(session, server))[1]) for _ in range(2)]

    assert [reply["choices"][0]["message"]["content"] for reply in replies] == ["two words 0", "two words 1"]


async def test_unknown_model_is_not_found_unless_all_behave(
    server: ModelServer, session: aiohttp.ClientSession
) -> None:
    assert (await post(session, server))[0] == 404

    server.behave("*", Text("hi"))

    assert (await post(session, server))[0] == 200


async def test_drip_sends_the_same_bytes(server: ModelServer, session: aiohttp.ClientSession) -> None:
    text = Text(("a ", "b"))
    server.behave("small", text, Drip(text, size=3))

    assert await post(session, server, stream=True) == await post(session, server, stream=True)


async def test_bill_tells_whole_replies_from_those_that_were_cut_off(
    server: ModelServer, session: aiohttp.ClientSession
) -> None:
    server.behave("small", Text("three words here"), Hang(after=("one ",)), Reset(after_bytes=5, of=Text("a b")))

    await post(session, server)
    call = asyncio.create_task(post(session, server, stream=True))
    await server.until(lambda: server.bill.cut_off_output_tokens == 1)
    call.cancel()
    await server.until(lambda: server.cancelled == 1)
    with pytest.raises(aiohttp.ClientError):
        await post(session, server)

    bill = server.bill
    assert (bill.input_tokens, bill.output_tokens) == (2, 3)
    assert (bill.cut_off_input_tokens, bill.cut_off_output_tokens) == (4, 3)
    assert server.running == 0


async def test_peak_counts_the_calls_at_once(server: ModelServer, session: aiohttp.ClientSession) -> None:
    gate = asyncio.Event()
    server.behave("small", Text("hi", gate=gate))

    calls = [asyncio.create_task(post(session, server)) for _ in range(3)]
    await server.until(lambda: server.running == 3)
    gate.set()
    await asyncio.gather(*calls)

    assert (server.peak, server.running, server.cancelled) == (3, 0, 0)
