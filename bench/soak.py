"""Twenty thousand runs against a model server with 5 % faults, then a quarter as many through a proxy with 15 % more.

Memory stays flat, the ledger stays exact, no run is lost and no answer is another one's. Run it with
`uv run python -m bench.soak [RUNS]`. Exits with 1 if a promise is broken.
"""

import asyncio
import gc
import random
import re
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.model_server import Behaviour, Bill, ModelServer, Raw, Reset, Status, Text
from yarl import URL

from bench.chaos_proxy import ChaosProxy
from moa._config.settings import Settings
from moa._ledger import Ledger
from moa._mixture.loading import load
from moa._runtime.engine import Engine
from moa._usage import TokenUsage
from moa.errors import EngineError
from moa.providers._endpoint import Endpoint, RetrySettings

AT_ONCE = 32
FAULT_SHARE = 0.05
CHAOS_SHARE = 0.15
RNG = random.Random(2)
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
    wrong: int = 0
    attempts: int = 0
    reported: TokenUsage = field(default_factory=TokenUsage)

    def add(self, ledger: Ledger) -> None:
        """Add up one run's ledger."""
        self.attempts += len(ledger.attempts)
        self.reported += ledger.usage


def _behaviour(rng: random.Random) -> Callable[[dict[str, object], int], Behaviour]:
    def behave(body: dict[str, object], number: int) -> Behaviour:
        return rng.choice(FAULTS) if rng.random() < FAULT_SHARE else Text(_reply(str(body["messages"])))

    return behave


def _reply(prompt: str) -> str:
    """The only right reply: it tells one run's answer from another's."""
    found = re.search(r"prompt \d+", prompt)
    assert found is not None
    return f"a fine reply to {found[0]}"


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
            totals.wrong += answer.text != _reply(f"prompt {number}")
            totals.add(answer.ledger)
        on_run()


def _memory_mb() -> float:
    """Resident memory of this process, in megabytes; the peak where the present can't be read."""
    gc.collect()
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


async def soak(runs: int, chaos_share: float) -> list[str]:
    """Return what went wrong, in words.

    Args:
        runs: How many.
        chaos_share: Part of the requests, 0-1, whose connection a proxy spoils.
    """
    totals, left, memory_mb = Totals(), list(range(runs)), [0.0]
    async with ModelServer() as server, ChaosProxy(int(URL(server.base_url).port or 0), chaos_share, RNG) as proxy:
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
        lab = Endpoint(
            name="lab", kind="openai", base_url=f"http://127.0.0.1:{proxy.port}/v1", retry=retry, breaker=None
        )
        async with Engine(settings=Settings(endpoints={"lab": lab})) as engine:
            await asyncio.gather(*(_worker(engine, left, totals, on_run) for _ in range(AT_ONCE)))
        server.requests.clear()
        print(f"through a proxy: {dict(sorted(proxy.fates.items()))}")
    spoilt = proxy.fates.total() - proxy.fates["passed"] - proxy.fates["stalled"]
    return _problems(runs, totals, server.bill, _memory_mb() - memory_mb[0], len(asyncio.all_tasks()) - 1, spoilt)


def _problems(runs: int, totals: Totals, bill: Bill, growth_mb: float, tasks: int, spoilt: int) -> list[str]:
    print(f"{runs} runs: {totals.answers} answers ({totals.degraded} degraded), {totals.failures} failed")
    print(f"{totals.attempts} attempts; reported {totals.reported.total_tokens} tokens")
    print(
        f"billed {bill.input_tokens + bill.output_tokens} tokens; memory grew by {growth_mb:.1f} MB; {tasks} tasks left"
    )
    checks = {
        "a run was lost": totals.answers + totals.failures == runs,
        "an answer was another one's": totals.wrong == 0,
        "the ledger differs from the bill": _agrees(totals.reported, bill, spoilt),
        f"memory grew by more than {MOST_GROWTH_MB} MB": growth_mb <= MOST_GROWTH_MB,
        "tasks are left": tasks == 0,
    }
    return [problem for problem, holds in checks.items() if not holds]


def _agrees(usage: TokenUsage, bill: Bill, spoilt: int) -> bool:
    """Whether all was reported that was billed; of replies that a proxy spoilt nobody heard."""
    exact = (usage.input_tokens, usage.output_tokens) == (bill.input_tokens, bill.output_tokens)
    return exact or (spoilt > 0 and usage.total_tokens <= bill.input_tokens + bill.output_tokens)


def main() -> int:
    """Run the soak and return the exit code."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    problems = asyncio.run(soak(runs, 0.0)) + asyncio.run(soak(runs // 4, CHAOS_SHARE))
    for problem in problems:
        print(f"FAILED: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
