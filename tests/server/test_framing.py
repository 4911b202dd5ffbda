"""Requests whose bytes, headers and order mean harm: each is refused, and holds no other up."""

import asyncio
import json

import pytest

from moa._server.http.connection_limits import (
    MOST_HEADERS,
    MOST_QUEUED_REQUESTS,
    LimitedProtocol,
)
from moa._server.http.parsing_queue import SLICE_BYTES
from tests.server.raw_client import CHAT, ask, connect, head, healthz, is_closed, read_reply
from tests.server.test_narrowing import keys
from tests.support.model_server import Hang, Text
from tests.support.served import HELLO, ServedModel, served


@pytest.mark.parametrize("endless", [b"x-filler: ", b"x-filler", b"x: y\r\n" * 9])
async def test_a_trailer_counts_as_no_header_and_has_the_limits_of_headers(endless: bytes) -> None:
    """Trailers come after the body, past whatever a proxy in front has checked or taken out (RFC 9110, 6.5.1)."""
    body = json.dumps({"model": "moa/solo", "messages": HELLO}).encode()
    chunked = head().replace(b"content-length: 1000", b"transfer-encoding: chunked")
    request = chunked + b"%x\r\n%s\r\n0\r\n" % (len(body), body)
    async with served(keys=keys()) as server:
        reader, writer = await connect(server)
        for trailer in (b"authorization: Bearer moa-0\r\nx-api-key: moa-0\r\n", b"host: evil\r\n"):
            writer.write(request + trailer + b"\r\n")
            assert await read_reply(reader) == 401
        authorized = request.replace(b"host:", b"authorization: Bearer moa-0\r\nhost:", 1)
        writer.write(authorized + b"host: evil\r\nx-checksum: 1\r\n\r\n")
        assert await read_reply(reader) == 200

        assert await _is_cut_off(writer, authorized + endless)


async def test_what_follows_the_length_of_a_chunk_is_bounded() -> None:
    """CVE-2024-22019 of Node.js: a server that reads chunk extensions without end serves an endless request."""
    chunked = head().replace(b"content-length: 1000", b"transfer-encoding: chunked")
    async with served() as server:
        _, writer = await connect(server)
        assert await _is_cut_off(writer, chunked + b"5;x=")


async def _is_cut_off(writer: asyncio.StreamWriter, begun: bytes) -> bool:
    """Whether a client is cut off that sends a few megabytes more; every unbounded one took hundreds of them."""
    writer.write(begun)
    try:
        for _ in range(30):
            writer.write(begun[-9:] + b"y" * 1_000_000 if begun.endswith(b"\n") else b"y" * 1_000_000)
            await writer.drain()
    except ConnectionError:
        return True
    finally:
        writer.close()
    return False


@pytest.mark.parametrize("more", ["whole", "half", "large"])
async def test_a_client_that_leaves_is_noticed_although_it_has_asked_more(more: str) -> None:
    async with served() as server:
        server.upstream.behave("writer", Hang())
        _, writer = await connect(server)
        request = ask()
        further = {"whole": request * 3, "half": head() + b"{", "large": head(CHAT, 60_000) + b" " * 50_000}[more]
        writer.write(request + further)
        await server.upstream.until(lambda: server.upstream.running == 1)
        writer.close()
        await server.upstream.until(lambda: server.upstream.cancelled == 1)
        await server.upstream.until(lambda: server.upstream.running == 0)

    assert len(server.upstream.requests) == 1


async def test_requests_that_wait_for_an_earlier_one_take_a_bounded_part_of_the_memory() -> None:
    async with served() as server:
        server.upstream.behave("writer", Hang())
        _, writer = await connect(server)
        writer.write(ask())
        await server.upstream.until(lambda: server.upstream.running == 1)

        assert await _is_cut_off(writer, head(CHAT, 100_000_000))


async def test_requests_that_wait_for_an_earlier_one_are_a_bounded_number() -> None:
    async with served() as server:
        reader, writer = await connect(server)
        writer.write(healthz() * (MOST_QUEUED_REQUESTS + 1))
        for _ in range(MOST_QUEUED_REQUESTS + 1):
            assert await read_reply(reader) == 200
        server.upstream.behave("writer", Hang())
        writer.write(ask())
        await server.upstream.until(lambda: server.upstream.running == 1)
        writer.write(healthz() * (MOST_QUEUED_REQUESTS + 1))
        assert await is_closed(reader)
        await server.upstream.until(lambda: server.upstream.running == 0)
        writer.close()


