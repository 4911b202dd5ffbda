"""`moa batch`: many prompts, one mixture."""

from typing import Annotated, Unpack

import typer

from moa._cli.options import MixtureOptions, with_shared_options


class BatchOptions(MixtureOptions):
    """What a batch takes besides its files."""

    column: Annotated[
        str | None,
        typer.Option(
            "--column", metavar="NAME", help="Column with the prompt, if not prompt, instruction or messages."
        ),
    ]
    at_once: Annotated[
        int | None,
        typer.Option("--at-once", metavar="N", min=1, help="Rows under way at once: 64, or 20,000 with --half-price."),
    ]
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first so many rows.")]
    budget: Annotated[
        float | None,
        typer.Option("--budget", min=0.000001, metavar="USD", help="US dollars for this start of the batch."),
    ]
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try rows again that failed in an earlier start.")
    ]
    half_price: Annotated[
        bool,
        typer.Option("--half-price", help="Use the services' batch APIs: half the price, but it takes hours."),
    ]
    status: Annotated[
        bool, typer.Option("--status", help="Show the jobs of --half-price that are under way, and do nothing else.")
    ]
    cancel: Annotated[
        bool, typer.Option("--cancel", help="End the jobs of --half-price that are under way, and do nothing else.")
    ]
    plan: Annotated[bool, typer.Option("--plan", help="Show what it would take at most, and buy nothing.")]


@with_shared_options
def batch(
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="ANSWERS", help="Where the answers go; the same kinds of file.")
    ],
    prompts: Annotated[
        str | None,
        typer.Argument(metavar="PROMPTS", help="A .jsonl, .csv or .parquet file, s3://BUCKET/KEY, or -."),
    ] = None,
    **given: Unpack[BatchOptions],
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
    from moa._cli.handlers.batch import run_batch, show_jobs, show_plan

    if given["status"] or given["cancel"]:
        raise typer.Exit(show_jobs(output, given["config"], cancel=given["cancel"]))
    if prompts is None:
        raise typer.BadParameter("missing: a file of prompts, or -", param_hint="PROMPTS")
    raise typer.Exit(show_plan(prompts, given) if given["plan"] else run_batch(prompts, output, given))
