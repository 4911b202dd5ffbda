"""Clients that ask for HTTP/2 or speak HTTP/1.0: bytes as they send them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from moa._server.http.connection_limits import MOST_QUEUED_REQUESTS
from tests.support.served import HELLO, ServedModel, served

BODY = json.dumps({"model": "moa/solo", "messages": HELLO}).encode()
STREAM = json.dumps({"model": "moa/solo", "messages": HELLO, "stream": True}).encode()
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"


def _head(body: bytes, *, version: bytes = b"1.1", extra: bytes = b"") -> bytes:
    return (
        b"POST /v1/chat/completions HTTP/%s\r\nHost: localhost\r\nContent-Type: application/json\r\n" % version
        + extra
        + b"Content-Length: %d\r\n\r\n" % len(body)
    )


@asynccontextmanager
async def _connected(server: ServedModel) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


async def _reply(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    length = headers.get("content-length")
    body = await reader.readexactly(int(length)) if length is not None else await reader.read()
    return int(head[0].split()[1]), headers, body


@pytest.mark.parametrize("size", [1, 7, 200, 100_000])
async def test_the_body_of_a_request_that_asks_for_http_2_is_read_however_it_is_cut(size: int) -> None:
    sent = _head(BODY, extra=UPGRADE) + BODY + _head(BODY) + BODY
    async with served() as server, _connected(server) as (reader, writer):
        for at in range(0, len(sent), size):
            writer.write(sent[at : at + size])
            await writer.drain()
        replies = [await _reply(reader), await _reply(reader)]

    assert [status for status, _, _ in replies] == [200, 200]
    assert [json.loads(body)["choices"][0]["message"]["content"] for _, _, body in replies] == ["This is writer"] * 2
    assert all("upgrade" not in headers for _, headers, _ in replies)


async def test_many_upgrades_in_one_piece_are_all_answered() -> None:
    get = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + UPGRADE + b"\r\n"
    async with served() as server, _connected(server) as (reader, writer):
        writer.write(get * MOST_QUEUED_REQUESTS)
        statuses = [(await _reply(reader))[0] for _ in range(MOST_QUEUED_REQUESTS)]

    assert set(statuses) == {200}


async def test_a_chunked_body_and_a_request_without_one_may_ask_for_http_2_too() -> None:
    chunked = _head(BODY, extra=UPGRADE).replace(b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: chunked")
    get = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n" + UPGRADE + b"\r\n"
    async with served() as server, _connected(server) as (reader, writer):
        writer.write(chunked + b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY) + get)
        (first, _, _), (second, _, listed) = await _reply(reader), await _reply(reader)

    assert (first, second, json.loads(listed)["object"]) == (200, 200, "list")


async def test_an_upgrade_hides_no_second_request() -> None:
    """Two lengths, which a proxy and a server may read differently, are refused with an upgrade as without."""
    head = _head(BODY, extra=UPGRADE + b"Transfer-Encoding: chunked\r\n")
    async with served() as server, _connected(server) as (reader, writer):
        writer.write(head + BODY)
        answered = await reader.read()

    assert answered.startswith(b"HTTP/1.1 400 ")
    assert answered.count(b"HTTP/1.1 ") == 1
    assert server.upstream.requests == []


async def test_a_stream_over_http_1_0_has_no_chunks_and_ends_with_the_connection() -> None:
    async with served() as server, _connected(server) as (reader, writer):
        writer.write(_head(STREAM, version=b"1.0") + STREAM)
        status, headers, body = await _reply(reader)

    assert (status, headers.get("transfer-encoding"), headers["connection"]) == (200, None, "close")
    events = [line.removeprefix("data: ") for line in body.decode().split("\n\n") if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    assert "".join(json.loads(event)["choices"][0]["delta"].get("content", "") for event in events[:-1]) == (
        "This is writer"
    )


async def test_a_whole_reply_over_http_1_0_has_its_length() -> None:
    async with served() as server, _connected(server) as (reader, writer):
        writer.write(_head(BODY, version=b"1.0") + BODY)
        status, headers, body = await _reply(reader)

    assert (status, int(headers["content-length"])) == (200, len(body))
