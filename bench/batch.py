"""A batch of AlpacaEval's size: 805 prompts, three proposers and an aggregator, on one engine.

First 64 prompts at once, beside the way of the project's model: five prompts, and the next five when all of them are
answered. Then all 805 handed over together, to an endpoint that is limited to so many calls at once, as a team's
account is. `ideal` is the time in which nobody could do better: every place is taken all the time, or, with throttling,
the server is asked as often as it allows.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench.model_process import Behaviour, model_process
from bench.report import Row, Table, options, publish
from moa._config.settings import Settings
from moa._ledger import Ledger
from moa._mixture.loading import load
from moa._mixture.schema import Mixture
from moa._runtime.engine import Engine
from moa.errors import EngineError
from moa.providers._endpoint import Endpoint, LimitSettings

CALLS = 4
LAYERS = 2
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
        at_once: Prompts at once.
        in_turns: Whether the next ones begin only when all of the last have ended.
        places: Calls at once that the endpoint is limited to; None for no limit.
        delay_s: What the server takes for a call.
        requests_per_s: What it lets through; None for everything.
        burst_s: How many seconds' worth of requests it lets through at once.
        adaptive: Whether the endpoint finds out for itself how much at once the server bears.
    """

    prompts: int = 805
    at_once: int = 805
    in_turns: bool = False
    places: int | None = 64
    delay_s: float = 0.2
    requests_per_s: float | None = None
    burst_s: float = 1.0
    adaptive: bool = False

    @property
    def ideal_s(self) -> float:
        """Seconds in which nobody could do better."""
        calls = self.prompts * CALLS
        bounds = [self.prompts * LAYERS * self.delay_s / self.at_once]
        if self.in_turns:
            bounds.append(math.ceil(self.prompts / self.at_once) * LAYERS * self.delay_s)
        if self.places is not None:
            bounds.append(calls * self.delay_s / self.places)
        if self.requests_per_s is not None:
            bounds.append(calls / self.requests_per_s - self.burst_s)
        return max(bounds)


async def _hand_over(batch: Batch, one: Callable[[int], Awaitable[None]]) -> None:
    """Ask about every prompt, so many at once."""
    if batch.in_turns:
        for first in range(0, batch.prompts, batch.at_once):
            await asyncio.gather(*map(one, range(first, min(first + batch.at_once, batch.prompts))))
        return
    numbers = iter(range(batch.prompts))

    async def worker() -> None:
        for number in numbers:
            await one(number)

    await asyncio.gather(*(worker() for _ in range(batch.at_once)))


async def _run(batch: Batch, url: str) -> Row:
    limits = LimitSettings(max_concurrency=batch.places, adaptive=batch.adaptive)
    lab = Endpoint(name="lab", kind="openai", base_url=url, limits=limits)
    ledgers: list[Ledger] = []
    failed = 0

    async def one(number: int) -> None:
        nonlocal failed
        try:
            ledgers.append((await engine.arun(MIXTURE, f"Prompt {number}: what is this about?")).ledger)
        except EngineError as error:
            failed += 1
            ledgers.append(error.ledger)

    async with Engine(settings=Settings(endpoints={"lab": lab})) as engine:
        cpu, wall = time.process_time(), time.perf_counter()
        await _hand_over(batch, one)
        cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
    attempts = [attempt for ledger in ledgers for attempt in ledger.attempts]
    return {
        "prompts at once": f"{batch.at_once}{' in turns' if batch.in_turns else ''}",
        "calls at most": "-"
        if batch.places is None
        else f"{batch.places}, {'adaptive' if batch.adaptive else 'fixed'}",
        "throttled at": "-" if batch.requests_per_s is None else f"{batch.requests_per_s:g}/s",
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
        batches = [
            Batch(prompts=4, at_once=2, delay_s=0.001),
            Batch(prompts=4, at_once=2, in_turns=True, delay_s=0.001),
        ]
    else:
        batches = [
            Batch(at_once=5, in_turns=True, places=None),
            Batch(at_once=64, places=None),
            Batch(),
            Batch(requests_per_s=250),
            Batch(requests_per_s=250, adaptive=True),
        ]
    title = f"{batches[0].prompts} prompts, {CALLS} calls each"
    publish("batch", chosen.json, [Table(title=title, rows=[run(batch) for batch in batches])])


if __name__ == "__main__":
    main()
