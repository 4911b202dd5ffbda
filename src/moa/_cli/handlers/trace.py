"""Handlers of `moa trace`."""

from pathlib import Path

from rich.text import Text

from moa._cli.console import (
    draw,
    err_symbols,
    out_symbols,
    say,
    show_cancelled,
    show_error,
    show_totals,
    write_answer,
)
from moa._render.sanitize import one_line, safe
from moa._render.totals import ledger_line
from moa._render.waterfall import WaterfallView
from moa._traces.page import trace_page
from moa._traces.replaying import Replay
from moa._traces.trace import Trace
from moa._validation.file_errors import os_reason
from moa.errors import TraceError

_DIFFERENCE_LIMIT = 300
_ERROR_LIMIT = 600


def show_trace(trace: Trace) -> None:
    """Print a trace's waterfall, with how the run ended."""
    dot = out_symbols().dot
    seed = "" if trace.options.seed is None else f" {dot} seed {trace.options.seed}"
    draw(Text(f"{safe(trace.mixture.name)} {dot} {trace.recorded_at:%Y-%m-%d %H:%M} UTC{seed}", style="bold"))
    draw(WaterfallView(trace.ledger))
    if trace.outcome is None:
        draw(Text("the trace breaks off here: its run crashed, or is still running", style="red"))
    elif trace.outcome.kind == "error":
        message = one_line(trace.outcome.result["error"]["message"], limit=_ERROR_LIMIT)
        draw(Text(f"error: {message}", style="red"))
    elif trace.outcome.kind == "cancelled":
        draw(Text("the run was cancelled", style="yellow"))
    draw(Text(ledger_line(trace.ledger, out_symbols()), style="dim"))


def write_page(trace: Trace, path: Path) -> None:
    """Write a trace's page.

    Raises:
        TraceError: The file can't be written.
    """
    try:
        path.write_text(trace_page(trace), encoding="utf-8")
    except OSError as error:
        raise TraceError(f"the page can't be written: {os_reason(error)}", path=path) from error
    say(f"written to {path}")


def show_replay(replay: Replay) -> bool:
    """Print the result of a replay, and return whether it equals the recorded one."""
    if replay.answer is not None:
        write_answer(replay.answer.text)
        show_totals(replay.answer)
    elif replay.error is not None:
        show_error(replay.error)
    else:
        show_cancelled(replay.ledger)
    say((f"different: {one_line(line, limit=_DIFFERENCE_LIMIT)}" for line in replay.differences), style="yellow")
    if not replay.differences:
        compared = replay.trace.outcome is not None
        same = "no differences" if compared else "up to the last line of the trace, which breaks off"
        say(f"replayed {err_symbols().dot} {same}", style="dim")
    return not replay.differences
