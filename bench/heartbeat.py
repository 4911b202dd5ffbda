"""How long the server's event loop stands still under the worst requests that it takes, and how `/healthz` answers.

The server runs in this process with a heart that is to beat every 5 ms; the upstream, the attackers and a prober of
`/healthz` are processes of their own: `uv run python -m bench.heartbeat [--seconds 5]`.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import uvloop
from tests.support.served import listening

from bench.report import Row, Table, options, publish
from bench.server import wait_for
from moa._config.settings import Settings
from moa._mixture.loading import load
from moa._runtime.engine import Engine
from moa._runtime.gc_tuning import reduced_gc
from moa._server.app import create_app
from moa._server.options import ServerOptions
from moa.providers._endpoint import Endpoint

BEAT_S = 0.005
UPSTREAM = 9411
CLIENTS = 4
SOLO = {"name": "solo", "layers": [], "aggregator": {"model": "lab/a"}}
SIX = {"name": "six", "layers": [{"proposers": [{"model": "lab/a", "samples": 6}]}], "aggregator": {"model": "lab/a"}}
HELLO = [{"role": "user", "content": "Say hello"}]


def _chat(**fields: object) -> tuple[str, bytes]:
    return "/v1/chat/completions", json.dumps({"model": "moa/solo", "messages": HELLO, **fields}).encode()


def _image(size: int) -> list[dict[str, object]]:
    url = {"url": "data:image/png;base64," + "A" * size}
    return [{"role": "user", "content": [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": url}]}]


def _samples(count: int) -> dict[str, object]:
    return {"mixture": {"layers": [{"proposers": [{"model": "lab/a", "samples": count}]}]}}


CASES: dict[str, Callable[[], tuple[str, bytes]]] = {
    "a word": _chat,
    "an image of 19 MB": lambda: _chat(messages=_image(19_000_000)),
    "an image of 2 MB to six proposers": lambda: _chat(model="moa/six", messages=_image(2_000_000)),
    "a text of 19 MB": lambda: _chat(messages=[{"role": "user", "content": "word " * 3_800_000}]),
    "a text of 9 MB, all of it escapes": lambda: _chat(messages=[{"role": "user", "content": '"' * 4_500_000}]),
    "5,000 messages to six proposers": lambda: _chat(model="moa/six", messages=HELLO * 5_000),
    "33,000 messages, which are refused": lambda: _chat(messages=HELLO * 33_000),
    "a tool of 90,000 values": lambda: _chat(
        tools=[{"type": "function", "function": {"name": "f", "parameters": {"enum": list(range(90_000))}}}]
    ),
    "127 samples": lambda: _chat(model="moa/six", moa=_samples(127)),
    "127 samples of 500 messages": lambda: _chat(model="moa/six", messages=HELLO * 500, moa=_samples(127)),
    "90,000 unknown keys": lambda: _chat(**{f"k{number}": 1 for number in range(90_000)}),
    "a mixture file of 4,900 values": lambda: (
        "/api/check", json.dumps({"yaml": "aggregator: {model: lab/a}\nlayers: [" + "1, " * 4_880 + "]"}).encode()
    ),
    "a mixture of 120 agents with all keys": lambda: _chat(
        model="moa/six",
        moa={
            "mixture": {
                "layers": [
                    {
                        "proposers": [
                            {"model": "lab/a", "name": f"n{n}", "role": "r", "temperature": 1, "max_tokens": 9}
                            for n in range(120)
                        ]
                    }
                ]
            }
        },
    ),
}  # fmt: skip


async def _exchange(port: int, path: str, body: bytes | None) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    method = "GET" if body is None else "POST"
    head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-type: application/json\r\n"
    with suppress(ConnectionError):
        writer.write(f"{head}content-length: {len(body or b'')}\r\n\r\n".encode() + (body or b""))
        await writer.drain()
    reply = b""
    with suppress(ConnectionError):
        reply = await reader.read()
    writer.close()
    return int(reply.split(b" ", 2)[1]) if reply else 0


async def attack(port: int, case: str, seconds: float) -> None:
    """Send one case's request again and again, from a few connections at once."""
    path, body = CASES[case]()
    ends_at = time.perf_counter() + seconds
    statuses: set[int] = set()

    async def client() -> None:
        while time.perf_counter() < ends_at:
            statuses.add(await _exchange(port, path, body))

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    print(json.dumps(sorted(statuses)))


async def probe(port: int, seconds: float) -> None:
    """Ask for `/healthz` fifty times a second, and print how long each took, in milliseconds."""
    times, ends_at = [], time.perf_counter() + seconds
    while time.perf_counter() < ends_at:
        began = time.perf_counter()
        await _exchange(port, "/healthz", None)
        times.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.02)
    print(json.dumps(times))


async def _beat(late_ms: list[float], busy_ms: list[float]) -> None:
    while True:
        began, worked = time.perf_counter(), time.thread_time()
        await asyncio.sleep(BEAT_S)
        late_ms.append((time.perf_counter() - began - BEAT_S) * 1000)
        busy_ms.append((time.thread_time() - worked) * 1000)


async def _child(*arguments: object) -> list[float]:
    command = [sys.executable, "-m", "bench.heartbeat", *map(str, arguments)]
    child = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    out, _ = await child.communicate()
    found: list[float] = json.loads(out)
    return found


async def measure(seconds: float) -> Table:
    """Return the lateness of the heart and of probes for each case."""
    lab = Endpoint(name="lab", kind="openai", base_url=f"http://127.0.0.1:{UPSTREAM}/v1")
    rows: list[Row] = []
    app = create_app(Engine(settings=Settings(endpoints={"lab": lab})), ServerOptions(mixtures=(load(SOLO), load(SIX))))
    async with listening(app) as url:
        port = int(url.rpartition(":")[2])
        for case in CASES:
            late_ms: list[float] = []
            busy_ms: list[float] = []
            beating = asyncio.ensure_future(_beat(late_ms, busy_ms))
            statuses, probes = await asyncio.gather(
                _child("--attack", case, "--port", port, "--seconds", seconds),
                _child("--probe", "--port", port, "--seconds", seconds),
            )
            beating.cancel()
            rows.append(
                {
                    "request": case,
                    "status": "/".join(str(int(status)) for status in statuses),
                    "loop's own work, most ms": max(busy_ms),
                    "loop late, p99 ms": _percentile(late_ms, 99),
                    "loop late, most ms": max(late_ms),
                    "/healthz p50 ms": statistics.median(probes),
                    "/healthz p99 ms": _percentile(probes, 99),
                }
            )
    return Table(title=f"the event loop under the worst requests that are taken, {CLIENTS} clients each", rows=rows)


def _percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def main() -> None:
    """Measure and publish."""
    parser = options("heartbeat", __doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    for hidden in ("--attack", "--port"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--probe", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.attack:
        asyncio.run(attack(int(chosen.port), chosen.attack, chosen.seconds))
        return
    if chosen.probe:
        asyncio.run(probe(int(chosen.port), chosen.seconds))
        return
    upstream = subprocess.Popen([sys.executable, "-m", "bench.server", "--upstream", str(UPSTREAM)])
    try:
        wait_for(UPSTREAM)
        with reduced_gc():
            table = uvloop.run(measure(0.2 if chosen.quick else chosen.seconds))
    finally:
        upstream.kill()
        upstream.wait()
    publish("heartbeat", chosen.json, [table])


if __name__ == "__main__":
    main()
