"""The maximum number of calls and cost of a batch, before any call is made."""

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path

from moa._messages import Message
from moa._mixture.schema import Mixture
from moa._runtime.engine import Engine
from moa._runtime.prompt_rows import prompt_in
from moa.batch._rows import count_rows, read_rows
from moa.batch._storage import fetched
from moa.errors import UsageError

SAMPLE = 1_000
"""Number of rows whose prompts are read; the others are assumed to be similar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """The maximum number of calls and cost of a batch.

    Attributes:
        rows: Number of rows.
        calls: Number of calls for all rows, without retries.
        worst_usd: Maximum cost, in US dollars; None if a price or a `max_tokens` is unknown.
    """

    rows: int
    calls: int
    worst_usd: Decimal | None


async def plan_batch(
    prompts: str, mixture: Mixture, *, engine: Engine, column: str | None = None, limit: int | None = None
) -> BatchPlan:
    """Return the maximum number of calls and cost of a batch.

    Raises:
        UsageError: The file can't be read, or is standard input.
        ConfigError: An endpoint can't be used.
    """
    if prompts == "-":
        raise UsageError("standard input can't be planned: give a file")
    with fetched(prompts) as source:
        rows = await asyncio.to_thread(count_rows, source)
        rows = rows if limit is None else min(rows, limit)
        sample = await asyncio.to_thread(_prompts, source, min(rows, SAMPLE), column)
    forecasts = [await engine.aforecast(mixture, prompt) for prompt in sample]
    calls = len(mixture.references) if not forecasts else forecasts[0].calls
    costs = [forecast.worst_usd for forecast in forecasts]
    known = [cost for cost in costs if cost is not None]
    worst = sum(known, Decimal(0)) / len(known) * rows if known and len(known) == len(costs) else None
    return BatchPlan(rows=rows, calls=calls * rows, worst_usd=worst)


def _prompts(source: Path, size: int, column: str | None) -> list[str | tuple[Message, ...]]:
    found: list[str | tuple[Message, ...]] = []
    for row in islice(read_rows(source), size):
        try:
            found.append(prompt_in(row.columns, column))
        except UsageError:
            continue  # the row will fail without a call, at no cost
    return found
