"""How fast the server passes a model of 0 ms through: requests a second, streams a second, what it adds, its memory.

Starts a bare upstream, the server and the clients as processes of their own on this machine; the same clients against
the upstream alone show what the clients themselves can do:
`uv run python -m bench.server [--seconds 5] [--streams 1000] [--proxies litellm,portkey]`.
"""

import asyncio
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import orjson
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

from bench.peers import PeerMissing
from bench.proxies import STARTS, Target, proxy
from bench.report import Row, Table, options, publish

CHUNKS = 100
MESSAGES = [{"role": "user", "content": "What are 3 fun things to do in San Francisco?"}]


class Refused(Exception):
    """A reply was not the one of a model; its first line."""


class Upstream:
    """A model server that answers at once; with `hold`, streams stay open after their first piece."""

    def __init__(self, hold_s: float = 0.0) -> None:
        self._hold_s = hold_s
        head = {"id": "x", "object": "chat.completion", "created": 1, "model": "zero"}
        usage = {"prompt_tokens": 12, "completion_tokens": CHUNKS, "total_tokens": 12 + CHUNKS}
        message = {"role": "assistant", "content": "word " * 20}
        self._whole = orjson.dumps(
            {**head, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
        )
        piece = {**head, "choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]}
        self._piece = b"data: " + orjson.dumps(piece) + b"\n\n"
        last = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage}
        self._end = b"data: " + orjson.dumps(last) + b"\n\ndata: [DONE]\n\n"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["type"] != "http":
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        streamed = body and orjson.loads(body).get("stream")
        kind = b"text/event-stream" if streamed else b"application/json"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        if not streamed:
            await send({"type": "http.response.body", "body": self._whole})
            return
        for number in range(CHUNKS):
            await send({"type": "http.response.body", "body": self._piece, "more_body": True})
            if number == 0 and self._hold_s:
                await asyncio.sleep(self._hold_s)
        await send({"type": "http.response.body", "body": self._end})


def upstream(port: int, hold_s: float) -> None:
    """Serve the bare upstream."""
    uvicorn.run(
        Upstream(hold_s),
        host="127.0.0.1",
        port=port,
        log_level="error",
        access_log=False,
        lifespan="off",
        timeout_keep_alive=600,  # gateways keep their connections while others are measured
    )


async def request(port: int, path: str, body: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection of its own and send one request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_message(path, body, {}))
    return reader, writer


def _message(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    own = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(body)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in own.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


async def _read_reply(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise Refused(head.decode().splitlines()[0])
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.partition(b":")[2]))
            return
    await reader.readuntil(b"0\r\n\r\n")


async def _client(port: int, message: bytes, ends_at: float, times: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while True:
        started = time.perf_counter()
        writer.write(message)
        await _read_reply(reader)
        times.append(time.perf_counter() - started)
        if time.perf_counter() >= ends_at:
            break
    writer.close()


async def _load(target: Target, *, streamed: bool, clients: int, seconds: float) -> list[float]:
    body = json.dumps({"model": target.model, "messages": MESSAGES, "stream": streamed}).encode()
    message = _message("/v1/chat/completions", body, target.headers)
    times: list[float] = []
    ends_at = time.perf_counter() + seconds
    await asyncio.gather(*(_client(target.port, message, ends_at, times) for _ in range(clients)))
    return times


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What clients saw: how many replies in how many seconds, and the median latency of one in milliseconds."""

    replies: int
    seconds: float
    median_ms: float


def load(target: Target, *, streamed: bool, clients: int, seconds: float) -> Load:
    """Let so many clients ask one request after another; each finishes the one that it has begun."""
    started = time.perf_counter()
    times = uvloop.run(_load(target, streamed=streamed, clients=clients, seconds=seconds))
    elapsed_s = time.perf_counter() - started
    return Load(replies=len(times), seconds=elapsed_s, median_ms=statistics.median(times) * 1000)


def memory_mb(pid: int) -> float:
    """Return a process's resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the system doesn't tell")


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used: what counts where other work shares the machine."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _hold_streams(port: int, count: int, pid: int) -> tuple[float, float]:
    before = memory_mb(pid)
    body = json.dumps({"model": "moa/pass", "messages": MESSAGES, "stream": True}).encode()
    opened = [await request(port, "/v1/chat/completions", body) for _ in range(count)]
    for reader, _ in opened:
        await reader.readuntil(b"word")
    during = memory_mb(pid)
    for _, writer in opened:
        writer.close()
    return before, during


def main() -> None:
    """Measure and publish."""
    parser = options("server", __doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--proxies", default="", help=f"of {', '.join(STARTS)}; none by default")
    parser.add_argument("--upstream", type=int, help="serve the bare upstream on this port, and nothing else")
    parser.add_argument("--hold", type=float, default=0.0, help="seconds for which its streams stay open")
    chosen = parser.parse_args()
    if chosen.upstream:
        upstream(chosen.upstream, chosen.hold)
        return
    seconds, streams = (0.2, 4) if chosen.quick else (chosen.seconds, chosen.streams)
    with tempfile.TemporaryDirectory() as folder:
        names = [name for name in chosen.proxies.split(",") if name]
        publish("server", chosen.json, measure(Path(folder), seconds, streams, names))


def measure(folder: Path, seconds: float, streams: int, proxies: Sequence[str] = ()) -> list[Table]:
    """Return what the server and other gateways do in so many seconds, and what it holds with so many open streams."""
    settings = {
        "endpoints": {
            name: {
                "kind": "openai",
                "base_url": f"http://127.0.0.1:{port}/v1",
                "prices": {"*": {"input": 1, "output": 2}},
            }
            for name, port in (("zero", 9401), ("slow", 9402))
        }
    }
    (folder / "moa.yaml").write_text(json.dumps(settings))
    for name, model in (("fast", "zero/zero"), ("pass", "slow/zero")):
        (folder / f"{name}.yaml").write_text(json.dumps({"name": name, "layers": [], "aggregator": {"model": model}}))
    here = [sys.executable, "-m", "bench.server"]
    command = [sys.executable, "-c", "from moa._cli.main import main; main()"]
    serve = [*command, "serve", "--config", "moa.yaml", "-m", "fast.yaml", "-m", "pass.yaml", "--port", "9400"]
    processes = [
        subprocess.Popen([*here, "--upstream", "9401"]),
        subprocess.Popen([*here, "--upstream", "9402", "--hold", "600"]),
        subprocess.Popen([*serve, "--max-inflight", "2000"], cwd=folder, stderr=subprocess.DEVNULL),
    ]
    try:
        for port in (9401, 9402, 9400):
            wait_for(port)
        ours = Target(label="through moa", port=9400, pid=processes[2].pid, model="moa/fast")
        targets = [Target(label="upstream alone", port=9401, pid=processes[0].pid), ours]
        with ExitStack() as stack:
            notes: list[str] = []
            for port, name in enumerate(proxies, 9403):
                try:
                    targets.append(stack.enter_context(proxy(name, port, "http://127.0.0.1:9401/v1", folder)))
                except PeerMissing as error:
                    notes.append(f"{name} was skipped: {error}")
                else:
                    wait_for(port)
            rates = _rates(seconds, targets, notes)
        return [rates, _memory(streams, ours.pid)]
    finally:
        for process in processes:
            process.kill()  # asked politely, the upstream would wait for its open streams
            process.wait()


def wait_for(port: int) -> None:
    """Wait until something listens at a port of this machine."""
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"nothing listens at {port}")


def _rates(seconds: float, targets: Sequence[Target], notes: list[str]) -> Table:
    for target in targets:
        load(target, streamed=False, clients=4, seconds=min(seconds, 1.0))
    rows: list[Row] = []
    for streamed, target in itertools.product((False, True), targets):
        what = f"{'streams' if streamed else 'requests'}, {target.label}"
        try:
            rows.append({"what": what, **_rate(target, seconds, streamed)})
        except Refused as error:
            notes.append(f"{what}: {error}")
    return Table(title=f"a model of 0 ms passed through, streams of {CHUNKS} chunks", rows=rows, notes=notes)


def _rate(target: Target, seconds: float, streamed: bool) -> Row:
    used_s = cpu_s(target.pid)
    busy = load(target, streamed=streamed, clients=32, seconds=seconds)
    used_s = cpu_s(target.pid) - used_s
    alone = load(target, streamed=streamed, clients=1, seconds=seconds / 2)
    return {
        "per second": busy.replies / busy.seconds,
        "median ms of 32 clients": busy.median_ms,
        "median ms of one": alone.median_ms,
        "CPU ms each": used_s / busy.replies * 1000,
        "MB": memory_mb(target.pid),
    }


def _memory(streams: int, pid: int) -> Table:
    before, during = asyncio.run(_hold_streams(9400, streams, pid))
    row = {"streams": streams, "MB before": before, "MB": during, "kB each": (during - before) * 1024 / streams}
    return Table(title="memory of open streams", rows=[row])


if __name__ == "__main__":
    main()
