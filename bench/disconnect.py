"""How soon the calls to a service end after clients have left, however many leave at once.

The server, the service and the clients are processes of their own. Times are readings of the one monotonic clock of the
machine: `uv run python -m bench.disconnect [--clients 300] [--rounds 5]`.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.report import Row, Table, options, publish
from bench.server import cpu_s, wait_for

PORT, SERVICE_PORT = 9420, 9421
PROPOSERS = 3
MIXTURE = {
    "name": "trio",
    "layers": [{"proposers": [{"model": f"lab/{number}"} for number in range(PROPOSERS)]}],
    "aggregator": {"model": "lab/a"},
}
PIECE = b'data: {"choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class _Service(asyncio.Protocol):
    """A service that begins to answer and never ends; keeps when its connections ended."""

    open = 0
    ended_at: list[float] = []  # noqa: RUF012  # one process, one list

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._is_call = transport, False

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"GET "):
            reply = json.dumps([_Service.open, _Service.ended_at]).encode()
            _Service.ended_at.clear()
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(reply) + reply)
            self._transport.close()
        elif not self._is_call:
            self._is_call = True
            _Service.open += 1
            if b'"stream":true' in data:
                self._transport.write(HEAD + b"%x\r\n%s\r\n" % (len(PIECE), PIECE))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_call:
            _Service.open -= 1
            _Service.ended_at.append(time.monotonic())


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Service, "127.0.0.1", SERVICE_PORT, backlog=4096)
    await server.serve_forever()


async def _state() -> tuple[int, list[float]]:
    """The open calls, and when those ended that have ended since the last look."""
    reader, writer = await asyncio.open_connection("127.0.0.1", SERVICE_PORT)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    reply = await reader.read()
    writer.close()
    count, ended_at = json.loads(reply.partition(b"\r\n\r\n")[2])
    return int(count), ended_at


async def _open_until(count: int) -> None:
    while (await _state())[0] != count:  # noqa: ASYNC110  # another process
        await asyncio.sleep(0.1)


async def leave(clients: int, *, stream: bool) -> list[float]:
    """Return how long after the clients left each of their calls ended, in seconds, sorted."""
    body = json.dumps({"model": "moa/trio", "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    opened = []
    for _ in range(clients):
        _, writer = await asyncio.open_connection("127.0.0.1", PORT)
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        opened.append(writer)
    await _open_until(clients * PROPOSERS)
    await asyncio.sleep(0.5)
    left_at = time.monotonic()
    for writer in opened:
        writer.transport.abort()
    ended_at: list[float] = []
    while len(ended_at) < clients * PROPOSERS:
        await asyncio.sleep(0.05)
        ended_at += (await _state())[1]
    return sorted(at - left_at for at in ended_at)


@contextmanager
def _processes() -> Iterator[int]:
    """Run the service and the server; gives the server's process id."""
    lab = {
        "kind": "openai",
        "base_url": f"http://127.0.0.1:{SERVICE_PORT}/v1",
        "prices": {"*": {"input": 1, "output": 2}},
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "moa.yaml").write_text(json.dumps({"endpoints": {"lab": lab}}))
        (folder / "trio.yaml").write_text(json.dumps(MIXTURE))
        command = [sys.executable, "-c", "from moa._cli.main import main; main()", "serve", "--config", "moa.yaml"]
        processes = [
            subprocess.Popen([sys.executable, "-m", "bench.disconnect", "--service"]),
            subprocess.Popen(
                [*command, "-m", "trio.yaml", "--port", str(PORT), "--max-inflight", "4000"],
                cwd=folder,
                stderr=subprocess.DEVNULL,
            ),
        ]
        try:
            for port in (SERVICE_PORT, PORT):
                wait_for(port)
            yield processes[1].pid
        finally:
            for process in processes:
                process.kill()
                process.wait()


def measure(clients: int, rounds: int) -> Table:
    """Return how long calls go on after their clients have left, by how many left at once."""
    rows: list[Row] = []
    with _processes() as pid:
        for stream in (True, False):
            for count in dict.fromkeys((1, max(1, clients // 10), clients)):
                found: list[list[float]] = []
                used_s = 0.0
                for _ in range(rounds):
                    before_s = cpu_s(pid)
                    found.append(asyncio.run(leave(count, stream=stream)))
                    used_s += cpu_s(pid) - before_s
                rows.append(
                    {
                        "clients": f"{count}, {'streamed' if stream else 'whole'}",
                        "calls": count * PROPOSERS,
                        "first ended, ms": sorted(times[0] for times in found)[len(found) // 2] * 1000,
                        "half had ended, ms": sorted(times[len(times) // 2] for times in found)[len(found) // 2] * 1000,
                        "last ended, ms": sorted(times[-1] for times in found)[len(found) // 2] * 1000,
                        "last ended, worst ms": max(times[-1] for times in found) * 1000,
                        "CPU ms per client, in all": used_s / rounds / count * 1000,
                    }
                )
    notes = [f"The median of {rounds} rounds; each client's run has {PROPOSERS} calls."]
    return Table(title="from the moment at which clients leave", rows=rows, notes=notes)


def main() -> None:
    """Measure and publish."""
    parser = options("disconnect", __doc__)
    parser.add_argument("--clients", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--service", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.service:
        asyncio.run(_serve())
        return
    clients, rounds = (4, 1) if chosen.quick else (chosen.clients, chosen.rounds)
    publish("disconnect", chosen.json, [measure(clients, rounds)])


if __name__ == "__main__":
    main()
