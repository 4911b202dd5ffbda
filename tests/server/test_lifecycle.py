"""Clients that go away, servers that are full, servers that are told to stop."""

import asyncio
import os
import re
import signal
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import openai
import orjson
import pytest

from moa._server.http.connection_limits import LimitedProtocol
from tests.support.model_server import Hang, ModelServer, Text
from tests.support.served import HELLO, ServedModel, served

ASK = {"model": "moa/duo", "messages": HELLO}
STREAM = {**ASK, "stream": True}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/runs"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_goes_away_cancels_every_call_within_100_ms(path: str, stream: bool) -> None:
    async with served() as server:
        for model in ("one", "two"):
            server.upstream.behave(model, Hang(after=("so far ",)))
        body = {"mixture": "duo", "messages": HELLO} if path == "/api/runs" else {**ASK, "stream": stream}
        request = asyncio.ensure_future(server.http.post(f"{server.url}{path}", json=body))
        await server.upstream.until(lambda: server.upstream.running == 2)
        started = time.perf_counter()
        if request.done():
            request.result().close()
        else:
            request.cancel()
        await server.upstream.until(lambda: server.upstream.cancelled == 2)
        took_s = time.perf_counter() - started

    assert took_s < 0.1 * _patience()
    assert 'status="cancelled"' in server.app.state.service.metrics.page().decode()
    assert server.app.state.service.inflight.count == 0


async def test_the_calls_of_many_clients_that_leave_at_once_end_without_a_wait_between() -> None:
    """Counted in passes of the event loop, which don't depend on the machine: a wait of 10 ms is a thousand of them."""

    async def passes(clients: int) -> int:
        async with served() as server:
            for model in ("one", "two"):
                server.upstream.behave(model, Hang())
            writers = [(await _connect(server))[1] for _ in range(clients)]
            for number, writer in enumerate(writers):
                body = orjson.dumps({**ASK, "stream": number % 2 == 0})
                head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            await server.upstream.until(lambda: server.upstream.running == 2 * clients)
            count, loop = 0, asyncio.get_running_loop()

            def note_pass() -> None:
                nonlocal count
                count += 1
                if server.upstream.running:
                    loop.call_soon(note_pass)

            for writer in writers:
                writer.transport.abort()
            loop.call_soon(note_pass)
            await server.upstream.until(lambda: server.upstream.cancelled == 2 * clients)
        return count

    assert await passes(1) < 60
    assert await passes(60) <= await passes(1) + 10


def _patience() -> float:
    """How much slower than alone a process is that shares its processors with other work."""
    return 1 + (os.getloadavg()[0] / (os.cpu_count() or 1))


async def test_a_silent_stream_shows_that_it_lives() -> None:
    async with served(keep_alive_s=0.02) as server:
        for model in ("one", "two"):
            server.upstream.behave(model, Hang())
        async with server.http.post(f"{server.url}/v1/chat/completions", json=STREAM) as response:
            lines = [await response.content.readuntil(b"\n\n") for _ in range(3)]

    assert lines[0].startswith(b"data: ")
    assert lines[1:] == [b": keep-alive\n\n"] * 2


@pytest.mark.slow
async def test_headers_of_a_stream_go_out_before_any_model_has_answered() -> None:
    async with served() as server:
        server.upstream.behave("writer", Hang())
        async with server.http.post(
            f"{server.url}/v1/chat/completions", json={**STREAM, "model": "moa/solo"}
        ) as response:
            assert response.status == 200
            assert b'"role":"assistant"' in await response.content.readuntil(b"\n\n")


async def test_beyond_the_limit_clients_are_told_to_come_back() -> None:
    async with served(max_inflight=1) as server:
        gate = asyncio.Event()
        server.upstream.behave("writer", Text("done", gate=gate))
        first = asyncio.ensure_future(server.chat())
        await server.upstream.until(lambda: server.upstream.running == 1)
        with pytest.raises(openai.RateLimitError) as caught:
            await server.openai.chat.completions.create(model="moa/solo", messages=HELLO)
        gate.set()
        status, _ = await first
        again, _ = await server.chat()

    assert caught.value.response.headers["retry-after"] == "1"
    assert (status, again) == (200, 200)


