"""`moa eval search`: the cheapest mixture that is good enough."""

from typing import Annotated, Unpack

import typer

from moa._cli.eval_options import PromptsArgument, SearchOptions, with_eval_options


def register(evaluation: typer.Typer) -> None:
    """Add the command."""
    evaluation.command()(with_eval_options(search))


def search(
    prompts: PromptsArgument,
    models: Annotated[str, typer.Option("--models", metavar="A,B,…", help="The models to mix.")],
    aggregators: Annotated[
        str | None, typer.Option("--aggregators", metavar="A,B,…", help="Models that may aggregate; default: all.")
    ] = None,
    max_cost_ratio: Annotated[
        float, typer.Option("--max-cost-ratio", metavar="R", help="Maximum cost, relative to the baseline's.")
    ] = 1.0,
    deadline: Annotated[
        float | None, typer.Option("--deadline-s", metavar="S", help="Maximum 95th percentile of the latency.")
    ] = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", metavar="N", min=1, help="Maximum output tokens of each model.")
    ] = 1024,
    holdout: Annotated[
        float, typer.Option("--holdout", metavar="SHARE", help="Share of the prompts kept for the evidence.")
    ] = 0.0,
    **given: Unpack[SearchOptions],
) -> None:
    """Find the cheapest mixture of some models that is as good as an expensive one, or that none is.

    Every model answers alone first; then mixtures of them race, and few reach the last prompt. A winner is shown to
    be within the margin of the baseline, with all candidates accounted for, and stands beside the best model alone.
    The same command goes on after an interruption, and with further models buys only what is new. Examples:

        moa eval search prompts.jsonl --models lab/a,lab/b,lab/c --baseline openai/gpt-6-sol --measure number --plan

        moa eval search prompts.jsonl --models lab/a,lab/b --baseline openai/gpt-6-sol --judge-model lab/j --out runs/s

    Exit codes: 0 done, 2 usage, 4 the budget is used up, 130 interrupted.
    """
    from moa._cli.handlers.eval_search import find

    raise typer.Exit(
        find(
            prompts,
            _references(models),
            given,
            aggregators=_references(aggregators or ""),
            max_tokens=max_tokens,
            max_cost_ratio=max_cost_ratio,
            deadline_s=deadline,
            holdout=holdout,
        )
    )


def _references(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]
