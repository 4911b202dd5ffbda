"""Twenty thousand runs against a model server with 5% faults: memory stays flat, the ledger stays exact.

Run it with `uv run python -m bench.soak [RUNS]`. Exits with 1 if a promise is broken.
"""

import asyncio
import gc
import random
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.model_server import Behaviour, Bill, ModelServer, Raw, Reset, Status, Text

from moa._config.settings import Settings
from moa._ledger import Ledger
from moa._mixture.loading import load
from moa._runtime.engine import Engine
from moa._usage import TokenUsage
from moa.errors import EngineError
from moa.providers._endpoint import Endpoint, RetrySettings

AT_ONCE = 32
FAULT_SHARE = 0.05
WARM_SHARE = 0.2
"""Part of the runs after which memory is taken as settled."""

MOST_GROWTH_MB = 12.0
"""Memory that may come on top until the end, in megabytes: less than a kilobyte for each run."""

FAULTS: tuple[Behaviour, ...] = (
    Status(429),
    Status(500),
    Status(503),
    Reset(),
    Reset(after_bytes=60),
    Raw(b'{"choices": [', "application/json"),
    Raw(b"<html>", "text/html"),
)
MIXTURE = load(
    {
        "name": "soak",
        "layers": [{"proposers": [{"model": "lab/a", "samples": 3}]}],
        "aggregator": {"model": "lab/b", "fallback": ["lab/c"]},
        "on_aggregator_failure": "best_proposal",
    }
)


@dataclass
class Totals:
    """What the runs say they used."""

    answers: int = 0
    failures: int = 0
    degraded: int = 0
    attempts: int = 0
    reported: TokenUsage = field(default_factory=TokenUsage)

    def add(self, ledger: Ledger) -> None:
        """Add up one run's ledger."""
        self.attempts += len(ledger.attempts)
        self.reported += ledger.usage


def _behaviour(rng: random.Random) -> Callable[[dict[str, object], int], Behaviour]:
    return lambda body, number: rng.choice(FAULTS) if rng.random() < FAULT_SHARE else Text("a fine reply")


async def _worker(engine: Engine, numbers: list[int], totals: Totals, on_run: Callable[[], None]) -> None:
    while numbers:
        number = numbers.pop()
        try:
            answer = await engine.arun(MIXTURE, f"prompt {number}")
        except EngineError as error:
            totals.failures += 1
            totals.add(error.ledger)
        else:
            totals.answers += 1
            totals.degraded += answer.status == "degraded"
            totals.add(answer.ledger)
        on_run()


def _memory_mb() -> float:
    """Resident memory of this process, in megabytes; the peak where the present can't be read."""
    gc.collect()
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


async def soak(runs: int) -> list[str]:
    """Return what went wrong, in words."""
    totals, left, memory_mb = Totals(), list(range(runs)), [0.0]
    async with ModelServer() as server:
        server.behave("*", _behaviour(random.Random(1)))

        def on_run() -> None:
            done = totals.answers + totals.failures
            if done % 1000 == 0:
                # The server keeps every request that it got: its memory must not be taken for the engine's.
                server.requests.clear()
            if done == int(runs * WARM_SHARE):
                server.requests.clear()
                memory_mb[0] = _memory_mb()

        retry = RetrySettings(max_attempts=3, base_s=0.001)
        lab = Endpoint(name="lab", kind="openai", base_url=server.base_url, retry=retry, breaker=None)
        async with Engine(settings=Settings(endpoints={"lab": lab})) as engine:
            await asyncio.gather(*(_worker(engine, left, totals, on_run) for _ in range(AT_ONCE)))
        server.requests.clear()
    return _problems(runs, totals, server.bill, _memory_mb() - memory_mb[0], len(asyncio.all_tasks()) - 1)


def _problems(runs: int, totals: Totals, bill: Bill, growth_mb: float, tasks: int) -> list[str]:
    print(f"{runs} runs: {totals.answers} answers ({totals.degraded} degraded), {totals.failures} failed")
    print(f"{totals.attempts} attempts; reported {totals.reported.total_tokens} tokens")
    print(
        f"billed {bill.input_tokens + bill.output_tokens} tokens; memory grew by {growth_mb:.1f} MB; {tasks} tasks left"
    )
    checks = {
        "a run was lost": totals.answers + totals.failures == runs,
        "the ledger differs from the bill": _same(totals.reported, bill.input_tokens, bill.output_tokens),
        f"memory grew by more than {MOST_GROWTH_MB} MB": growth_mb <= MOST_GROWTH_MB,
        "tasks are left": tasks == 0,
    }
    return [problem for problem, holds in checks.items() if not holds]


def _same(usage: TokenUsage, input_tokens: int, output_tokens: int) -> bool:
    return (usage.input_tokens, usage.output_tokens) == (input_tokens, output_tokens)


def main() -> int:
    """Run the soak and return the exit code."""
    problems = asyncio.run(soak(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
    for problem in problems:
        print(f"FAILED: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
