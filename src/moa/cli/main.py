"""The command `moa`: registers its commands, and is the outermost door for their errors."""

import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Annotated

import typer

from moa.cli.ask import ask
from moa.cli.cache import cache
from moa.cli.chat import chat
from moa.cli.doctor import doctor
from moa.cli.evaluate import evaluation
from moa.cli.exits import INTERRUPTED, exit_code
from moa.cli.mixtures import mixtures
from moa.cli.serve import serve
from moa.cli.trace import trace
from moa.errors import MoaError

# Help stays plain: with rich, typer alone takes longer than `moa --help` may.
app = typer.Typer(name="moa", no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
app.command()(ask)
app.command()(chat)
app.add_typer(mixtures)
app.command()(serve)
app.command()(doctor)
app.add_typer(evaluation)
app.add_typer(cache)
app.add_typer(trace)


def _print_version(wanted: bool) -> None:
    if wanted:
        # Imported here: with its e-mail parser it takes a tenth of what `moa --help` may.
        from importlib.metadata import version

        print(f"moa {version('mixture-of-agents')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Run mixtures of language models: several propose, one aggregates."""


def _let_streams_take_any_character() -> None:
    # What an encoding lacks is written as an escape; by default it would be a crash.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; an expected error becomes one clear message and an exit code.

    Args:
        arguments: In place of those of the process.
    """
    _let_streams_take_any_character()
    try:
        app(arguments, prog_name="moa")
    except MoaError as error:
        # Imported here, as only errors need it: it loads rich.
        from moa.cli.terminal import show_error

        show_error(error)
        sys.exit(exit_code(type(error)))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
