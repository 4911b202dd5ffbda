"""A batch: one mixture answers every row of a file, several at the same time; each answer is recorded on completion."""

import asyncio
import hashlib
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import IO, Any, TypedDict, Unpack

from moa._config.settings import load_settings
from moa._messages import Message
from moa._mixture.loading import load
from moa._mixture.schema import Mixture
from moa._policies.cache.settings import CacheSettings
from moa._runtime.default_engine import in_background
from moa._runtime.engine import Engine, MixtureLike
from moa._runtime.prompt_rows import DATASET_COLUMNS, PROMPT_COLUMNS, prompt_in
from moa._validation.file_errors import os_reason
from moa.batch._answers import COLUMNS, answered, failed
from moa.batch._half_price import WAVE, for_batch_jobs, jobs_folder, refuse_open_jobs
from moa.batch._journal import Journal, row_key
from moa.batch._rows import Row, format_of, json_line, json_rows, read_rows, write_rows
from moa.batch._storage import beside, fetched, is_remote, upload
from moa.errors import BudgetExceeded, EngineError, MoaError, OverBudget, UsageError

log = logging.getLogger(__name__)

AT_ONCE = 64
"""Default number of concurrent rows."""

REPLIES = ".replies.sqlite"
"""Ending of the file beside the answers that keeps replies until all rows are answered."""

HOPELESS = 10
"""The batch stops after this many failed runs without a single answer: the fault likely affects every row."""

MOST_NAMED = 10
"""Columns that an error names at most."""

