"""Evaluating mixtures from end to end: `evaluate` for scripts and notebooks, `aevaluate` for async code."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from moa._policies.cache.settings import CacheSettings
from moa._policies.cache.store import Store
from moa._runtime.default_engine import in_background
from moa._runtime.engine import Engine
from moa.evaluation._analysis.load_run import table_in
from moa.evaluation._data.outputs import row_writer
from moa.evaluation._metrics.stopping import Settlement
from moa.evaluation._runner.fill import Ended, Fill
from moa.evaluation._runner.generation import output_of
from moa.evaluation._runner.preparing import Candidates, Options, Prompts, prepare
from moa.evaluation._runner.progress import Progress
from moa.evaluation._runner.run_directory import RunDirectory
from moa.evaluation._runner.spec import Spec
from moa.evaluation._runner.store import CellStore, Paid
from moa.evaluation._runner.table import Table, keep_given, table_of

OnProgress = Callable[[Progress], None]

_NO_LIMIT_MB = 10**9
_NEXT_TO_NOTHING_USD = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What an evaluation came to.

    Attributes:
        folder: The run directory: everything is there.
        ended: `complete`; `budget`: it is used up, a larger one resumes; `decided`: the verdicts had settled it.
        progress: How far it came.
        settlement: Under `until`, what the verdicts have settled; else None.
        cause: Why most of what failed has failed; None if nothing has.
        is_fruitless: Whether nothing can be said about the candidate, as all of its answers or verdicts failed.
        damaged: Cells that were damaged on the disk, and have been filled again.
    """

    folder: Path
    ended: Ended
    progress: Progress
    settlement: Settlement | None
    cause: str | None
    is_fruitless: bool
    damaged: tuple[str, ...] = ()


def evaluate(
    prompts: Prompts,
    mixture: Candidates,
    *,
    out: str | Path,
    on_progress: OnProgress | None = None,
    **options: Unpack[Options],
) -> Evaluation:
    """Evaluate mixtures from synchronous code, in a notebook too; arguments and errors as in `aevaluate`."""
    return in_background(aevaluate(prompts, mixture, out=out, on_progress=on_progress, **options))


async def aevaluate(
    prompts: Prompts,
    mixture: Candidates,
    *,
    out: str | Path,
    on_progress: OnProgress | None = None,
    **options: Unpack[Options],
) -> Evaluation:
    """Have mixtures, their parts and a baseline answer prompts, have the answers judged, and write all of it down.

    The same call goes on with what was interrupted, and another one adds prompts, systems or a judge to what is there:
    what was bought is not bought again.

    Args:
        prompts: `alpaca_eval`, `starter`, the path of a file, or the prompts themselves; see `load_instructions`.
        mixture: What is evaluated.
        out: The run directory.
        on_progress: Hears after every step, in the event loop's thread.
        **options: See `Options`.

    Returns:
        How it ended; the outputs and annotations are in the run directory.

    Raises:
        UsageError: Something makes no sense, or a system of the run directory was another one; nothing was bought.
        MoaError: Anything else that would fail for every prompt.
    """
    spec = await asyncio.to_thread(prepare, prompts, mixture, **options)
    return await carry_out(spec, Path(out), on_progress or _ignore)


