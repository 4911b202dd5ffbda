"""Clients that take connections, places and rates from others: each waits alone, and the server goes on."""

import asyncio
import socket
import subprocess
import sys
from typing import Any

import pytest

from moa._server.http.client_addresses import counted_address, parse_networks
from moa._server.http.connection_limits import (
    ConnectionTable,
    most_connections,
)
from moa._server.launcher import ServeSettings, _connection_table, listen
from tests.server.raw_client import CHAT, PATHS, ask, connect, head, healthz, is_closed, read_reply
from tests.server.test_narrowing import keys
from tests.support.model_server import Text
from tests.support.served import HELLO, served


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


async def test_one_key_leaves_places_to_the_others() -> None:
    async with served(keys=keys(2), max_inflight=4) as server:
        gate = asyncio.Event()

        def ask_as(key: int) -> asyncio.Task[tuple[int, dict[str, Any]]]:
            body = {"model": "moa/solo", "messages": HELLO}
            return asyncio.create_task(server.post(CHAT, body, headers={"authorization": f"Bearer moa-{key}"}))

        await ask_as(0)  # calls wait for the first of their kind: it has been made
        server.upstream.behave("writer", Text("x", gate=gate))
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


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.1 is the only address of loopback")
async def test_an_address_has_so_many_connections_and_others_are_not_touched(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served(serving=ServeSettings(address_connections=3)) as server:
        other_reader, other_writer = await connect(server, "127.0.0.3")
        other_writer.write(ask())  # calls wait for the first of their kind: this is it
        assert await read_reply(other_reader) == 200
        gate = asyncio.Event()
        server.upstream.behave("writer", Text("x", gate=gate))
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