FEW = 0.02
"""Answers of a wave of file jobs that are as good as none, as a share of its failures: some came ahead of the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProgress:
    """The progress of a batch.

    Attributes:
        done: Number of rows that were answered or have failed, including those of earlier starts.
        total: Number of all rows; None if unknown.
        failed: Number of rows of `done` without an answer.
        spent_usd: Cost of this start, in US dollars, as far as prices are known.
        unpriced: Whether the price of any call was unknown.
        elapsed_s: Seconds since the start.
        left_s: Estimated seconds for the rest, at the same speed; None if unknown.
        jobs: Number of batch jobs under way at the services.
        job_requests: Number of requests in these jobs.
        job_requests_done: Number of these requests that were processed, as far as the services say.
        done_before: Number of rows of `done` that earlier starts have dealt with.
    """

    done: int
    total: int | None
    failed: int
    spent_usd: Decimal
    unpriced: bool
    elapsed_s: float
    left_s: float | None
    jobs: int = 0
    job_requests: int = 0
    job_requests_done: int = 0
    done_before: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """The result of a batch.

    Attributes:
        progress: The progress at the end.
        stopped: Why it stopped early: `budget`, or a sentence; None if it was completed.
        answers: Path of the answers; None if it stopped before they were written.
        journal: Path of the journal, from which the next start resumes; None if the batch can't be resumed.
    """

    progress: BatchProgress
    stopped: str | None
    answers: str | None
    journal: Path | None


OnProgress = Callable[[BatchProgress], None]


class _Options(TypedDict, total=False):
    """What `arun` takes besides its files, its mixture and its engine."""

    seed: int | None
    system: str | None
    column: str | None
    at_once: int | None
    limit: int | None
    retry_failed: bool
    on_progress: OnProgress | None


def run(
    prompts: str | Path,
    mixture: MixtureLike,
    answers: str | Path,
    *,
    config: str | Path | None = None,
    budget_usd: float | Decimal | None = None,
    seed: int | None = None,
    system: str | None = None,
    column: str | None = None,
    at_once: int | None = None,
    limit: int | None = None,
    retry_failed: bool = False,
    on_progress: OnProgress | None = None,
    half_price: bool = False,
) -> BatchResult:
    """Answer every row of a file, from synchronous code; arguments and errors as in `arun`.

    With `half_price`, the calls go into file jobs of the services' batch APIs, which are written down beside the
    answers; this takes hours, and may be interrupted.
    """
    return in_background(
        answer_file(
            prompts,
            mixture,
            answers,
            config=config,
            budget_usd=budget_usd,
            half_price=half_price,
            seed=seed,
            system=system,
            column=column,
            at_once=at_once,
            limit=limit,
            retry_failed=retry_failed,
            on_progress=on_progress,
        )
    )


async def answer_file(
    prompts: str | Path,
    mixture: MixtureLike,
    answers: str | Path,
    *,
    config: str | Path | None,
    budget_usd: float | Decimal | None,
    half_price: bool,
    **options: Unpack[_Options],
) -> BatchResult:
    """Do what `run` does, from asynchronous code; arguments and errors as there.

    Until all rows are answered, replies are kept beside the answers, each for its row: what a killed batch has bought
    for rows in progress is not bought again. Where the settings name a cache, that one keeps them.
    """
    settings = load_settings(config)
    resumes = "-" not in (str(prompts), str(answers))
    folder, replies = None, beside(str(answers), REPLIES) if resumes else None
    cache = None
    if half_price:
        folder = jobs_folder(str(answers))
        if settings.cache.mode == "off" and replies is not None and replies.exists():
            cache = CacheSettings(path=replies, mode="read")  # what an earlier start has asked for at once
    elif replies is not None:
        refuse_open_jobs(jobs_folder(str(answers)))
        if settings.cache.mode == "off":
            cache = CacheSettings(path=replies)
    async with Engine(settings=settings, budget_usd=budget_usd, batch_jobs=folder, cache=cache) as engine:
        result = await arun(prompts, mixture, answers, engine=engine, **options)
    if replies is not None and result.stopped is None and not result.progress.failed:
        for ending in ("", "-wal", "-shm"):  # who only reads leaves SQLite's files beside it
            replies.with_name(replies.name + ending).unlink(missing_ok=True)
    return result


async def arun(
    prompts: str | Path,
    mixture: MixtureLike,
    answers: str | Path,
    *,
    engine: Engine,
    seed: int | None = None,
    system: str | None = None,
    column: str | None = None,
    at_once: int | None = None,
    limit: int | None = None,
    retry_failed: bool = False,
    on_progress: OnProgress | None = None,
) -> BatchResult:
    """Answer every row of a file with a mixture, and write the rows with their answers in the same order.

    Every answer is written to a journal beside the answers before it counts: after a kill, the same call resumes there.
    Memory grows by 16 bytes per row.

    Args:
        prompts: A `.jsonl`, `.csv` or `.parquet` file, `s3://BUCKET/KEY` of one, or `-` for JSON Lines on standard
            input. The prompt of a row is in `prompt`, `instruction` or `messages`.
        mixture: A `Mixture`, a preset's name, a file's path, a model reference's mixture, or a mapping.
        answers: Target of the answers, of the same kinds; `-` is standard output, in the order of completion. A batch
            with standard input or output can't be resumed.
        engine: Runs the mixture; its budget applies to the whole batch. With `batch_jobs`, rows are answered in waves,
            at half the price; hedging, grace times and deadlines don't apply then.
        seed: Makes each row's run repeatable where services support seeds.
        system: A system message to prepend to each conversation.
        column: Name of the column with the prompt, if it is another one.
        at_once: Maximum number of concurrent rows, by default 64; with batch jobs, the rows of a wave, by default
            20,000: each wave takes as much of a budget, and of memory, as all of its rows at once.
        limit: Number of rows to answer, from the first one; None for all.
        retry_failed: Whether to retry rows that failed in an earlier start.
        on_progress: Called after each row.

    Raises:
        MixtureError, ConfigError: The mixture or an endpoint can't be used; no call was made.
        UsageError: A file or an argument can't be used; the journal contains the answers so far.
        StateUnavailable: Shared budgets can't be checked; the same call resumes when they can.
    """
    if (at_once is not None and at_once < 1) or (limit is not None and limit < 1):
        raise UsageError("at_once and limit are numbers from 1")
    checked = original = load(mixture)
    if engine.batch_jobs is not None:
        checked, notes = for_batch_jobs(original, engine.settings)
        for note in notes:
            log.warning("%s", note)
    at_once = at_once or (AT_ONCE if engine.batch_jobs is None else WAVE)
    # Report an unusable mixture, endpoint or budget once, here, and not for every row.
    await engine.aforecast(checked, "a prompt")
    batch = _Batch(engine, checked, original, seed=seed, system=system, column=column, on_progress=on_progress)
    if "-" in (str(prompts), str(answers)):
        if engine.batch_jobs is not None:
            raise UsageError("half the price needs files for the prompts and the answers: it can be resumed only there")
        return await batch.pipe(str(prompts), str(answers), at_once=at_once, limit=limit)
    if engine.batch_jobs is None:
        refuse_open_jobs(jobs_folder(str(answers)))
    with fetched(str(prompts)) as source:
        target = Path(str(answers).rpartition("/")[2]) if is_remote(str(answers)) else Path(answers)
        result = await batch.fill(source, target, at_once=at_once, limit=limit, retry_failed=retry_failed)
    if result.stopped is None and not result.progress.failed:
        engine.remove_batch_jobs()
    if result.answers is not None and is_remote(str(answers)):
        await asyncio.to_thread(upload, target, str(answers))
        result = replace(result, answers=str(answers))
    return result


class _Batch:
    """A running batch."""

    def __init__(
        self,
        engine: Engine,
        mixture: Mixture,
        original: Mixture,
        *,
        seed: int | None,
        system: str | None,
        column: str | None,
        on_progress: OnProgress | None,
    ) -> None:
        self._engine, self._mixture, self._original = engine, mixture, original
        self._seed, self._system, self._column = seed, system, column
        self._on_progress = on_progress or (lambda progress: None)
        self._done = self._failed = self._asked = self._good = self._failed_runs = 0
        self._last_failure: EngineError | None = None
        self._total: int | None = None
        self._spent, self._unpriced = Decimal(0), False
        self._started_at = time.monotonic()
        self._stopped: str | None = None
        self._jobs = (0, 0, 0)
        # What keeps replies for this batch alone keeps them row by row: equal prompts get replies of their own.
        self._has_own_replies = (
            engine.batch_jobs is not None if engine.cache.mode == "off" else engine.cache.path.name.endswith(REPLIES)
        )
        engine.watch_batch_jobs(self._note_jobs)

    @property
    def progress(self) -> BatchProgress:
        """Return the progress so far."""
        elapsed_s = time.monotonic() - self._started_at
        left = None if self._total is None or not self._asked else elapsed_s / self._asked * (self._total - self._done)
        return BatchProgress(
            done=self._done,
            total=self._total,
            failed=self._failed,
            spent_usd=self._spent,
            unpriced=self._unpriced,
            elapsed_s=elapsed_s,
            left_s=left,
            jobs=self._jobs[0],
            job_requests=self._jobs[1],
            job_requests_done=self._jobs[2],
            done_before=self._done - self._asked,
        )

    def _note_jobs(self, *jobs: int) -> None:
        if jobs != self._jobs:
            self._jobs = jobs[0], jobs[1], jobs[2]
            self._on_progress(self.progress)

    async def fill(
        self, source: Path, target: Path, *, at_once: int, limit: int | None, retry_failed: bool
    ) -> BatchResult:
        """Answer the rows of a file, resuming from its journal, and write the answers."""
        path = target.with_name(f"{target.name}.journal")
        rows, columns = await asyncio.to_thread(_check_rows, source, target, path, self._column)
        self._total = rows if limit is None else min(rows, limit)
        at_once = min(at_once, self._total)  # a wave has room for 20,000
        journal = Journal(path, self._identity(), retries_failed=retry_failed)
        try:
            missing = self._missing(islice(read_rows(source), limit), journal)
            # A wave ends before the next one begins, so that the requests of its layers come together.
            waves = iter([missing]) if self._engine.batch_jobs is None else _waves(missing, at_once)
            for wave in waves:
                self._good = self._failed_runs = 0
                await self._answer(wave, at_once, lambda *done: journal.add(*done))
                if self._stopped is None:
                    # Not sooner: rows fail in the first layer hours before any is answered by the last.
                    self._stop_if_hopeless(FEW)
            if self._stopped is None:
                await asyncio.to_thread(_write, source, target, journal, limit, columns)
        finally:
            journal.close()
        written = None if self._stopped else str(target)
        return BatchResult(progress=self.progress, stopped=self._stopped, answers=written, journal=path)

    async def pipe(self, source: str, target: str, *, at_once: int, limit: int | None) -> BatchResult:
        """Answer rows as they arrive, and write each one on completion."""
        if source != "-" and is_remote(source):
            raise UsageError(f"{source}: with -o - give a file of this machine, or standard input")
        rows = json_rows(sys.stdin.buffer) if source == "-" else read_rows(Path(source))
        columns: dict[int, Mapping[str, Any]] = {}

        def remember() -> Iterator[tuple[Row, int]]:
            for row in islice(rows, limit):
                columns[row.number] = row.columns
                yield row, 0

        with _opened(target) as out:

            def write(number: int, key: int, answer: Mapping[str, Any]) -> None:
                out.write(json_line({**columns.pop(number), **answer}))
                out.flush()

            # Read in a thread, as standard input may block between two rows.
            await self._answer(remember(), at_once, write, in_thread=source == "-")
        return BatchResult(progress=self.progress, stopped=self._stopped, answers=target, journal=None)

    def _identity(self) -> Mapping[str, Any]:
        what = f"{self._original.model_dump_json()}\n{self._system}\n{self._column}"
        return {"mixture": hashlib.sha256(what.encode("utf-8", "surrogatepass")).hexdigest(), "seed": self._seed}

    def _missing(self, rows: Iterable[Row], journal: Journal) -> Iterator[tuple[Row, int]]:
        self._failed = journal.failed
        for row in rows:
            key = row_key(row.fault or self._prompt(row))
            if journal.has(row.number, key):
                self._done += 1
            else:
                yield row, key

    def _prompt(self, row: Row) -> str | tuple[Message, ...] | UsageError:
        if row.fault is not None:
            return UsageError(row.fault)
        try:
            return prompt_in(row.columns, self._column)
        except UsageError as error:
            return error

    async def _answer(
        self,
        rows: Iterator[tuple[Row, int]],
        at_once: int,
        write: Callable[[int, int, Mapping[str, Any]], None],
        *,
        in_thread: bool = False,
    ) -> None:
        """Answer rows with bounded concurrency; an answer is written before another row is started in its place."""
        turn = asyncio.Lock()

        async def take() -> tuple[Row, int] | None:
            if not in_thread:
                return next(rows, None)
            async with turn:
                return await asyncio.to_thread(next, rows, None)

        async def work() -> None:
            while self._stopped is None and (taken := await take()) is not None:
                row, key = taken
                answer = await self._ask(row)
                if answer is None:
                    return
                write(row.number, key, answer)
                self._on_progress(self.progress)

        workers = [asyncio.ensure_future(work()) for _ in range(at_once)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _ask(self, row: Row) -> Mapping[str, Any] | None:
        """Return the columns of a row's answer, or of its failure; None if the budget was used up."""
        prompt = self._prompt(row)
        try:
            if isinstance(prompt, UsageError):
                raise prompt
            scope = str(row.number) if self._has_own_replies else ""
            answer = await self._engine.arun(
                self._mixture, prompt, seed=self._seed, system=self._system, cache_scope=scope
            )
        except OverBudget as error:
            if self._mixture.budget_usd is not None and not self._has_budget:
                return self._note_failure(error)
            self._stopped = "budget"
            return None
        except (EngineError, UsageError) as error:
            if self._has_budget and any(isinstance(cause, BudgetExceeded) for cause in getattr(error, "failures", ())):
                self._stopped = "budget"
                return None
            return self._note_failure(error)
        self._good += 1
        self._asked += 1
        self._note(answer.cost_usd, answer.ledger.spend.priced_usd)
        return answered(answer)

    @property
    def _has_budget(self) -> bool:
        return self._engine.budget is not None or bool(self._engine.settings.budgets)

    def _note_failure(self, error: MoaError) -> Mapping[str, Any]:
        self._failed += 1
        if isinstance(error, EngineError):
            self._asked += 1
            self._note(error.ledger.spend.cost_usd, error.ledger.spend.priced_usd)
            self._failed_runs, self._last_failure = self._failed_runs + 1, error
            if self._engine.batch_jobs is None:
                self._stop_if_hopeless()
        else:
            self._note(Decimal(0), Decimal(0))
        return failed(error)

    def _stop_if_hopeless(self, most_good: float = 0) -> None:
        if self._failed_runs >= HOPELESS and self._good <= most_good * self._failed_runs:
            answered = f"{self._good} answered" if self._good else "none was answered"
            self._stopped = (
                f"{self._failed_runs} rows failed and {answered}, so the batch stopped: {self._last_failure}"
            )

    def _note(self, cost_usd: Decimal | None, priced_usd: Decimal) -> None:
        self._done += 1
        self._spent += priced_usd
        self._unpriced |= cost_usd is None


