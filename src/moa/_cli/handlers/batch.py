"""Handler of `moa batch`."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from moa._cli.commands.batch import BatchOptions
from moa._cli.console import draw, err_console, err_symbols, say
from moa._cli.exit_codes import COMPLETE, FAILED, INTERRUPTED, STOPPED
from moa._cli.mixture_option import mixture_of
from moa._config.settings import load_settings
from moa._mixture.schema import Mixture
from moa._render.format import count, seconds, usd
from moa._render.sanitize import safe
from moa._runtime.engine import Engine
from moa._runtime.gc_tuning import reduced_gc
from moa.batch._half_price import for_batch_jobs, job_states, jobs_folder
from moa.batch._plan import BatchPlan, plan_batch
from moa.batch._runner import BatchProgress, BatchResult, answer_file

LINE_EVERY_S = 10.0
"""Seconds between two lines where there is no terminal."""


def run_batch(prompts: str, output: str, given: BatchOptions) -> int:
    """Answer all rows, show how it goes, and return the exit code.

    Raises:
        MoaError: A file, the mixture or an endpoint can't be used.
    """
    mixture = mixture_of(given)
    last: BatchProgress | None = None

    async def work(show: Callable[[BatchProgress], None]) -> BatchResult:
        def note(progress: BatchProgress) -> None:
            nonlocal last
            last = progress
            show(progress)

        return await answer_file(
            prompts,
            mixture,
            output,
            config=given["config"],
            budget_usd=given["budget"],
            half_price=given["half_price"],
            seed=given["seed"],
            system=given["system"],
            column=given["column"],
            at_once=given["at_once"],
            limit=given["limit"],
            retry_failed=given["retry_failed"],
            on_progress=note,
        )

    try:
        with reduced_gc(), _watching() as show:
            result = asyncio.run(work(show))
    except KeyboardInterrupt:
        done = f" with {count(last.done, 'row')} done" if last else ""
        say(f"stopped by Ctrl-C{done}; the same command goes on from there")
        if last and last.jobs:
            say(f"{count(last.jobs, 'batch job')} at the services not ended: see --status; --cancel ends them")
        return INTERRUPTED
    return _ended(result, mixture)


def show_jobs(output: str, config: Path | None, *, cancel: bool) -> int:
    """Show the batch jobs of a batch that are under way, ended first if that is wanted, and return the exit code.

    Raises:
        MoaError: The jobs or the settings can't be read.
    """
    jobs = asyncio.run(job_states(jobs_folder(output), load_settings(config), cancel=cancel))
    if not jobs:
        say(f"{output}: no batch jobs")
        return COMPLETE
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("job", "model", "requests", "processed", "created", "state"):
        table.add_column(heading, overflow="fold", justify="right" if heading in ("requests", "processed") else "left")
    for state in jobs:
        job = state.job
        table.add_row(
            safe(job.remote_id or job.token),
            safe(f"{job.endpoint}/{job.model}"),
            f"{job.requests:,}",
            "" if state.done is None else f"{state.done:,}",
            datetime.fromtimestamp(job.created_at).astimezone().strftime("%Y-%m-%d %H:%M"),
            safe(state.word),
        )
    draw(table)
    if cancel:
        say("the next start with --half-price collects what they have processed, and sends the rest again")
    return COMPLETE


def show_plan(prompts: str, given: BatchOptions) -> int:
    """Show what a batch would take as expected and at most, and return the exit code.

    Raises:
        MoaError: A file, the mixture or an endpoint can't be used.
    """
    mixture = mixture_of(given)

    async def work() -> BatchPlan:
        with ExitStack() as stack:
            folder = stack.enter_context(TemporaryDirectory(prefix="moa-")) if given["half_price"] else None
            async with Engine(given["config"], batch_jobs=folder) as engine:
                planned = mixture if folder is None else for_batch_jobs(mixture, engine.settings)[0]
                return await plan_batch(
                    prompts,
                    planned,
                    engine=engine,
                    column=given["column"],
                    limit=given["limit"],
                    at_once=given["at_once"],
                )

    plan = asyncio.run(work())
    say(f"{count(plan.rows, 'row')} with {mixture.name}: {plan.calls:,} calls")
    expected = "of unknown price" if plan.expected_usd is None else f"about {usd(plan.expected_usd)}"
    saved = f" ({usd(plan.saved_usd)} saved by prompt caches)" if plan.saved_usd else ""
    took = "" if plan.seconds is None else f", about {seconds(plan.seconds)}"
    basis = "earlier replies of the same kind" if plan.is_measured else "assumed lengths and speeds of replies"
    say(f"expected: {expected}{saved}{took}, by {basis}")
    if plan.worst_usd is None:
        say("what they cost at most is unknown: a model has no known price or no `max_tokens`")
    else:
        say(f"at most {usd(plan.worst_usd)}, if every reply used up its `max_tokens`; usually much less")
    if not plan.is_measured:
        say("to measure instead: the same command with --limit 20, then --plan again")
    return COMPLETE


def _ended(result: BatchResult, mixture: Mixture) -> int:
    progress = result.progress
    answered = progress.done - progress.failed
    say(f"{count(answered, 'row')} answered by {mixture.name}; {_text(replace(progress, jobs=0))}")
    if progress.failed and result.journal is not None:
        say(f"{count(progress.failed, 'row')} failed: the cause is in answer_error; --retry-failed tries them again")
    if result.stopped == "budget":
        say(f"the budget is used up; the same command goes on from {result.journal or 'the next row'}")
        return STOPPED
    if result.stopped is not None:
        say(result.stopped)
        return FAILED
    if result.answers not in (None, "-"):
        say(f"answers: {result.answers}")
    return COMPLETE


@contextmanager
def _watching() -> Iterator[Callable[[BatchProgress], None]]:
    """Yield what shows each step on standard error."""
    console = err_console()
    if not console.is_terminal:
        yield _Lines().show
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}"))
    with Progress(*columns, console=console) as bars:
        task = bars.add_task("rows", total=None, text="")
        yield lambda progress: bars.update(task, completed=progress.done, total=progress.total, text=_text(progress))


class _Lines:
    """A line at the beginning and then every few seconds."""

    def __init__(self) -> None:
        self._next_at = 0.0

    def show(self, progress: BatchProgress) -> None:
        """Print a line if it is time for one."""
        if progress.elapsed_s >= self._next_at:
            self._next_at = progress.elapsed_s + LINE_EVERY_S
            of = "" if progress.total is None else f" of {progress.total:,}"
            say(f"{progress.done:,}{of} rows {err_symbols().dot} {_text(progress)}")


def _text(progress: BatchProgress) -> str:
    jobs = ""
    if progress.jobs:
        jobs = f"{count(progress.jobs, 'job')}: {progress.job_requests_done:,} of {progress.job_requests:,} requests"
    parts = [*([jobs] if jobs else []), f"{usd(progress.spent_usd)}{' + unknown prices' if progress.unpriced else ''}"]
    if progress.failed:
        parts.append(count(progress.failed, "failure"))
    if progress.left_s:
        parts.append(f"{seconds(progress.left_s)} left")
    else:
        parts.append(seconds(progress.elapsed_s))
    here = "this start: " if progress.done_before else ""
    return here + f" {err_symbols().dot} ".join(parts)
