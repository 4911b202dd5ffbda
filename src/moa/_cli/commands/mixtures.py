"""`moa mixtures`: lists presets, draws mixtures, checks and creates mixture files."""

from pathlib import Path
from typing import Annotated

import typer

from moa._cli.exit_codes import COMPLETE, USAGE
from moa._cli.options import ConfigOption, SetOption
from moa.errors import UsageError

mixtures = typer.Typer(name="mixtures", help="List, show, check and create mixtures.")

_DEFAULT_FILE = Path("mixture.yaml")


@mixtures.callback(invoke_without_command=True)
def _list_by_default(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_presets()


@mixtures.command("list")
def list_presets() -> None:
    """List the presets."""
    from moa._cli.console import draw
    from moa._mixture.loading import load, preset_names
    from moa._render.mixtures import mixture_list

    draw(mixture_list([load(name) for name in preset_names()]))


@mixtures.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="Preset or mixture file.")],
    overrides: SetOption = None,
) -> None:
    """Draw the layers of a mixture."""
    from moa._cli.console import draw
    from moa._mixture.loading import load
    from moa._render.mixtures import MixtureView

    draw(MixtureView(load(name, overrides=overrides or ())))


@mixtures.command()
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Mixture files.")],
    config: ConfigOption = None,
) -> None:
    """Check mixture files and list every fault; exit with 2 if one of them can't be used.

    Warns of models that their service has retired, or is going to: what it lists is remembered for a day.
    """
    import asyncio

    from moa._cli.console import out_console, say, show_error
    from moa._config.settings import load_settings
    from moa._mixture.loading import load_or_faults
    from moa._mixture.schema import Mixture
    from moa._render.mixtures import summary
    from moa._runtime.model_lists import lifecycle_notes

    code, settings = COMPLETE, load_settings(config)
    for file in files:
        found = load_or_faults(file)
        if isinstance(found, Mixture):
            out_console().print(f"{file}: {summary(found)}", soft_wrap=True)
            notes = asyncio.run(lifecycle_notes(found.references, settings))
            say((f"{file}: warning: {note}" for note in notes), style="yellow")
            continue
        code = USAGE
        for fault in found:
            show_error(fault)
    raise typer.Exit(code)


@mixtures.command()
def schema() -> None:
    """Print the JSON Schema of the mixture file, for editors."""
    from moa._cli.console import print_json
    from moa._mixture.loading import json_schema

    print_json(json_schema())


@mixtures.command()
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write.")] = _DEFAULT_FILE,
) -> None:
    """Write a commented mixture file to edit; an existing file is never overwritten."""
    from importlib.resources import files

    from moa._cli.console import say
    from moa._validation.file_errors import os_reason

    starter = files("moa._cli").joinpath("starter.yaml").read_text(encoding="utf-8")
    try:
        with file.open("x", encoding="utf-8") as target:
            target.write(starter)
    except FileExistsError as error:
        raise UsageError(f"{file} exists already: give another name") from error
    except OSError as error:
        raise UsageError(f"{file} can't be written: {os_reason(error)}") from error
    say(f'Wrote {file}. Try it: moa ask -m {file} "What are 3 fun things to do in San Francisco?"')
