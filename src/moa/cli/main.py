"""The command `moa`: the outermost door, also for Ctrl-C while the command line is still being loaded."""

import sys
from collections.abc import Sequence
from io import TextIOWrapper


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; an expected error becomes one clear message and an exit code.

    Args:
        arguments: In place of those of the process.
    """
    try:
        _let_streams_take_any_character()
        _run(arguments)
    except KeyboardInterrupt:
        from moa.cli.exits import INTERRUPTED

        sys.exit(INTERRUPTED)


def _let_streams_take_any_character() -> None:
    # What an encoding lacks is written as an escape; by default it would be a crash.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run(arguments: Sequence[str] | None) -> None:
    # Imported here, inside of the door: until typer is loaded, half a second may pass.
    from moa.cli.app import app
    from moa.cli.exits import exit_code
    from moa.errors import MoaError

    try:
        app(arguments, prog_name="moa")
    except MoaError as error:
        # Imported here, as only errors need it: it loads rich.
        from moa.cli.terminal import show_error

        show_error(error)
        sys.exit(exit_code(type(error)))
