"""`moa trace`: a recorded run as a picture, and once more."""

from pathlib import Path
from typing import Annotated

import typer

from moa._cli.exit_codes import COMPLETE, FAILED

trace = typer.Typer(name="trace", no_args_is_help=True, help="Show and replay runs that `moa ask --trace` recorded.")

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="What `moa ask --trace FILE` has written.")]


@trace.command()
def show(
    file: FileArgument,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="OUT", help="Write one self-contained HTML page instead.")
    ] = None,
) -> None:
    """Show a recorded run as a waterfall: how long each attempt waited, thought and wrote.

    A trace that breaks off, because its run crashed, is shown as far as it goes.
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
    """Run a recorded run again, without network, and say whether the same comes out.

    The models say what they said then, at the same moments, but no time passes. Exits with 1 if something comes out
    differently; a failed run that fails for the same reasons is the same.
    """
    from moa._cli.handlers.trace import show_replay
    from moa._traces.replaying import replay as run_again

    raise typer.Exit(COMPLETE if show_replay(run_again(file)) else FAILED)