def _ignore(progress: Progress) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A run directory that is being filled.

    Attributes:
        folder: The directory, which nobody else may fill meanwhile.
        store: Its cells.
        engine: Asks; its cache is the run's own, and its budget what earlier sessions have left.
        judging: Asks judges and measures: the same one, or with the same budget by batch jobs.
    """

    folder: RunDirectory
    store: CellStore
    engine: Engine
    judging: Engine

    def spent(self) -> Paid:
        """Return what all sessions have spent: also on replies that a killed process had not made a cell of yet."""
        return _spent(self.folder, self.store)


@asynccontextmanager
async def opened(spec: Spec, out: Path) -> AsyncIterator[Opened]:
    """Open the run directory of an evaluation, for as long as the block takes; errors as in `aevaluate`."""
    folder, session = RunDirectory(out), await asyncio.to_thread(spec.session)
    async with AsyncExitStack() as held:
        held.enter_context(folder.opened(spec.protocol, session))
        store = held.enter_context(closing(CellStore(folder.cells)))
        engine = await held.enter_async_context(_engine(spec, folder, _spent(folder, store)))
        judging = engine
        if spec.half_price:
            judging = await held.enter_async_context(_judging_engine(spec, folder, engine))
        yield Opened(folder=folder, store=store, engine=engine, judging=judging)


async def carry_out(spec: Spec, out: Path, on_progress: OnProgress) -> Evaluation:
    """Do an evaluation, or the rest of it; errors as in `aevaluate`."""
    spec, last_progress = _beside_earlier(spec, RunDirectory(out)), list[Progress]()

    def note_progress(progress: Progress) -> None:
        last_progress[:] = [progress]
        on_progress(progress)

    async with opened(spec, out) as run:
        if len(spec.instructions) == spec.prompts.count:
            run.store.write_prompts(spec.instructions)
        await keep_given(spec, run.store)
        table = table_of(spec, run.store, has_figures=spec.until != "all")
        if spec.rejudge:
            await table.judge_again()
        fill = Fill(spec, table, note_progress)
        try:
            await fill.run(run.engine, run.spent(), judging=run.judging)
            if fill.ended == "complete" and run.judging is not run.engine:
                run.judging.remove_batch_jobs()
        finally:
            if spec.is_judged:
                run.folder.write_settlement(fill.settlement)
            export(table if spec.is_judged else table_in(run.folder.manifest(), run.store), run.folder)
        damaged = tuple(run.store.damaged)
    return Evaluation(
        folder=out,
        ended=fill.ended,
        progress=last_progress[-1],
        settlement=fill.settlement,
        cause=fill.cause,
        is_fruitless=fill.is_fruitless,
        damaged=damaged,
    )


def _beside_earlier(spec: Spec, folder: RunDirectory) -> Spec:
    """What is evaluated, beside what the run has; a session that judges nothing takes none of its prompts away."""
    if not folder.exists:
        return spec
    manifest = folder.manifest()
    spec = spec.with_earlier(manifest)
    if spec.is_judged or not folder.cells.exists():
        return spec
    with closing(CellStore(folder.cells, read_only=True)) as store:
        known = {one.key for one in store.prompts()}
    if not all(one.key in known for one in spec.instructions):
        return spec
    return replace(spec, prompts=manifest.protocol.prompts)


def _spent(folder: RunDirectory, store: CellStore) -> Paid:
    spent = store.spent()
    if not folder.replies.exists():
        return spent
    replies = Store(_replies(folder))
    try:
        return Paid(
            cached_usd=max(spent.cached_usd, replies.cost_usd()), lost_usd=spent.lost_usd, unpriced=spent.unpriced
        )
    finally:
        replies.close()


def _replies(folder: RunDirectory) -> CacheSettings:
    return CacheSettings(path=folder.replies, max_size_mb=_NO_LIMIT_MB)


def _engine(spec: Spec, folder: RunDirectory, spent: Paid) -> Engine:
    """The engine; its cache is the run's own."""
    budget_usd = spec.budget_usd
    if budget_usd is not None:
        budget_usd = max(budget_usd - spent.cached_usd - spent.lost_usd, _NEXT_TO_NOTHING_USD)
    cache = _replies(folder) if spec.shares_replies else None
    return Engine(settings=spec.settings, providers=spec.providers, budget_usd=budget_usd, cache=cache)


def _judging_engine(spec: Spec, folder: RunDirectory, answering: Engine) -> Engine:
    """The engine that asks judges by batch jobs, with the budget and the cache of the one that asks for answers."""
    cache = _replies(folder) if spec.shares_replies else None
    engine = Engine(settings=spec.settings, providers=spec.providers, cache=cache, batch_jobs=folder.verdict_jobs)
    engine.budget = answering.budget
    return engine


def export(table: Table, folder: RunDirectory) -> None:
    """Write outputs and annotations as AlpacaEval's files have them, in the prompts' order."""
    cells, judged = table.cells, tuple(table.judging.found)
    with ExitStack() as files:
        outputs = {name: files.enter_context(row_writer(folder.outputs(name))) for name in table.answers}
        annotations = {name: files.enter_context(row_writer(folder.annotations(name))) for name in judged}
        for one in table.instructions:
            records = cells.records(tuple(table.answers), one.index)
            for name, record in records.items():
                outputs[name](output_of(record, one).as_dict())
            for name, row in cells.judgements(judged, records).items():
                annotations[name](row.as_dict())
