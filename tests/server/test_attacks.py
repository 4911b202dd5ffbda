"""Clients that mean harm: each is refused, or waits alone, and the server goes on."""

import asyncio
import gzip
import json
import socket
import subprocess
import sys
from io import BytesIO
from typing import Any

import pytest

from moa._server.http.client_addresses import counted_address, parse_networks
from moa._server.http.connection_limits import (
    MOST_HEADERS,
    MOST_QUEUED_REQUESTS,
    ConnectionTable,
    LimitedProtocol,
    most_connections,
)
from moa._server.http.parsing_queue import SLICE_BYTES
from moa._server.launcher import ServeSettings, _connection_table, listen
from tests.server.test_narrowing import CALL as TOOL_CALL
from tests.server.test_narrowing import keys
from tests.support.model_server import Hang, Text
from tests.support.served import HELLO, ServedModel, served

CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}
PATHS = [CHAT, "/v1/responses", "/v1/messages", "/v1/messages/count_tokens", "/api/runs", "/api/check", "/api/yaml"]


async def connect(server: ServedModel, address: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    port = int(server.url.rpartition(":")[2])
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))


def head(path: str = CHAT, length: int = 1000, *more: str, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", "content-type: application/json"]
    return "\r\n".join([*lines, f"content-length: {length}", *more, "", ""]).encode()


def ask() -> bytes:
    body = json.dumps({"model": "moa/solo", "messages": HELLO}).encode()
    return head(CHAT, len(body)) + body


async def read_reply(reader: asyncio.StreamReader) -> int:
    """Return a reply's status; its body is read."""
    text = (await reader.readuntil(b"\r\n\r\n")).decode()
    lengths = [line for line in text.lower().split("\r\n") if line.startswith("content-length:")]
    await reader.readexactly(int(lengths[0].partition(":")[2]))
    return int(text.split()[1])


async def is_closed(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(5):
            return await reader.read() == b""
    except ConnectionResetError:
        return True


# -- connections ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [head(), head("/healthz", method="GET"), head("/nothing"), head(CHAT, 10**9)])
async def test_a_request_that_was_answered_before_it_was_whole_loses_its_connection(
    monkeypatch: pytest.MonkeyPatch, first: bytes
) -> None:
    monkeypatch.setattr("moa._server.http.connection_limits.REST_WITHIN_S", 0.05)
    async with served(keys=keys()) as server:
        reader, writer = await connect(server)
        writer.write(first + b'{"model"')

        assert await read_reply(reader) in (401, 404, 200)
        assert await is_closed(reader)
        writer.close()


async def test_a_client_that_sends_the_rest_of_a_refused_request_keeps_its_connection() -> None:
    async with served(keys=keys()) as server:
        reader, writer = await connect(server)
        for _ in range(2):
            writer.write(head(CHAT, 100))
            assert await read_reply(reader) == 401
            writer.write(b"x" * 100)
        writer.close()


async def test_requests_that_are_not_whole_take_no_place_of_a_run() -> None:
    async with served(keys=keys(2), max_inflight=4) as server:
        slow = [await connect(server) for _ in range(20)]
        for _, writer in slow:
            writer.write(head(CHAT, 1000, "authorization: Bearer moa-0") + b"{")
        server.http.headers["authorization"] = "Bearer moa-1"
        status, _ = await server.chat()
        for _, writer in slow:
            writer.close()

    assert status == 200


@pytest.mark.slow
async def test_one_key_leaves_places_to_the_others() -> None:
    async with served(keys=keys(2), max_inflight=4) as server:
        gate = asyncio.Event()
        server.upstream.behave("writer", Text("x", gate=gate))

        def ask_as(key: int) -> asyncio.Task[tuple[int, dict[str, Any]]]:
            body = {"model": "moa/solo", "messages": HELLO}
            return asyncio.create_task(server.post(CHAT, body, headers={"authorization": f"Bearer moa-{key}"}))

        greedy = [ask_as(0) for _ in range(6)]
        await server.upstream.until(lambda: server.upstream.running == 3)
        other = ask_as(1)
        await server.upstream.until(lambda: server.upstream.running == 4)
        gate.set()
        statuses = sorted([(await each)[0] for each in greedy])

        assert statuses == [200, 200, 200, 429, 429, 429]
        assert (await other)[0] == 200


async def test_the_idlest_connection_goes_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moa._server.http.connection_limits.most_connections", lambda: 8)
    async with served() as server:
        gate = asyncio.Event()
        server.upstream.behave("writer", Text("x", gate=gate))
        running = asyncio.create_task(server.chat())
        await server.upstream.until(lambda: server.upstream.running == 1)
        crowd = [await connect(server) for _ in range(30)]
        for _, writer in crowd[:15]:
            writer.write(head())
        reader, writer = await connect(server)
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        healthy = await read_reply(reader)
        closed = [await is_closed(each) for each, _ in crowd[:20]]
        gate.set()
        status, _ = await running
        for _, each in [*crowd, (reader, writer)]:
            each.close()

    assert (healthy, status) == (200, 200)
    assert all(closed)


def healthz(*headers: str) -> bytes:
    return "\r\n".join(["GET /healthz HTTP/1.1", "host: localhost", *headers, "", ""]).encode()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.1 is the only address of loopback")
async def test_an_address_has_so_many_connections_and_others_are_not_touched(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served(serving=ServeSettings(address_connections=3)) as server:
        gate = asyncio.Event()
        server.upstream.behave("writer", Text("x", gate=gate))
        other_reader, other_writer = await connect(server, "127.0.0.3")
        other_writer.write(healthz())
        assert await read_reply(other_reader) == 200
        working = [await connect(server, "127.0.0.2") for _ in range(2)]
        for _, writer in working:
            writer.write(ask())
        await server.upstream.until(lambda: server.upstream.running == 2)
        idle = await connect(server, "127.0.0.2")
        idle[1].write(healthz())
        assert await read_reply(idle[0]) == 200
        newer = [await connect(server, "127.0.0.2") for _ in range(20)]

        # The one that waits for nothing goes for a newer one; those at work stay.
        assert await is_closed(idle[0])
        assert [await is_closed(reader) for reader, _ in newer[:-1]] == [True] * 19
        newer[-1][1].write(ask())
        await server.upstream.until(lambda: server.upstream.running == 3)
        refused = await connect(server, "127.0.0.2")
        assert await is_closed(refused[0])
        other_writer.write(healthz())
        assert await read_reply(other_reader) == 200
        gate.set()
        assert [await read_reply(reader) for reader, _ in (*working, newer[-1])] == [200] * 3
        for _, writer in (*working, *newer, idle, refused, (other_reader, other_writer)):
            writer.close()

    warnings = [record.getMessage() for record in caplog.records if record.name == "moa.server.connections"]
    assert len(warnings) == 1
    assert "--trusted-proxy" in warnings[0]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.1 is the only address of loopback")
async def test_a_trusted_proxy_has_as_many_connections_as_it_wants_and_its_clients_a_rate_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("moa._server.http.middleware.STRANGERS_PER_MINUTE", 2)
    proxies = ServeSettings(address_connections=1, trusted_proxies=("127.0.0.2/32",))
    options = {"keys": keys(), "trusted_proxies": parse_networks(proxies.trusted_proxies)}

    async def status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *forwarded: str) -> int:
        writer.write(head("/v1/models", 0, *(f"x-forwarded-for: {value}" for value in forwarded), method="GET"))
        return await read_reply(reader)

    async with served(serving=proxies, **options) as server:
        through = [await connect(server, "127.0.0.2") for _ in range(4)]
        first = [await status(*each, "198.51.100.1, 203.0.113.1") for each in through]
        # Neither another invented address nor a second header gives the same client more.
        invented = await status(*through[0], "198.51.100.2, 203.0.113.1")
        twice = await status(*through[0], "198.51.100.2", "203.0.113.1")
        second = await status(*through[0], "203.0.113.2")
        stranger = await connect(server, "127.0.0.3")
        direct = [await status(*stranger, f"203.0.113.{number}") for number in range(10, 14)]
        for _, writer in (*through, stranger):
            writer.close()

    assert first == [401, 401, 429, 429]
    assert (invented, twice, second) == (429, 429, 401)
    assert direct == [401, 401, 429, 429]


async def test_no_limit_by_address_stands_where_all_clients_have_the_same() -> None:
    assert _connection_table(ServeSettings())._per_address is None
    assert _connection_table(ServeSettings(host="0.0.0.0"))._per_address == most_connections() // 4
    assert _connection_table(ServeSettings(host="0.0.0.0", address_connections=9, workers=4))._per_address == 2


def test_a_trusted_proxy_with_an_ipv6_address_is_not_limited() -> None:
    class Connection:
        """A connection of which nothing but its address counts."""

        is_idle, is_aborted = True, False

        def __init__(self, address: str) -> None:
            self.client, self.address = (address, 1), counted_address(address)

        def abort(self) -> None:
            self.is_aborted = True

    def aborted(address: str, trusted: str) -> int:
        table = ConnectionTable(2, parse_networks([trusted]))
        connections = [Connection(address) for _ in range(5)]
        for connection in connections:
            table.add(connection, 1)  # type: ignore[arg-type]
        return sum(connection.is_aborted for connection in connections)

    assert aborted("2001:db8::7", "2001:db8::7") == aborted("fe80::7%eth0", "fe80::/64") == 0
    assert aborted("2001:db8::8", "2001:db8::7") == aborted("fe80::7%eth0", "fe81::/64") > 0


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


async def test_a_client_that_vanishes_is_looked_for() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
            if sys.platform == "linux":
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15


LIMITED = """
import asyncio, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from moa._cli.main import main
main(["serve", "-m", sys.argv[1], "--config", sys.argv[2], "--api-keys-file", sys.argv[3], "--port", "0"])
"""


@pytest.mark.slow
async def test_half_requests_of_strangers_do_not_use_up_a_servers_descriptors(tmp_path: Any) -> None:
    (tmp_path / "solo.yaml").write_text("layers: []\naggregator: {model: lab/x}\n")
    (tmp_path / "moa.yaml").write_text("endpoints:\n  lab: {kind: openai, base_url: http://127.0.0.1:9/v1}\n")
    (tmp_path / "keys.yaml").write_text(f"keys: [{{name: a, sha256: {'a' * 64}}}]\n")
    files = [str(tmp_path / name) for name in ("solo.yaml", "moa.yaml", "keys.yaml")]
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", LIMITED, *files, stderr=subprocess.PIPE)
    assert process.stderr is not None
    line = (await process.stderr.readline()).decode()
    port = int(line.rstrip().rpartition(":")[2])
    crowd = []
    for _ in range(240):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head())
        crowd.append(writer)
    async with asyncio.timeout(20):  # it took over a minute when refused clients kept their connections
        for _ in range(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert await read_reply(reader) == 200
            writer.close()
    for writer in crowd:
        writer.close()
    process.terminate()
    await process.wait()


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


async def test_every_address_counts_against_a_keys_rate() -> None:
    async with served(keys=keys(requests_per_minute=3)) as server:
        server.http.headers["authorization"] = "Bearer moa-0"
        statuses = [(await server.post(path, {}))[0] for path in PATHS]
        looked_up = []
        for _ in range(61):
            async with server.http.get(f"{server.url}/v1/models") as response:
                looked_up.append(response.status)

    assert statuses == [400] * 3 + [429] * 4
    assert looked_up == [200] * 60 + [429]


async def test_strangers_have_a_rate_by_address_and_probes_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moa._server.http.middleware.STRANGERS_PER_MINUTE", 5)
    async with served(keys=keys()) as server:
        statuses = [(await server.post(CHAT, {}))[0] for _ in range(7)]
        async with server.http.get(f"{server.url}/healthz") as response:
            probe = response.status
        right, _ = await server.post(CHAT, {}, headers={"authorization": "Bearer moa-0"})

    assert statuses == [401] * 5 + [429] * 2
    assert (probe, right) == (200, 400)


# -- bodies --------------------------------------------------------------------------------------------------------


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"a": value}
    return value


CALLING = {"role": "assistant", "content": "a", "tool_calls": [TOOL_CALL]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": nested(300)}}
HOSTILE: list[dict[str, Any]] = [
    {"moa": {"mixture": nested(900)}},
    {"moa": {"mixture": nested(45)}},
    {"moa": {"mixture": {"layers": [{"proposers": [{"model": "lab/one"}] * 20_000}]}}},
    {"moa": {"mixture": {"layers": [{"proposers": [{"model": "lab/one", "samples": 256}]}] * 24}}},
    {"moa": {"mixture": {"layers": [{"proposers": [{"model": "lab/one", "fallback": ["lab/two"] * 6000}]}]}}},
    {"tools": [TOOL]},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": nested(300)}}},
    {"messages": [{"role": "user", "content": [[[[nested(95)]]]]}]},
    {"messages": [{"role": "user", "content": "x"}] * 50_000},
    {"messages": [{"role": "user", "content": "x"}] * 5_001},
    {"messages": [CALLING] * 5_001},
    {"metadata": {f"k{number}": number for number in range(150_000)}},
    {"x" * 2_000_000: 1},
    {"model": "y" * 2_000_000},
    {"stop": ["z"] * 120_000},
    {"seed": 10**30},
    {"max_tokens": 10**18},
    {"temperature": 1e308},
]


@pytest.mark.parametrize("body", HOSTILE, ids=lambda body: json.dumps(body)[:50])
async def test_a_body_that_is_made_to_cost_work_is_refused_before_anything_is_sent(
    shared: ServedModel, body: dict[str, Any]
) -> None:
    data = BytesIO(json.dumps({"model": "moa/duo", "messages": HELLO, **body}).encode())
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
