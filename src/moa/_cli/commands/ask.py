"""`moa ask`: one prompt, one answer."""

from pathlib import Path
from typing import Annotated

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


def ask(
    prompt: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT", help="The prompt; - or none at all reads standard input."),
    ] = None,
    mixture: MixtureOption = None,
    model: ModelOption = None,
    system: SystemOption = None,
    image: Annotated[
        list[Path] | None, typer.Option("--image", metavar="FILE", help="PNG, JPEG, GIF or WebP; repeatable.")
    ] = None,
    overrides: SetOption = None,
    deadline: DeadlineOption = None,
    budget: BudgetOption = None,
    seed: SeedOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object: answer, proposals, calls, latency and cost.")
    ] = False,
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Print the answer once it is complete.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 if the answer is degraded.")] = False,
    trace: Annotated[
        Path | None, typer.Option("--trace", metavar="FILE", help="Record the run in a file; see `moa trace`.")
    ] = None,
    tier: TierOption = None,
    config: ConfigOption = None,
) -> None:
    """Ask a mixture of models and print its answer.

    The answer goes to standard output, everything else to standard error. Examples:

        moa ask "What are 3 fun things to do in San Francisco?"

        git diff | moa ask "Review this change:" -

        moa ask --model ollama/llama3.2 --image chart.png "What does it show?"

    Exit codes: 0 an answer, 1 failed, 2 usage or mixture file, 3 degraded with --strict, 130 cancelled by Ctrl-C.
    """
    # Imported here: they load aiohttp and pydantic, which `moa --help` must not wait for.
    from moa._cli.handlers.ask import AskOptions, run_ask

    options = AskOptions(
        words=tuple(prompt or ()),
        mixture=mixture,
        model=model,
        system=system,
        images=tuple(image or ()),
        overrides=tuple(overrides or ()),
        deadline_s=deadline,
        budget_usd=budget,
        seed=seed,
        trace=trace,
        tier=tier.value if tier else None,
        config=config,
    )
    raise typer.Exit(run_ask(options, as_json=as_json, stream=not no_stream, strict=strict))
