"""What it costs several workers to share limits and a budget: CPU of a request, with and without a store.

Each row is a server of its own, loaded by the same clients over a model of 0 ms; all processes of the server count.
Rows without limits show what several processes cost by themselves on a machine's cores, with nothing to share:
`uv run python -m bench.workers [--seconds 4] [--redis redis://127.0.0.1:6379]`.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.proxies import Target
from bench.report import Row, Table, options, publish
from bench.server import cpu_s, load, wait_for

SERVER, UPSTREAM = 9430, 9431
NO_LIMITS, IN_MEMORY = "no limits", "limits in memory"


def main() -> None:
    """Measure and publish."""
    parser = options("workers", __doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--redis", help="address of a Redis server to compare with")
    chosen = parser.parse_args()
    seconds, rounds = (0.3, 1) if chosen.quick else (chosen.seconds, chosen.rounds)
    stores = {"SQLite": "state.sqlite", **({"Redis": chosen.redis} if chosen.redis else {})}
    cases = [
        *((NO_LIMITS, None, workers) for workers in (1, 2, 4)),
        (IN_MEMORY, None, 1),
        *((name, where, workers) for name, where in stores.items() for workers in (1, 2, 4)),
    ]
    upstream = subprocess.Popen([sys.executable, "-m", "bench.server", "--upstream", str(UPSTREAM)])
    try:
        wait_for(UPSTREAM)
        found: dict[tuple[str, int], list[tuple[float, float]]] = {}
        for _ in range(rounds):  # in turn, so that what else the machine does hits all of them
            for name, where, workers in cases:
                found.setdefault((name, workers), []).append(
                    _measured(where, workers, seconds, has_limits=name != NO_LIMITS)
                )
    finally:
        upstream.kill()
        upstream.wait()
    publish("workers", chosen.json, [_table(found)])


def _table(found: dict[tuple[str, int], list[tuple[float, float]]]) -> Table:
    best = {case: min(runs) for case, runs in found.items()}
    rows: list[Row] = [
        {
            "store": store,
            "workers": workers,
            "CPU ms a request": each_ms,
            "times one worker of the kind": each_ms / best[store, 1][0],
            "times as many without limits": each_ms / best[NO_LIMITS, workers][0],
            "requests per second": rate,
        }
        for (store, workers), (each_ms, rate) in best.items()
    ]
    return Table(title="one budget and one rate limit for all workers; the best of each row's rounds", rows=rows)


def _measured(where: str | None, workers: int, seconds: float, *, has_limits: bool) -> tuple[float, float]:
    """Return the CPU milliseconds of a request, and the requests per second."""
    with tempfile.TemporaryDirectory() as folder:
        zero = {
            "kind": "openai",
            "base_url": f"http://127.0.0.1:{UPSTREAM}/v1",
            "prices": {"*": {"input": 1, "output": 2}},
            **({"requests_per_minute": 10_000_000} if has_limits else {}),
        }
        settings = {
            "endpoints": {"zero": zero},
            **({"budget_usd": 1_000_000} if has_limits else {}),
            **({"state": where} if where else {}),
        }
        Path(folder, "moa.yaml").write_text(json.dumps(settings))
        fast = {"name": "fast", "layers": [], "aggregator": {"model": "zero/zero", "max_tokens": 100}}
        Path(folder, "fast.yaml").write_text(json.dumps(fast))
        serve = ["serve", "--config", "moa.yaml", "-m", "fast.yaml", "--port", str(SERVER), "--workers", str(workers)]
        command = [sys.executable, "-c", "from moa._cli.main import main; main()", *serve]
        process = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            wait_for(SERVER)
            target = Target(label="workers", port=SERVER, pid=process.pid, model="moa/fast")
            load(target, streamed=False, clients=32, seconds=min(seconds, 2.0))  # every worker has begun
            before = _cpu_of_all(process.pid)
            done = load(target, streamed=False, clients=32, seconds=seconds)
            return (_cpu_of_all(process.pid) - before) / done.replies * 1000, done.replies / done.seconds
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            while _session_lives(process.pid):  # its workers hold the port until they are gone
                time.sleep(0.05)


def _cpu_of_all(session: int) -> float:
    """Return the processor time of all processes of a session, in seconds."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return sum(cpu_s(pid) for pid in pids if _session_of(pid) == session)


def _session_lives(session: int) -> bool:
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return any(_session_of(pid) == session for pid in pids)


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


if __name__ == "__main__":
    main()
