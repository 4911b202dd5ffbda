"""A batch of AlpacaEval's size: 805 prompts, three proposers and an aggregator, all handed to one engine at once.

The endpoint is limited to so many calls at once, as a team's account is. `ideal` is the time in which nobody could do
better: every place is taken all the time, or, with throttling, the server is asked as often as it allows.
"""

import asyncio
import time
from dataclasses import dataclass

from bench.model_process import Behaviour, model_process
from bench.report import Row, Table, options, publish
from moa.api import Engine
from moa.config.settings import Settings
from moa.errors import EngineError
from moa.ledger import Ledger
from moa.mixture.loading import load
from moa.mixture.schema import Mixture
from moa.providers.endpoint import Endpoint, LimitSettings

CALLS = 4
MIXTURE: Mixture = load(
    {
        "name": "batch",
        "layers": [{"proposers": [{"model": "lab/a"}, {"model": "lab/b"}, {"model": "lab/c"}]}],
        "aggregator": {"model": "lab/d"},
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch to run.

    Attributes:
        prompts: How many.
        places: Calls at once that the endpoint is limited to.
        delay_s: What the server takes for a call.
        requests_per_s: What it lets through; None for everything.
        burst_s: How many seconds' worth of requests it lets through at once.
        adaptive: Whether the endpoint finds out for itself how much at once the server bears.
    """

    prompts: int = 805
    places: int = 64
    delay_s: float = 0.2
    requests_per_s: float | None = None
    burst_s: float = 1.0
    adaptive: bool = False

    @property
    def ideal_s(self) -> float:
        """Seconds in which nobody could do better."""
        calls = self.prompts * CALLS
        by_places = calls * self.delay_s / self.places
        return by_places if self.requests_per_s is None else max(by_places, calls / self.requests_per_s - self.burst_s)


async def _run(batch: Batch, url: str) -> Row:
    limits = LimitSettings(max_concurrency=batch.places, adaptive=batch.adaptive)
    lab = Endpoint(name="lab", kind="openai", base_url=url, limits=limits)
    ledgers: list[Ledger] = []
    failed = 0

    async def one(number: int) -> None:
        nonlocal failed
        try:
            ledgers.append((await engine.run(MIXTURE, f"Prompt {number}: what is this about?")).ledger)
        except EngineError as error:
            failed += 1
            ledgers.append(error.ledger)

    async with Engine(settings=Settings(endpoints={"lab": lab})) as engine:
        cpu, wall = time.process_time(), time.perf_counter()
        await asyncio.gather(*(one(number) for number in range(batch.prompts)))
        cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
    attempts = [attempt for ledger in ledgers for attempt in ledger.attempts]
    return {
        "throttled at": "-" if batch.requests_per_s is None else f"{batch.requests_per_s:g}/s",
        "limit": "adaptive" if batch.adaptive else "fixed",
        "wall s": wall_s,
        "ideal s": batch.ideal_s,
        "wall/ideal": wall_s / batch.ideal_s,
        "CPU ms/run": cpu_s / batch.prompts * 1000,
        "attempts": len(attempts),
        "throttled": sum(attempt.error is not None and attempt.error.code == "rate_limited" for attempt in attempts),
        "failed runs": failed,
    }


def run(batch: Batch) -> Row:
    """Return the figures of a batch, against a server of its own."""
    behaviour = Behaviour(delay_s=batch.delay_s, requests_per_s=batch.requests_per_s, burst_s=batch.burst_s)
    with model_process(behaviour) as url:
        return asyncio.run(_run(batch, url))


def main() -> None:
    """Measure and publish."""
    chosen = options("batch", __doc__).parse_args()
    if chosen.quick:
        batches = [Batch(prompts=4, delay_s=0.001)]
    else:
        batches = [Batch(), Batch(requests_per_s=250), Batch(requests_per_s=250, adaptive=True)]
    prompts, places = batches[0].prompts, batches[0].places
    title = f"{prompts} prompts, {CALLS} calls each, at most {places} calls at once"
    publish("batch", chosen.json, [Table(title=title, rows=[run(batch) for batch in batches])])


if __name__ == "__main__":
    main()
