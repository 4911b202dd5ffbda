"""`moa doctor`: which endpoints are ready, and what the others need."""

from typing import Annotated

import typer

from moa._cli.exit_codes import COMPLETE, FAILED
from moa._cli.options import ConfigOption, MixtureOption


def doctor(
    mixture: MixtureOption = None,
    offline: Annotated[bool, typer.Option("--offline", help="Open no connection.")] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Forget what services were found to refuse; it is then tried again.")
    ] = False,
    ask: Annotated[
        bool, typer.Option("--ask", help="Also ask each model of the mixture one tiny question, which costs money.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Check the keys, packages and reachability of every endpoint, and print the command that fixes what is missing.

    Only endpoints that have their key, or need none, are contacted. Lists too what services were found to refuse for
    some models, and is therefore left out of requests, and warns of models that are retired or will be. Exits with 1
    if the mixture can't run, or with --ask if one of its models doesn't answer.
    """
    import asyncio

    from moa._cli.console import draw, say
    from moa._cli.handlers.doctor import ask_each, health_table, lesson_lines, say_verdict
    from moa._cli.mixture_option import resolve_mixture
    from moa._config.settings import load_settings
    from moa._policies.profile_store import ProfileStore
    from moa._runtime.health import check_endpoints, connect_tcp, obstacles
    from moa._runtime.model_lists import lifecycle_notes

    chosen = resolve_mixture(mixture, None, config=config)
    settings = load_settings(config)
    store = ProfileStore(settings.profiles)
    if forget:
        say(f"forgot {store.forget()} refusals")
    healths = asyncio.run(check_endpoints(settings, connect=None if offline else connect_tcp))
    draw(health_table(healths))
    if lessons := store.lessons():
        draw("\n".join(lesson_lines(lessons)))
    problems = obstacles(chosen, healths)
    if not offline:
        notes = asyncio.run(lifecycle_notes(chosen.references, settings))
        say((f"warning: {note}" for note in notes), style="yellow")
    say_verdict(settings.source, chosen.name, problems)
    if ask and not problems:
        raise typer.Exit(ask_each(chosen, settings))
    raise typer.Exit(FAILED if problems else COMPLETE)
