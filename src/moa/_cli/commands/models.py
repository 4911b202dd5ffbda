"""`moa models`: what endpoints list, with prices, windows and lifecycles."""

from typing import Annotated

import typer

from moa._cli.exit_codes import COMPLETE, FAILED
from moa._cli.options import ConfigOption


def models(
    endpoint: Annotated[
        list[str] | None, typer.Argument(metavar="[ENDPOINT]...", help="Endpoints; default: all that can be asked.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ask again: a list is remembered for a day.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config: ConfigOption = None,
) -> None:
    """List the models that endpoints offer: price, context window, and whether they are retired or will be.

    Prices are US dollars per million tokens, from the endpoint's own prices or the installed table. Examples:

        moa models bedrock

        moa models openai --json

    Exits with 1 if an endpoint that is named can't be asked.
    """
    import asyncio

    from moa._cli.handlers.models import show_models
    from moa._config.settings import load_settings
    from moa._runtime.model_lists import model_lists
    from moa.errors import UsageError

    settings = load_settings(config)
    for name in endpoint or ():
        if name not in settings.endpoints:
            raise UsageError(f"there is no endpoint {name!r}. Known are {', '.join(settings.endpoints)}")
    # What was in the way may have been set right since.
    lists = asyncio.run(model_lists(settings, endpoint or settings.endpoints, fresh=fresh, retry_s=0))
    show_models(lists, settings, named=bool(endpoint), as_json=as_json)
    raise typer.Exit(FAILED if endpoint and any(one.failure for one in lists) else COMPLETE)
