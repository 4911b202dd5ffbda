"""`moa cache`: what the cache holds, as figures and as a file, and how to empty it."""

from pathlib import Path
from typing import Annotated

import typer

from moa._cli.options import ConfigOption

cache = typer.Typer(name="cache", no_args_is_help=True, help="Look into, copy and clear the cache of replies.")

PathOption = Annotated[
    Path | None, typer.Option("--path", metavar="FILE", help="The cache; default: the one that moa.yaml names.")
]


@cache.command()
def stats(path: PathOption = None, config: ConfigOption = None) -> None:
    """Show where the cache is, how large it is, and how many replies of each model it holds."""
    from moa._cli.console import out_console
    from moa._cli.handlers.cache import open_cache
    from moa._render.caches import cache_table

    with open_cache(path, config, mode="read") as (settings, store):
        out_console().print(cache_table(settings, store.stats()))


@cache.command("export")
def export_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write them, as JSON Lines.")],
    path: PathOption = None,
    config: ConfigOption = None,
) -> None:
    """Write all replies to a file; prompts are not in it, only their hashes are."""
    from moa._cli.console import say
    from moa._cli.handlers.cache import open_cache
    from moa._policies.cache.import_export import write_entries

    with open_cache(path, config, mode="read") as (settings, store):
        say(f"written to {file}: {write_entries(store, file):,} of {settings.path}")


@cache.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `moa cache export` has written.")],
    path: PathOption = None,
    config: ConfigOption = None,
) -> None:
    """Add the replies of a file; those that the cache has already stay as they are."""
    from moa._cli.console import say
    from moa._cli.handlers.cache import open_cache
    from moa._policies.cache.import_export import read_entries

    with open_cache(path, config, mode="read_write") as (settings, store):
        added, held = read_entries(store, file)
    say(f"added to {settings.path}: {added:,} of {held:,}")


@cache.command()
def clear(path: PathOption = None, config: ConfigOption = None) -> None:
    """Forget all replies."""
    from moa._cli.console import say
    from moa._cli.handlers.cache import open_cache

    with open_cache(path, config, mode="read_write") as (settings, store):
        say(f"removed from {settings.path}: {store.clear():,}")