async def test_many_streams_at_once_all_end_well() -> None:
    async with served() as server:
        gate = asyncio.Event()
        server.upstream.behave("one", Text("1", gate=gate))

        async def one() -> str:
            async with server.http.post(f"{server.url}/v1/chat/completions", json=STREAM) as response:
                return (await response.text())[-14:]

        streams = [asyncio.ensure_future(one()) for _ in range(80)]
        await server.upstream.until(lambda: server.app.state.service.inflight.count == 80)
        gate.set()
        ends = await asyncio.gather(*streams)

    assert ends == ["data: [DONE]\n\n"] * 80


@pytest.mark.slow
async def test_of_300_streams_of_all_apis_a_third_leaves_at_random_and_the_others_are_whole() -> None:
    random = Random(12)
    bodies: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {"messages": HELLO},
        "/v1/responses": {"input": "Hi"},
        "/v1/messages": {"messages": HELLO, "max_tokens": 9},
    }
    pieces = tuple(f"piece {number} " for number in range(8))

    async def stream(server: ServedModel, number: int, leaves_after: int | None) -> str:
        path, body = list(bodies.items())[number % 3]
        sent = {"model": "moa/solo", "stream": True, **body}
        got = b""
        async with server.http.post(f"{server.url}{path}", json=sent) as response:
            if leaves_after == 0:
                return "left"
            async for piece in response.content.iter_any():
                got += piece
                if leaves_after is not None and got.count(b"piece") >= leaves_after:
                    return "left"
        texts = [text for text in pieces if got.count(text.encode()) >= 1]
        return "whole" if len(texts) == len(pieces) else got.decode()

    async with served(max_inflight=400) as server:
        server.upstream.behave("writer", Text(pieces, pace_s=0.003))
        leaving = [random.randrange(6) if random.random() < 0.3 else None for _ in range(300)]
        ended = await asyncio.gather(*(stream(server, number, after) for number, after in enumerate(leaving)))
        await server.upstream.until(lambda: server.upstream.running == 0)
        async with asyncio.timeout(5):
            while server.app.state.service.inflight.count:  # noqa: ASYNC110  # the limiter has nobody to tell
                await asyncio.sleep(0.01)

    assert [end for end, after in zip(ended, leaving, strict=True) if after is None and end != "whole"] == []
    assert 60 < sum(after is not None for after in leaving) < 120


async def test_a_closed_gate_lets_runs_end_and_nobody_in() -> None:
    async with served() as server:
        gate = asyncio.Event()
        server.upstream.behave("writer", Text("done", gate=gate))
        first = asyncio.ensure_future(server.chat())
        await server.upstream.until(lambda: server.upstream.running == 1)
        server.app.state.service.inflight.close()
        refused, reply = await server.chat()
        async with server.http.get(f"{server.url}/readyz") as ready:
            readiness = ready.status
        async with server.http.get(f"{server.url}/healthz") as healthy:
            health = healthy.status
        gate.set()
        status, _ = await first

    assert (refused, reply["error"]["code"], readiness, health, status) == (503, "shutting_down", 503, 200, 200)


async def test_a_run_that_outlasts_the_end_is_cut_short_and_its_client_told() -> None:
    async with served() as server:
        server.upstream.behave("writer", Hang(after=("so far ",)))
        stream = await server.openai.chat.completions.create(model="moa/solo", messages=HELLO, stream=True)
        texts: list[str] = []

        async def read() -> None:
            async for chunk in stream:
                texts.append(chunk.choices[0].delta.content or "")
                if texts[-1]:
                    server.app.state.service.inflight.cancel_all()

        with pytest.raises(openai.APIError, match="had to stop"):
            await read()

    assert "".join(texts) == "so far "


async def _connect(server: ServedModel) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))


