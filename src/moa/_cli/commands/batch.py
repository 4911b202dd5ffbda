"""`moa batch`: many prompts, one mixture."""

from typing import Annotated

import typer

from moa._cli.options import ConfigOption, MixtureOption, ModelOption, SeedOption, SetOption, SystemOption, TierOption


def batch(
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="ANSWERS", help="Where the answers go; the same kinds of file.")
    ],
    prompts: Annotated[
        str | None,
        typer.Argument(metavar="PROMPTS", help="A .jsonl, .csv or .parquet file, s3://BUCKET/KEY, or -."),
    ] = None,
    mixture: MixtureOption = None,
    model: ModelOption = None,
    overrides: SetOption = None,
    system: SystemOption = None,
    column: Annotated[
        str | None,
        typer.Option(
            "--column", metavar="NAME", help="Column with the prompt, if not prompt, instruction or messages."
        ),
    ] = None,
    at_once: Annotated[
        int | None,
        typer.Option("--at-once", metavar="N", min=1, help="Rows under way at once: 64, or 20,000 with --half-price."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first so many rows.")
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option("--budget", min=0.000001, metavar="USD", help="US dollars for this start of the batch."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try rows again that failed in an earlier start.")
    ] = False,
    half_price: Annotated[
        bool,
        typer.Option("--half-price", help="Use the services' batch APIs: half the price, but it takes hours."),
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Show the jobs of --half-price that are under way, and do nothing else.")
    ] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="End the jobs of --half-price that are under way, and do nothing else.")
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Show what it would take at most, and buy nothing.")] = False,
    seed: SeedOption = None,
    tier: TierOption = None,
    config: ConfigOption = None,
) -> None:
    """Answer every row of a file with a mixture.

    The answers keep the order and the columns of the prompts. Each answer is on disk before it counts (in
    ANSWERS.journal), so that the same command goes on after a kill, Ctrl-C or a used-up budget, and buys nothing twice.

        moa batch prompts.jsonl -m mine.yaml -o answers.jsonl --budget 25

    With --half-price the calls go into file jobs of the services' batch APIs. The jobs outlive this command, which may
    be ended and started again at any time: the next start collects them.

        moa batch prompts.jsonl -m mine.yaml -o answers.jsonl --half-price
        moa batch -o answers.jsonl --status

    Exit codes: 0 all rows were tried, 1 the rest was not tried, 2 usage, 4 the budget is used up, 130 cancelled.
    """
    # Imported here: they load aiohttp and pydantic, which `moa --help` must not wait for.
    from moa._cli.handlers.batch import BatchOptions, run_batch, show_jobs, show_plan

    if status or cancel:
        raise typer.Exit(show_jobs(output, config, cancel=cancel))
    if prompts is None:
        raise typer.BadParameter("missing: a file of prompts, or -", param_hint="PROMPTS")
    options = BatchOptions(
        prompts=prompts,
        output=output,
        mixture=mixture,
        model=model,
        overrides=tuple(overrides or ()),
        system=system,
        column=column,
        at_once=at_once,
        limit=limit,
        budget_usd=budget,
        retry_failed=retry_failed,
        half_price=half_price,
        seed=seed,
        tier=tier.value if tier else None,
        config=config,
    )
    raise typer.Exit(show_plan(options) if plan else run_batch(options))
