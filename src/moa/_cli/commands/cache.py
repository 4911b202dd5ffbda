"""`moa cache`: statistics, export, import and removal of cached replies."""

from pathlib import Path
from typing import Annotated

import typer

from moa._cli.options import ConfigOption

cache = typer.Typer(name="cache", no_args_is_help=True, help="Inspect, export, import and clear the cache of replies.")

PathOption = Annotated[
    Path | None, typer.Option("--path", metavar="FILE", help="Cache file; default: the one in moa.yaml.")
]


@cache.command()
def stats(path: PathOption = None, config: ConfigOption = None) -> None:
    """Show where the cache is, how large it is, and how many replies of each model it holds."""
    from moa._cli.console import draw
    from moa._cli.handlers.cache import open_cache
    from moa._render.caches import cache_table

    with open_cache(path, config, mode="read") as (settings, store):
        draw(cache_table(settings, store.stats()))


@cache.command("export")
def export_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write, as JSON Lines.")],
    path: PathOption = None,
    config: ConfigOption = None,
) -> None:
    """Export all replies to a file. It contains hashes of the prompts, not the prompts."""
    from moa._cli.console import say
    from moa._cli.handlers.cache import open_cache
    from moa._policies.cache.import_export import write_entries

    with open_cache(path, config, mode="read") as (settings, store):
        say(f"written to {file}: {write_entries(store, file):,} of {settings.path}")


@cache.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File written by `moa cache export`.")],
    path: PathOption = None,
    config: ConfigOption = None,
) -> None:
    """Import the replies of a file; existing ones are not replaced."""
    from moa._cli.console import say
    from moa._cli.handlers.cache import open_cache
    from moa._policies.cache.import_export import read_entries

    with open_cache(path, config, mode="read_write") as (settings, store):
        added, held = read_entries(store, file)
    say(f"added to {settings.path}: {added:,} of {held:,}")


@cache.command()
def clear(path: PathOption = None, config: ConfigOption = None) -> None:
    """Remove all replies."""
    from moa._cli.console import say
    from moa._cli.handlers.cache import open_cache

    with open_cache(path, config, mode="read_write") as (settings, store):
        say(f"removed from {settings.path}: {store.clear():,}")
