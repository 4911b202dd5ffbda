"""`moa chat`: a conversation with a mixture."""

import typer

from moa._cli.options import (
    BudgetOption,
    ConfigOption,
    DeadlineOption,
    MixtureOption,
    ModelOption,
    SeedOption,
    SetOption,
    SystemOption,
    TierOption,
)


def chat(
    mixture: MixtureOption = None,
    model: ModelOption = None,
    system: SystemOption = None,
    overrides: SetOption = None,
    deadline: DeadlineOption = None,
    budget: BudgetOption = None,
    seed: SeedOption = None,
    tier: TierOption = None,
    config: ConfigOption = None,
) -> None:
    """Chat with a mixture of models.

    Every line is a turn; /help lists the commands. Ctrl-C stops an answer, Ctrl-D quits. Turns can also be piped
    in, one per line; the exit code is then that of the first failure, if any.
    """
    # Imported here: they load aiohttp and pydantic, which `moa --help` must not wait for.
    from moa._cli.handlers.chat import ChatSession, chat_loop
    from moa._cli.mixture_option import resolve_mixture

    chosen = resolve_mixture(mixture, model, overrides or (), config=config, tier=tier.value if tier else None)
    session = ChatSession(mixture=chosen, system=system, deadline_s=deadline, budget_usd=budget, seed=seed)
    raise typer.Exit(chat_loop(session, config))
