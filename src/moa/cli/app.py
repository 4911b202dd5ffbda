"""The command line of `moa`: registers its commands."""

from typing import Annotated

import typer

from moa.cli.ask import ask
from moa.cli.cache import cache
from moa.cli.chat import chat
from moa.cli.doctor import doctor
from moa.cli.evaluate import evaluation
from moa.cli.mixtures import mixtures
from moa.cli.serve import serve
from moa.cli.trace import trace

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