def _waves(rows: Iterator[tuple[Row, int]], size: int) -> Iterator[Iterator[tuple[Row, int]]]:
    while wave := list(islice(rows, size)):
        yield iter(wave)


def _check_rows(source: Path, target: Path, journal: Path, column: str | None) -> tuple[int, list[str]]:
    """Check that the answers can be written, and return the number of rows and the names of all columns."""
    format_of(target)
    if source.resolve() == target.resolve():
        raise UsageError(f"{target}: the answers would overwrite the prompts: give another file")
    if target.exists() and not journal.exists():
        raise UsageError(f"{target} exists already: give another file with -o, or remove it")
    rows = 0
    columns: dict[str, None] = {}
    for rows, row in enumerate(read_rows(source), 1):
        columns.update(dict.fromkeys(row.columns))
        if not columns.keys().isdisjoint(COLUMNS):
            taken = next(name for name in COLUMNS if name in columns)
            raise UsageError(f"row {rows} of {source} has a column {taken!r}, where the answer would go: rename it")
    wanted = PROMPT_COLUMNS if column is None else (column,)
    known = wanted if column else (*PROMPT_COLUMNS, *DATASET_COLUMNS)
    if columns and columns.keys().isdisjoint(known):
        raise UsageError(
            f"{source} has no column {' or '.join(wanted)}; it has {', '.join(map(repr, [*columns][:MOST_NAMED]))}: "
            "name the one with the prompt by --column"
        )
    return rows, [*columns, *COLUMNS]


@contextmanager
def _opened(target: str) -> Iterator[IO[bytes]]:
    if target == "-":
        yield sys.stdout.buffer
        return
    if is_remote(target) or format_of(Path(target)) != ".jsonl":
        raise UsageError(f"{target}: prompts from standard input need a target that ends in .jsonl")
    try:
        with Path(target).open("xb") as file:
            yield file
    except OSError as error:
        raise UsageError(f"{target}: {os_reason(error)}: give another file with -o") from error


def _write(source: Path, target: Path, journal: Journal, limit: int | None, columns: Sequence[str]) -> None:
    try:
        with write_rows(target, columns, source=source, added=COLUMNS) as write:
            for row in islice(read_rows(source), limit):
                answer = journal.get(row.number)
                if answer is None:
                    raise UsageError(f"row {row.number + 1} of {source} was added while the batch ran: run it again")
                write({**row.columns, **answer})
    except (OSError, ValueError) as error:
        raise UsageError(f"{target}: {error}; all answers are in {journal.path}") from error
