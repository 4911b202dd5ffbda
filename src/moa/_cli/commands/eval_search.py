"""`moa eval search`: the cheapest mixture that is good enough."""

from pathlib import Path
from typing import Annotated

import typer

from moa._cli.commands.eval_files import JudgeMaxTokensOption, JudgeOrdersOption, JudgeTemperatureOption
from moa._cli.options import ConfigOption


def register(evaluation: typer.Typer) -> None:
    """Add the command."""
    evaluation.command()(search)


def search(
    prompts: Annotated[
        str, typer.Argument(metavar="PROMPTS", help="alpaca_eval, starter, or a JSON, JSONL, CSV or Parquet file.")
    ],
    models: Annotated[str, typer.Option("--models", metavar="A,B,…", help="The models to mix.")],
    baseline: Annotated[
        str, typer.Option("--baseline", metavar="MODEL|MIXTURE|FILE", help="What a mixture should replace.")
    ],
    aggregators: Annotated[
        str | None, typer.Option("--aggregators", metavar="A,B,…", help="Models that may aggregate; default: all.")
    ] = None,
    measure: Annotated[
        str | None, typer.Option("--measure", metavar="NAME[:ARGUMENT]", help="What says how good an output is.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option("--judge", metavar="JUDGE", help="Or a judge, which compares with the baseline.")
    ] = None,
    judge_model: Annotated[
        list[str] | None, typer.Option("--judge-model", metavar="MODEL", help="The judge's model.")
    ] = None,
    judge_temperature: JudgeTemperatureOption = None,
    judge_max_tokens: JudgeMaxTokensOption = None,
    judge_orders: JudgeOrdersOption = None,
    max_cost_ratio: Annotated[
        float, typer.Option("--max-cost-ratio", metavar="R", help="Maximum cost, relative to the baseline's.")
    ] = 1.0,
    deadline: Annotated[
        float | None, typer.Option("--deadline-s", metavar="S", help="Maximum 95th percentile of the latency.")
    ] = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", metavar="N", min=1, help="Maximum output tokens of each model.")
    ] = 1024,
    margin: Annotated[
        float, typer.Option("--margin", min=0.001, help="Points by which a winner may be worse than the baseline.")
    ] = 3.0,
    holdout: Annotated[
        float, typer.Option("--holdout", metavar="SHARE", help="Share of the prompts kept for the evidence.")
    ] = 0.0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Run directory; an existing one is resumed.")
    ] = None,
    baseline_price: Annotated[
        str | None,
        typer.Option("--baseline-price", metavar="IN,OUT", help="Baseline's price in US dollars per million tokens."),
    ] = None,
    baseline_max_tokens: Annotated[
        int | None, typer.Option("--baseline-max-tokens", metavar="N", min=1, help="Baseline's maximum output tokens.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", help="Only the first N prompts.")] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", metavar="N", help="N random prompts, stratified by category.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the order and all requests.")] = 0,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Concurrent answers and verdicts.")] = 32,
    budget: Annotated[
        float | None, typer.Option("--budget", metavar="USD", help="Budget; rerun with a larger one to continue.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what the prompts can show, and estimate.")] = False,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="AlpacaEval's files, instead of a download.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config: ConfigOption = None,
) -> None:
    """Find the cheapest mixture of some models that is as good as an expensive one, or that none is.

    Every model answers alone first; then mixtures of them race, and few reach the last prompt. A winner is shown to
    be within the margin of the baseline, with all candidates accounted for, and stands beside the best model alone.
    The same command goes on after an interruption, and with further models buys only what is new. Examples:

        moa eval search prompts.jsonl --models lab/a,lab/b,lab/c --baseline openai/gpt-6-sol --measure number --plan

        moa eval search prompts.jsonl --models lab/a,lab/b --baseline openai/gpt-6-sol --judge-model lab/j --out runs/s

    Exit codes: 0 done, 2 usage, 4 the budget is used up, 130 interrupted.
    """
    from moa._cli.handlers.eval import read_judge, read_price
    from moa._cli.handlers.eval_search import find
    from moa.evaluation._runner.preparing import Options
    from moa.evaluation._search.search import Wanted

    judge_name, judge_models = read_judge(judge, judge_model or (), config, measured=bool(measure))
    options = Options(
        baseline=baseline,
        baseline_price=read_price(baseline_price),
        baseline_max_tokens=baseline_max_tokens,
        measures=(measure,) if measure else (),
        judge=judge_name,
        judge_model=judge_models,
        judge_temperature=judge_temperature,
        judge_max_tokens=judge_max_tokens,
        judge_orders=None if judge_orders is None else judge_orders.value,
        limit=limit,
        sample=sample,
        seed=seed,
        concurrency=concurrency,
        budget_usd=budget,
        margin=margin,
        data_dir=data_dir,
        config=config,
    )
    wanted = Wanted(
        aggregators=[one.strip() for one in (aggregators or models).split(",") if one.strip()],
        max_tokens=max_tokens,
        max_cost_ratio=max_cost_ratio,
        deadline_s=deadline,
        holdout=holdout,
    )
    proposers = [one.strip() for one in models.split(",") if one.strip()]
    raise typer.Exit(find(prompts, proposers, options, wanted, out, plan_only=plan, as_json=as_json))
