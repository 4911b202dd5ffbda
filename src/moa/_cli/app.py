"""The command line of `moa`: registers its commands."""

from typing import Annotated

import typer

from moa._cli.commands.ask import ask
from moa._cli.commands.batch import batch
from moa._cli.commands.cache import cache
from moa._cli.commands.chat import chat
from moa._cli.commands.doctor import doctor
from moa._cli.commands.eval import evaluation
from moa._cli.commands.mixtures import mixtures
from moa._cli.commands.models import models
from moa._cli.commands.serve import serve
from moa._cli.commands.trace import trace

# Help stays plain: with rich, typer alone takes longer than `moa --help` may.
app = typer.Typer(name="moa", no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
app.command()(ask)
app.command()(chat)
app.command()(batch)
app.add_typer(mixtures)
app.command()(serve)
app.command()(doctor)
app.command()(models)
app.add_typer(evaluation)
app.add_typer(cache)
app.add_typer(trace)


def _show_whole_summaries(commands: typer.Typer) -> None:
    """Show the first paragraph of each command's help in lists: Typer would cut sentences off."""
    for command in commands.registered_commands:
        summary, *_ = (command.callback.__doc__ or "").split("\n\n") if command.callback else ("",)
        command.short_help = command.short_help or " ".join(summary.split()) or None
    for group in commands.registered_groups:
        if group.typer_instance:
            _show_whole_summaries(group.typer_instance)


_show_whole_summaries(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        # Imported here: its e-mail parser takes a tenth of the time budget of `moa --help`.
        from importlib.metadata import version

        print(f"moa {version('mixture-of-agents')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Run, evaluate and serve mixtures of language models."""