@pytest.mark.parametrize(
    ("begun", "piece"),
    [
        (head().replace(b"content-length: 1000", b"transfer-encoding: chunked"), b"1\r\n \r\n"),
        (b"", b"GET / HTTP/1.1\r\nhost:a\r\n\r\n"),
        (b"", b"GET / HTTP/1.1\r\nhost:a\r\nconnection:upgrade\r\nupgrade:h2c\r\n\r\n"),
    ],
    ids=["chunks", "requests", "upgrades"],
)
async def test_what_one_read_holds_is_parsed_in_slices(
    monkeypatch: pytest.MonkeyPatch, begun: bytes, piece: bytes
) -> None:
    """Chunks of a byte each kept Go's net/http busy (CVE-2023-39326); a hundred such connections held this loop 4 s."""
    sizes: list[int] = []
    parse = LimitedProtocol._parse

    def count(protocol: LimitedProtocol, data: bytes) -> None:
        sizes.append(len(data))
        parse(protocol, data)

    monkeypatch.setattr(LimitedProtocol, "_parse", count)
    async with served(max_body_bytes=1_000) as server:
        reader, writer = await connect(server)
        writer.write(begun + piece * 40_000)
        await is_closed(reader)
        writer.close()

    assert max(sizes) <= SLICE_BYTES


async def test_a_large_body_in_one_piece_arrives_whole_after_its_connection_was_used() -> None:
    async with served() as server:
        reader, writer = await connect(server)
        text = "".join(map(str, range(200_000)))
        body = json.dumps({"model": "moa/solo", "messages": [{"role": "user", "content": text}]}).encode()
        for _ in range(2):
            writer.write(head(CHAT, len(body)) + body)
            assert await read_reply(reader) == 200
        writer.close()

    assert [request.body["messages"][0]["content"] for request in server.upstream.requests] == [text] * 2


async def test_a_request_that_follows_another_has_time_for_its_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moa._server.http.connection_limits.REST_WITHIN_S", 0.02)
    async with served() as server:
        reader, writer = await connect(server)
        request = ask()
        writer.write(healthz() + request[:-5])
        assert await read_reply(reader) == 200
        assert await _stays_open(reader, 0.1)
        writer.write(request[-5:])
        assert await read_reply(reader) == 200
        writer.close()


async def test_an_empty_line_after_a_request_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some clients send one after a body; servers are to ignore it (RFC 9112, 2.2)."""
    monkeypatch.setattr("moa._server.http.connection_limits.HEADERS_WITHIN_S", 0.02)
    async with served() as server:
        gate = asyncio.Event()
        server.upstream.behave("writer", Text("x", gate=gate))
        reader, writer = await connect(server)
        writer.write(ask())
        await server.upstream.until(lambda: server.upstream.running == 1)
        writer.write(b"\r\n")
        assert await _stays_open(reader, 0.1)
        gate.set()
        assert await read_reply(reader) == 200
        writer.close()


async def _stays_open(reader: asyncio.StreamReader, seconds: float) -> bool:
    """Whether a connection with nothing to read is open for so long."""
    try:
        async with asyncio.timeout(seconds):
            await reader.read(1)
    except TimeoutError:
        return True
    return False


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "content-type", "origin"])
async def test_a_header_that_decides_what_is_allowed_comes_once(name: str) -> None:
    """A proxy in front may go by the first of two, and this server by the second."""
    async with served(keys=keys()) as server:
        reader, writer = await connect(server)
        writer.write(head(CHAT, 0, "authorization: Bearer moa-0", f"{name}: Bearer moa-0", f"{name}: other"))

        assert await read_reply(reader) == 400
        writer.close()


@pytest.mark.parametrize(
    "headers",
    [
        b"x: " + b"y" * 100_000 + b"\r\n",
        b"".join(b"x%d: y\r\n" % number for number in range(MOST_HEADERS + 1)),
        b"x" * 70_000 + b": y\r\n",
    ],
    ids=["one long value", "many", "one long name"],
)
async def test_headers_beyond_the_limits_are_refused_in_one_piece_too(shared: ServedModel, headers: bytes) -> None:
    reader, writer = await connect(shared)
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n" + headers + b"\r\n")
    try:
        reply = await reader.read()
    except ConnectionResetError:
        reply = b""

    assert not reply or b" 400 " in reply.split(b"\r\n")[0]
    writer.close()


@pytest.mark.parametrize(
    "host", ["evil@127.0.0.1", "a:b@localhost", "127.0.0.1/evil", "localhost#x", "localhost, evil"]
)
async def test_a_host_that_is_no_plain_name_is_refused(host: str) -> None:
    async with served() as server:
        status, reply = await server.post(CHAT, {"model": "moa/solo", "messages": HELLO}, headers={"host": host})

    assert (status, reply["error"]["code"]) == (403, "wrong_host")


async def test_two_hosts_are_refused(shared: ServedModel) -> None:
    reader, writer = await connect(shared)
    writer.write(b"GET /v1/models HTTP/1.1\r\nhost: evil.example\r\nhost: localhost\r\n\r\n")

    assert await read_reply(reader) in (400, 403)
    writer.close()
