"""The calls, cost and duration of a batch, before any call is made."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path

from moa._engine.forecast import Workload
from moa._messages import Message
from moa._mixture.schema import Mixture
from moa._runtime.engine import Engine
from moa._runtime.prompt_rows import prompt_in
from moa.batch._rows import count_rows, read_rows
from moa.batch._runner import AT_ONCE
from moa.batch._storage import fetched
from moa.errors import UsageError

SAMPLE = 1_000
"""Number of rows whose prompts are read; the others are assumed to be similar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """The calls, cost and duration of a batch.

    Attributes:
        rows: Number of rows.
        calls: Number of calls for all rows, without retries.
        worst_usd: Maximum cost, in US dollars; None if a price or a `max_tokens` is unknown.
        expected_usd: Expected cost, in US dollars; None if a price is unknown.
        saved_usd: What the services' prompt caches are expected to save of it.
        seconds: Expected duration without failures; None if batch jobs answer.
        is_measured: Whether the replies of all kinds of calls were measured before.
    """

    rows: int
    calls: int
    worst_usd: Decimal | None
    expected_usd: Decimal | None
    saved_usd: Decimal
    seconds: float | None
    is_measured: bool


async def plan_batch(
    prompts: str,
    mixture: Mixture,
    *,
    engine: Engine,
    column: str | None = None,
    limit: int | None = None,
    at_once: int | None = None,
) -> BatchPlan:
    """Return the calls, cost and duration of a batch.

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
    expectations, each = engine.expectations, rows / max(1, len(forecasts))
    workload = Workload(expectations)
    for forecast in forecasts:
        workload.add([[(call, each) for call in calls] for calls in forecast.expected], each)
    planned = [call for forecast in forecasts for calls in forecast.expected for call in calls]
    costs = [(call.cost_usd, call.uncached_usd) for call in planned]
    saved = sum((uncached - cost for cost, uncached in costs if cost is not None and uncached is not None), Decimal(0))
    return BatchPlan(
        rows=rows,
        calls=calls * rows,
        worst_usd=_for_rows([forecast.worst_usd for forecast in forecasts], rows),
        expected_usd=_for_rows([forecast.expected_usd for forecast in forecasts], rows),
        saved_usd=saved * rows / max(1, len(forecasts)),
        seconds=workload.seconds(at_once or AT_ONCE) if engine.batch_jobs is None else None,
        is_measured=all(map(expectations.is_measured, planned)),
    )


def _for_rows(costs: Sequence[Decimal | None], rows: int) -> Decimal | None:
    """The cost of all rows, by the mean of those that were read; None if any of them is unknown."""
    known = [cost for cost in costs if cost is not None]
    return sum(known, Decimal(0)) / len(known) * rows if known and len(known) == len(costs) else None


def _prompts(source: Path, size: int, column: str | None) -> list[str | tuple[Message, ...]]:
    found: list[str | tuple[Message, ...]] = []
    for row in islice(read_rows(source), size):
        try:
            found.append(prompt_in(row.columns, column))
        except UsageError:
            continue  # the row will fail without a call, at no cost
    return found
