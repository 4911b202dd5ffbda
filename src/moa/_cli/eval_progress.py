"""Progress of an evaluation on standard error: bars on a terminal, a line every few seconds elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars

from moa._cli.console import err_console, err_symbols, say
from moa._render.format import count, seconds, usd
from moa.evaluation._runner.progress import Progress

LINE_EVERY_S = 10.0
"""Seconds between two lines where there is no terminal."""


@contextmanager
def watching() -> Iterator[Callable[[Progress], None]]:
    """Yield the function that shows each step."""
    console = err_console()
    if not console.is_terminal:
        yield _lines()
        return
    columns = (
        TextColumn("{task.description:>8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Bars(*columns, console=console, transient=False) as bars:
        answers, verdicts = bars.add_task("answers", text=""), bars.add_task("verdicts", text="", visible=False)

        def show(progress: Progress) -> None:
            text, total = progress_text(progress), progress.verdicts_total
            bars.update(answers, completed=progress.answers, total=progress.answers_total, text=text)
            bars.update(verdicts, completed=progress.verdicts, total=total, visible=total > 0)

        yield show


def _lines() -> Callable[[Progress], None]:
    """What prints a line at the beginning and then every few seconds."""
    next_at = 0.0

    def show(progress: Progress) -> None:
        nonlocal next_at
        if progress.elapsed_s < next_at:
            return
        next_at = progress.elapsed_s + LINE_EVERY_S
        parts = [f"{progress.answers:,} of {progress.answers_total:,} answers"]
        if progress.verdicts_total:
            parts.append(f"{progress.verdicts:,} of {progress.verdicts_total:,} verdicts")
        say(f"{', '.join(parts)}{_dot()}{progress_text(progress)}")

    return show


def progress_text(progress: Progress) -> str:
    """Return rate, dollars, failures and time left in one line."""
    parts = [f"{progress.steps_per_s:.1f}/s"] if progress.steps_per_s else []
    parts.append(" + ".join(money_parts(progress)))
    if progress.failed:
        parts.append(count(progress.failed, "failure"))
    if progress.left_s:
        parts.append(f"{seconds(progress.left_s)} left")
    return _dot().join(parts)


def money_parts(progress: Progress) -> list[str]:
    """Return what was spent, in words: for replies, for calls that broke off, at prices that nobody knows."""
    parts = [usd(Decimal(str(progress.spent_usd)) - Decimal(str(progress.lost_usd)))]
    if progress.lost_usd:
        parts.append(f"at most {usd(Decimal(str(progress.lost_usd)))} for calls that broke off")
    return [*parts, "unknown prices"] if progress.unpriced else parts


def _dot() -> str:
    return f" {err_symbols().dot} "
