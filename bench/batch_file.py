"""`moa batch` on a large file: whether its memory stays flat, how long it takes, and what kills cost.

A model server on loopback, one call a row. *Ideal* is the time in which nobody could do better: every place taken all
the time. With `--kills`, the command is killed (SIGKILL) so many times at random moments and started again; the
server counts what it was asked, and what was under way at each kill: that alone may be paid for twice.
"""

import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.model_process import Behaviour, Chat, Throttle
from bench.report import Row, Table, options, publish

SAMPLE_S = 0.5
"""Seconds between two looks at the memory."""


@dataclass(kw_only=True)
class Server:
    """A model server in this process, which counts.

    Attributes:
        url: Base URL of its API.
        asked: Requests so far.
        answered: Replies so far.
        changed: Set after each request.
    """

    url: str = ""
    asked: int = 0
    answered: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class _Counted(Chat):
    def __init__(self, behaviour: Behaviour, server: Server) -> None:
        super().__init__(behaviour, Throttle(behaviour))
        self._server = server

    def _answer(self, body: bytes) -> None:
        self._server.asked += 1
        self._server.changed.set()
        super()._answer(body)

    def _write(self, reply: bytes) -> None:
        self._server.answered += 1
        super()._write(reply)


@asynccontextmanager
async def _serving(delay_s: float) -> AsyncIterator[Server]:
    counts, behaviour = Server(), Behaviour(delay_s=delay_s)
    listening = await asyncio.get_running_loop().create_server(
        lambda: _Counted(behaviour, counts), "127.0.0.1", 0, backlog=4096
    )
    counts.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    async with listening:
        yield counts


def _prepare(folder: Path, server: Server, rows: int) -> None:
    (folder / "moa.yaml").write_text(f'endpoints: {{lab: {{kind: openai, base_url: "{server.url}"}}}}\n')
    (folder / "one.yaml").write_text("name: one\nlayers: []\naggregator: {model: lab/m}\n")
    with (folder / "prompts.jsonl").open("w") as file:
        for number in range(rows):
            file.write(json.dumps({"id": number, "prompt": f"Prompt {number}: what is this about?"}) + "\n")


async def _start(folder: Path, at_once: int) -> asyncio.subprocess.Process:
    command = (
        *("-m", "moa", "batch", "prompts.jsonl", "-m", "one.yaml", "-o", "answers.jsonl"),
        "--config",
        "moa.yaml",
    )
    return await asyncio.create_subprocess_exec(
        *(sys.executable, *command, "--at-once", str(at_once)), cwd=folder, stderr=asyncio.subprocess.DEVNULL
    )


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")]
    return found[0] / 1000 if found else 0.0  # none of a process that has just ended


async def throughput(rows: int, at_once: int, delay_s: float) -> Row:
    """Return time and memory of one uninterrupted batch."""
    with tempfile.TemporaryDirectory() as name:
        folder, seen = Path(name), list[float]()
        async with _serving(delay_s) as server:
            _prepare(folder, server, rows)
            process = await _start(folder, at_once)
            await server.changed.wait()
            began = time.perf_counter()
            ended = asyncio.ensure_future(process.wait())
            while not ended.done():
                if server.answered > rows // 10:
                    seen.append(_resident_mb(process.pid))
                await asyncio.wait([ended], timeout=SAMPLE_S)
            wall_s = time.perf_counter() - began
        lines = (folder / "answers.jsonl").read_bytes().count(b"\n")
    ideal_s = rows * delay_s / at_once
    return {
        "rows": rows,
        "at once": at_once,
        "answers": lines,
        "calls": server.asked,
        "wall s": wall_s,
        "ideal s": ideal_s,
        "wall/ideal": wall_s / ideal_s,
        "MB after a tenth": seen[0] if seen else None,
        "MB at most after": max(seen, default=None),
    }


MIXTURE = """
name: one
layers: [{proposers: [{model: lab/a}, {model: lab/b}, {model: lab/c}]}]
aggregator: {model: lab/m}
"""
CALLS = 4


async def kills(rows: int, at_once: int, delay_s: float, count: int, seed: int) -> Row:
    """Return what so many kills at random moments cost a mixture of three proposers and an aggregator."""
    rng, under_way = random.Random(seed), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with _serving(delay_s) as server:
            _prepare(folder, server, rows)
            (folder / "one.yaml").write_text(MIXTURE)
            for kill in range(count + 1):
                process = await _start(folder, at_once)
                ended = asyncio.ensure_future(process.wait())
                if kill < count:
                    wanted = server.asked + rng.randint(1, max(2, (rows * CALLS - server.asked) // (count - kill)))
                    while server.asked < wanted and not ended.done():
                        server.changed.clear()
                        waiting = asyncio.ensure_future(server.changed.wait())
                        await asyncio.wait([waiting, ended], return_when=asyncio.FIRST_COMPLETED)
                        waiting.cancel()
                    if not ended.done():
                        process.send_signal(signal.SIGKILL)
                        under_way += server.asked - server.answered
                        await ended
                code = await ended
            lines = (folder / "answers.jsonl").read_bytes().count(b"\n")
    return {
        "kills": count,
        "rows": rows,
        "at once": at_once,
        "exit code at the end": code,
        "answers": lines,
        "calls": server.asked,
        "more than uninterrupted": server.asked - rows * CALLS,
        "under way at the kills": under_way,
    }


def main() -> None:
    """Measure and publish."""
    parser = options("batch_file", __doc__)
    parser.add_argument("--rows", type=int, default=5_000, help="rows of the uninterrupted batch")
    parser.add_argument("--at-once", type=int, default=256)
    parser.add_argument("--delay", type=float, default=1.0, help="seconds that the server takes for a call")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the kills")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rows, chosen.at_once, chosen.delay, chosen.kills = 200, 20, 0.01, 1
    tables = [
        Table(
            title="an uninterrupted batch",
            rows=[asyncio.run(throughput(chosen.rows, chosen.at_once, chosen.delay))],
            notes=["from its first call to its end; memory is what the process holds once a tenth is answered"],
        ),
    ]
    if chosen.kills:
        size = 50 * chosen.kills, min(8, chosen.at_once), min(0.05, chosen.delay), chosen.kills, chosen.seed
        tables.append(Table(title="a batch that is killed", rows=[asyncio.run(kills(*size))]))
    publish("batch_file", chosen.json, tables)


if __name__ == "__main__":
    main()
