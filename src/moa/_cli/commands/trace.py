"""`moa trace`: shows and replays recorded runs."""

from pathlib import Path
from typing import Annotated

import typer

from moa._cli.exit_codes import COMPLETE, FAILED

trace = typer.Typer(name="trace", no_args_is_help=True, help="Show and replay runs that `moa ask --trace` recorded.")

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="File written by `moa ask --trace`.")]


@trace.command()
def show(
    file: FileArgument,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="OUT", help="Write a self-contained HTML page instead.")
    ] = None,
) -> None:
    """Show a recorded run as a waterfall: how long each attempt queued, reasoned and wrote.

    The trace of a run that crashed is shown up to its last line.
    """
    from moa._cli.handlers.trace import show_trace, write_page
    from moa._traces.reading import read_trace

    recorded = read_trace(file)
    if html is None:
        show_trace(recorded)
    else:
        write_page(recorded, html)


@trace.command()
def replay(file: FileArgument) -> None:
    """Replay a recorded run without network and report the differences.

    The models give their recorded replies at the recorded times, but no time passes. Exit code 1: the result differs. A
    failed run that fails for the same reasons does not differ.
    """
    from moa._cli.handlers.trace import show_replay
    from moa._traces.replaying import replay as run_again

    raise typer.Exit(COMPLETE if show_replay(run_again(file)) else FAILED)
