"""Evaluating a mixture from end to end: `evaluate` for scripts and notebooks, `aevaluate` for async code."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from moa._runtime.default_engine import in_background
from moa._runtime.engine import Engine, MixtureLike
from moa.evaluation._data.outputs import write_json
from moa.evaluation._metrics.stopping import Settlement
from moa.evaluation._runner.config import EvaluationConfig
from moa.evaluation._runner.experiment import Ended, Experiment
from moa.evaluation._runner.journal import Journal, read_journal
from moa.evaluation._runner.precomputed import output_of
from moa.evaluation._runner.preparing import Options, Prepared, Prompts, prepare, references
from moa.evaluation._runner.progress import Progress
from moa.evaluation._runner.resume import ReplyJournal, ResumingProvider
from moa.evaluation._runner.run_directory import RunDirectory
from moa.evaluation._runner.verdict_rows import annotation, unjudged
from moa.providers._registry import open_provider

DisconnectWatcher = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What an evaluation came to.

    Attributes:
        folder: The run directory: everything is there.
        ended: `complete`; `budget`: it is used up, a larger one resumes; `decided`: the verdicts had settled it.
        progress: How far it came.
        settlement: Under `until`, what the verdicts have settled; else None.
        cause: Why most of what failed has failed; None if nothing has.
        is_fruitless: Whether nothing can be said about the mixture, as all of its answers or verdicts failed.
    """

    folder: Path
    ended: Ended
    progress: Progress
    settlement: Settlement | None
    cause: str | None
    is_fruitless: bool


def evaluate(
    prompts: Prompts,
    mixture: MixtureLike,
    *,
    out: str | Path,
    on_progress: DisconnectWatcher | None = None,
    **options: Unpack[Options],
) -> Evaluation:
    """Evaluate a mixture from synchronous code, in a notebook too; arguments and errors as in `aevaluate`."""
    return in_background(aevaluate(prompts, mixture, out=out, on_progress=on_progress, **options))


async def aevaluate(
    prompts: Prompts,
    mixture: MixtureLike,
    *,
    out: str | Path,
    on_progress: DisconnectWatcher | None = None,
    **options: Unpack[Options],
) -> Evaluation:
    """Have a mixture, its parts and a baseline answer prompts, have the answers judged, and write all of it down.

    The same call resumes what was interrupted: what was bought is not bought again.

    Args:
        prompts: `alpaca_eval`, `starter`, the path of a file, or the prompts themselves; see `load_instructions`.
        mixture: What is evaluated.
        out: The run directory.
        on_progress: Hears after every step, in the event loop's thread.
        **options: See `Options`.

    Returns:
        How it ended; the outputs, ledgers and annotations are in the run directory.

    Raises:
        UsageError: Something makes no sense, or the run directory is of another evaluation; nothing was bought.
        MoaError: Anything else that would fail for every prompt.
    """
    prepared = await asyncio.to_thread(prepare, prompts, mixture, **options)
    return await carry_out(prepared, Path(out), on_progress or _ignore)


def _ignore(progress: Progress) -> None:
    """Nobody watches."""


async def carry_out(prepared: Prepared, out: Path, on_progress: DisconnectWatcher) -> Evaluation:
    """Do what was prepared, or the rest of it; errors as in `aevaluate`."""
    folder, told = RunDirectory(out), list[Progress]()
    session = await asyncio.to_thread(prepared.session)

    def tell(progress: Progress) -> None:
        told[:] = [progress]
        on_progress(progress)

    folder.open(prepared.protocol, session)
    journal = Journal()
    try:
        experiment = Experiment(prepared.setup, folder, journal, tell)
        try:
            async with _engine(prepared, folder, journal, experiment.left_usd) as engine:
                await experiment.run(engine)
        finally:
            await journal.aclose()
            export(prepared.setup, folder, experiment)
        if experiment.ended == "complete" and not (told[-1].failed or told[-1].unjudged):
            # Nobody will ask for a reply again: every one is part of a record.
            folder.replies.unlink(missing_ok=True)
    finally:
        folder.close()
    return Evaluation(
        folder=out,
        ended=experiment.ended,
        progress=told[-1],
        settlement=experiment.settlement,
        cause=experiment.cause,
        is_fruitless=experiment.is_fruitless,
    )


@asynccontextmanager
async def _engine(
    prepared: Prepared, folder: RunDirectory, journal: Journal, left_usd: float | None
) -> AsyncIterator[Engine]:
    """The engine, its providers wrapped so that whole replies survive being killed."""
    settings, given = prepared.settings, prepared.providers
    replies = ReplyJournal(journal, folder.replies, read_journal(folder.replies))
    names = {reference.partition("/")[0] for reference in references(prepared.setup)}
    opened = {name: open_provider(settings.endpoints[name]) for name in names - given.keys()}
    kept = {name: ResumingProvider(provider, replies) for name, provider in {**given, **opened}.items()}
    try:
        async with Engine(settings=settings, providers=kept, budget_usd=left_usd) as engine:
            yield engine
    finally:
        for provider in opened.values():
            await provider.aclose()


def export(setup: EvaluationConfig, folder: RunDirectory, experiment: Experiment) -> None:
    """Write outputs and annotations as AlpacaEval's files have them, in the prompts' order; and what is settled."""
    folder.write_settlement(experiment.settlement)
    for system in setup.systems:
        records = experiment.records[system.name]
        outputs = [output_of(records[one.index], one) for one in setup.instructions if one.index in records]
        folder.write_outputs(system.name, outputs)
    if setup.judge is None or setup.opponent is None:
        return
    theirs = experiment.records[setup.opponent.name]
    for system in setup.judged:
        rows, mine = experiment.rows[system.name], experiment.records[system.name]
        annotations = []
        for one in setup.instructions:
            if one.index in rows:
                annotations.append(annotation(rows[one.index]))
            elif one.index in mine and one.index in theirs:
                ours, other = mine[one.index], theirs[one.index]
                if not (ours.has_output and other.has_output):
                    annotations.append(unjudged(ours, other, one, setup.judge))
        write_json(folder.annotations(system.name), annotations)