async def test_a_client_that_never_ends_its_headers_is_cut_off(
    shared: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moa._server.http.connection_limits.HEADERS_WITHIN_S", 0.05)
    silent, other = await _connect(shared), await _connect(shared)
    other[1].write(b"POST / HTTP/1.1\r\nhost: loc")

    assert await silent[0].read() == b""
    assert await _read_until_cut(other[0]) == b""
    silent[1].close()
    other[1].close()


async def _read_until_cut(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def test_a_client_with_endless_headers_is_cut_off(shared: ServedModel) -> None:
    reader, writer = await _connect(shared)
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n" + b"x-filler: " + b"y" * 70_000)

    assert await _read_until_cut(reader) == b""
    writer.close()


async def test_a_kept_connection_takes_many_requests(shared: ServedModel) -> None:
    reader, writer = await _connect(shared)
    for _ in range(3):
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-filler: " + b"y" * 30_000 + b"\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        await reader.readexactly(len(b'{"status":"ok"}'))
    writer.close()


async def test_a_reply_that_nobody_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moa._server.http.connection_limits.READ_WITHIN_S", 0.05)
    async with served() as server:
        server.upstream.behave("writer", Text(tuple(["x" * 10_000] * 2_000)))
        _, writer = await _connect(server)
        body = b'{"model":"moa/solo","stream":true,"messages":[{"role":"user","content":"x"}]}'
        writer.transport.pause_reading()
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        inflight = server.app.state.service.inflight
        await server.upstream.until(lambda: len(server.upstream.requests) == 1)
        async with asyncio.timeout(10):
            while inflight.count:  # noqa: ASYNC110  # the limiter has nobody to tell
                await asyncio.sleep(0.01)
        writer.close()

    assert 'moa_runs_total{mixture="solo"' in server.app.state.service.metrics.page().decode()


def test_the_protocol_is_uvicorns_own_with_limits() -> None:
    assert LimitedProtocol.__mro__[1].__module__ == "uvicorn.protocols.http.httptools_impl"


MOA_YAML = """
endpoints:
  lab: {{kind: openai, base_url: "{url}"}}
"""
SOLO_YAML = "name: solo\nlayers: []\naggregator: {model: lab/writer}\n"


@pytest.mark.slow
async def test_sigterm_lets_streams_end_and_then_the_process_ends_well(tmp_path: Path) -> None:
    async with ModelServer() as upstream, aiohttp.ClientSession() as http:
        gate = asyncio.Event()
        upstream.behave("writer", Text("whole answer", gate=gate))
        (tmp_path / "moa.yaml").write_text(MOA_YAML.format(url=upstream.base_url))
        (tmp_path / "solo.yaml").write_text(SOLO_YAML)
        process, url = await _start(tmp_path)
        streams = [asyncio.ensure_future(_text(http, url)) for _ in range(20)]
        await upstream.until(lambda: upstream.running == 20)
        process.send_signal(signal.SIGTERM)
        await _until_not_ready(http, url)
        async with http.post(f"{url}/v1/chat/completions", json={"model": "solo", "messages": HELLO}) as refused:
            status = refused.status
        gate.set()
        texts = await asyncio.gather(*streams)
        code = await process.wait()

    assert status == 503
    assert all('"content":"whole answer"' in text and text.endswith("data: [DONE]\n\n") for text in texts)
    assert code == 0


@pytest.mark.slow
async def test_a_second_sigterm_ends_what_is_under_way_at_once_and_tells_the_clients(tmp_path: Path) -> None:
    async with ModelServer() as upstream, aiohttp.ClientSession() as http:
        upstream.behave("writer", Hang(after=("part ",)))
        (tmp_path / "moa.yaml").write_text(MOA_YAML.format(url=upstream.base_url))
        (tmp_path / "solo.yaml").write_text(SOLO_YAML)
        process, url = await _start(tmp_path, "--drain", "600", "--log-format", "json")
        streams = [asyncio.ensure_future(_text(http, url)) for _ in range(5)]
        await upstream.until(lambda: upstream.running == 5)
        # A request that is not whole isn't waited for either.
        _, half = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        half.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{")
        process.send_signal(signal.SIGTERM)
        await _until_not_ready(http, url)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):  # uvicorn itself would wait for five more seconds
            texts = await asyncio.gather(*streams)
        code = await process.wait()
        half.close()
        assert process.stderr is not None
        logged = await process.stderr.read()

    assert all("shutting_down" in text for text in texts)
    assert code == 0
    assert all(orjson.loads(line) for line in logged.splitlines())


async def _start(folder: Path, *arguments: str) -> tuple[asyncio.subprocess.Process, str]:
    """Start the command; it says where it listens, in its first line."""
    command = "from moa._cli.main import main; main()"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", command, "serve", "-m", "solo.yaml", "--config", "moa.yaml", "--port", "0", *arguments),
        cwd=folder,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(30):
        first = await process.stderr.readline()
    if "json" in arguments:
        return process, orjson.loads(first)["url"]
    found = re.search(rb"listening on (http://\S+)", first)
    assert found is not None, first
    return process, found[1].decode()


async def _text(http: aiohttp.ClientSession, url: str) -> str:
    body = {"model": "moa/solo", "messages": HELLO, "stream": True}
    async with http.post(f"{url}/v1/chat/completions", json=body) as response:
        return await response.text()


async def _until_not_ready(http: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(10):
        while True:
            async with http.get(f"{url}/readyz") as response:
                if response.status == 503:
                    return
