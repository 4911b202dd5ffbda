"""How fast the server passes a model of 0 ms through: requests a second, streams a second, what it adds, its memory.

Starts a bare upstream, the server and the clients as processes of their own on this machine; the same clients against
the upstream alone show what the clients themselves can do:
`uv run python -m bench.server [--seconds 5] [--streams 1000]`.
"""

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

from bench.report import Row, Table, options, publish

CHUNKS = 100
MESSAGES = [{"role": "user", "content": "What are 3 fun things to do in San Francisco?"}]


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
    uvicorn.run(Upstream(hold_s), host="127.0.0.1", port=port, log_level="error", access_log=False, lifespan="off")


async def request(port: int, path: str, body: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection of its own and send one request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_head(path, body) + body)
    return reader, writer


def _head(path: str, body: bytes) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode()


async def _read_reply(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode())
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.partition(b":")[2]))
            return
    await reader.readuntil(b"0\r\n\r\n")


async def _client(port: int, path: str, body: bytes, ends_at: float, times: list[float]) -> None:
    reader, writer = await request(port, path, body)
    while True:
        started = time.perf_counter()
        await _read_reply(reader)
        times.append(time.perf_counter() - started)
        if time.perf_counter() >= ends_at:
            break
        writer.write(_head(path, body) + body)
    writer.close()


async def _load(port: int, path: str, model: str, *, streamed: bool, clients: int, seconds: float) -> list[float]:
    body = json.dumps({"model": model, "messages": MESSAGES, "stream": streamed}).encode()
    times: list[float] = []
    ends_at = time.perf_counter() + seconds
    await asyncio.gather(*(_client(port, path, body, ends_at, times) for _ in range(clients)))
    return times


def load(port: int, model: str, streamed: bool, clients: int, seconds: float) -> tuple[float, float]:
    """Return replies per second and the median latency in milliseconds."""
    work = _load(port, "/v1/chat/completions", model, streamed=streamed, clients=clients, seconds=seconds)
    times = uvloop.run(work)
    return len(times) / seconds, statistics.median(times) * 1000


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
    parser.add_argument("--upstream", type=int, help="serve the bare upstream on this port, and nothing else")
    parser.add_argument("--hold", type=float, default=0.0, help="seconds for which its streams stay open")
    chosen = parser.parse_args()
    if chosen.upstream:
        upstream(chosen.upstream, chosen.hold)
        return
    seconds, streams = (0.2, 4) if chosen.quick else (chosen.seconds, chosen.streams)
    with tempfile.TemporaryDirectory() as folder:
        publish("server", chosen.json, measure(Path(folder), seconds, streams))


def measure(folder: Path, seconds: float, streams: int) -> list[Table]:
    """Return what the server does in so many seconds, and holds with so many open streams."""
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
        pids = {9401: processes[0].pid, 9400: processes[2].pid}
        return [_rates(seconds, pids), _memory(streams, pids[9400])]
    finally:
        for process in processes:
            process.kill()  # asked politely, the upstream would wait for its open streams
            process.wait()


def wait_for(port: int) -> None:
    """Wait until something listens at a port of this machine."""
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"nothing listens at {port}")


def _rates(seconds: float, pids: dict[int, int]) -> Table:
    load(9400, "moa/fast", False, 4, min(seconds, 1.0))
    rows: list[Row] = []
    for what, streamed in (("requests", False), ("streams", True)):
        for label, port, model in (("upstream alone", 9401, "zero"), ("through moa", 9400, "moa/fast")):
            used_s = cpu_s(pids[port])
            rate, busy_ms = load(port, model, streamed, 32, seconds)
            each_ms = (cpu_s(pids[port]) - used_s) / (rate * seconds) * 1000
            _, alone_ms = load(port, model, streamed, 1, seconds / 2)
            rows.append(
                {
                    "what": f"{what}, {label}",
                    "per second": rate,
                    "median ms of 32 clients": busy_ms,
                    "median ms of one": alone_ms,
                    "CPU ms each": each_ms,
                }
            )
    return Table(title=f"a model of 0 ms passed through, streams of {CHUNKS} chunks", rows=rows)


def _memory(streams: int, pid: int) -> Table:
    before, during = asyncio.run(_hold_streams(9400, streams, pid))
    row = {"streams": streams, "MB before": before, "MB": during, "kB each": (during - before) * 1024 / streams}
    return Table(title="memory of open streams", rows=[row])


if __name__ == "__main__":
    main()
