"""`moa eval`: compares mixtures, their members and a baseline on a set of prompts."""

from pathlib import Path
from typing import Annotated

import typer

from moa._cli.commands import eval_files, eval_search
from moa._cli.commands.eval_files import JudgeMaxTokensOption, JudgeOrdersOption, JudgeTemperatureOption
from moa._cli.options import ConfigOption, SetOption

evaluation = typer.Typer(
    name="eval", no_args_is_help=True, help="Evaluate mixtures on your prompts: quality, cost and latency."
)

PromptsArgument = Annotated[
    str, typer.Argument(metavar="PROMPTS", help="alpaca_eval, starter, or a JSON, JSONL, CSV or Parquet file.")
]
MixturesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--mixture", "-m", metavar="NAME|FILE", help="Preset or mixture file; repeatable, the first is the candidate."
    ),
]
OutputsOption = Annotated[
    list[str] | None,
    typer.Option("--outputs", metavar="NAME=FILE", help="Add existing outputs, in AlpacaEval's format."),
]
OutputsPriceOption = Annotated[
    list[str] | None,
    typer.Option("--outputs-price", metavar="NAME=IN,OUT", help="Price of added outputs, per million tokens."),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Run directory; an existing one is resumed.")
]
MeasureOption = Annotated[
    list[str] | None,
    typer.Option(
        "--measure",
        metavar="NAME[:ARGUMENT]",
        help="exact, contains, regex, number, json_schema, choice, python or rubric; the verdict rests on the first.",
    ),
]
BaselineOption = Annotated[
    str | None,
    typer.Option("--baseline", metavar="MODEL|MIXTURE|FILE", help="What to compare with; FILE contains outputs."),
]
PriceOption = Annotated[
    str | None,
    typer.Option("--baseline-price", metavar="IN,OUT", help="Baseline's price in US dollars per million tokens."),
]
MaxTokensOption = Annotated[
    int | None,
    typer.Option(
        "--baseline-max-tokens", metavar="N", min=1, help="Maximum output tokens of a baseline that is a model."
    ),
]
SelfMoaOption = Annotated[
    str | None,
    typer.Option("--self-moa", metavar="AGENT", help="Add a Self-MoA of a member, of `aggregator` or of a model."),
]
SelectionOption = Annotated[bool, typer.Option("--selection", help="Add best-of-n over the same proposals.")]
LeaveOneOutOption = Annotated[
    bool, typer.Option("--leave-one-out", help="Add the mixture without each of its proposers.")
]
ShuffledOption = Annotated[bool, typer.Option("--shuffled", help="Add the same proposals in reverse order.")]
LimitOption = Annotated[int | None, typer.Option("--limit", metavar="N", help="Only the first N prompts.")]
SampleOption = Annotated[
    int | None, typer.Option("--sample", metavar="N", help="N random prompts, stratified by category.")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of the sample, the order and all requests.")]
MarginOption = Annotated[
    float, typer.Option("--margin", min=0.001, help="Largest difference, in points, that counts as none.")
]
ConcurrencyOption = Annotated[int, typer.Option("--concurrency", min=1, help="Concurrent answers and verdicts.")]
BudgetOption = Annotated[
    float | None,
    typer.Option("--budget", metavar="USD", help="Budget for the evaluation; rerun with a larger one to continue."),
]
PlanOption = Annotated[bool, typer.Option("--plan", help="Only estimate calls, tokens, dollars and minutes.")]
DataOption = Annotated[
    Path | None, typer.Option("--data-dir", metavar="DIR", help="AlpacaEval's files, instead of a download.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@evaluation.command()
def run(
    prompts: PromptsArgument,
    mixture: MixturesOption = None,
    outputs: OutputsOption = None,
    baseline: BaselineOption = None,
    measure: MeasureOption = None,
    annotations: Annotated[
        list[Path] | None,
        typer.Option("--annotations", metavar="FILE", help="Verdicts to take in place of asking a judge; repeatable."),
    ] = None,
    judge: Annotated[
        str | None, typer.Option("--judge", metavar="JUDGE", help="alpaca_eval_gpt4_turbo, pairwise or arena_hard.")
    ] = None,
    judge_model: Annotated[
        list[str] | None,
        typer.Option("--judge-model", metavar="MODEL", help="The judge's model; repeat it for a panel."),
    ] = None,
    judge_temperature: JudgeTemperatureOption = None,
    judge_max_tokens: JudgeMaxTokensOption = None,
    judge_orders: JudgeOrdersOption = None,
    judge_checks: Annotated[
        bool,
        typer.Option("--judge-checks/--no-judge-checks", help="Try the judge first and on control pairs (default)."),
    ] = True,
    rejudge: Annotated[bool, typer.Option("--rejudge", help="Judge every pair once more.")] = False,
    out: OutOption = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", metavar="FILE|none", help="Outputs against which all systems are judged."),
    ] = None,
    outputs_price: OutputsPriceOption = None,
    baseline_price: PriceOption = None,
    baseline_max_tokens: MaxTokensOption = None,
    self_moa: SelfMoaOption = None,
    selection: SelectionOption = False,
    leave_one_out: LeaveOneOutOption = False,
    shuffled: ShuffledOption = False,
    limit: LimitOption = None,
    sample: SampleOption = None,
    seed: SeedOption = 0,
    concurrency: ConcurrencyOption = 32,
    budget: BudgetOption = None,
    until: Annotated[
        str,
        typer.Option(
            "--until",
            metavar="all|decided|good-enough",
            help="decided: stop once the result is known; good-enough: once it is known whether it is good enough.",
        ),
    ] = "all",
    margin: MarginOption = 3.0,
    plan: PlanOption = False,
    overrides: SetOption = None,
    data_dir: DataOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Answer prompts with a mixture, its parts and a baseline, judge the answers, and write a report.

    Members alone cost nothing: their answers are the mixture's proposals. A prompt on which a system fails is a loss
    for it; where the baseline fails, the verdict is missing. The same command goes on after an interruption, a kill,
    or a used-up budget, and another one adds mixtures, prompts or a judge to what is there; what was bought is not
    bought again. Examples:

        moa eval run starter -m mixture.yaml --baseline openai/gpt-6-sol --judge-model mistral/mistral-large --plan

        moa eval run alpaca_eval -m mixture.yaml --baseline sonnet.json --judge alpaca_eval_gpt4_turbo --out runs/805

    Exit codes: 0 done or decided, 1 failed or nothing to judge, 2 usage, 4 the budget is used up, 130 interrupted.
    """
    from moa._cli.handlers.eval import (
        evaluate,
        read_judge,
        read_mixtures,
        read_outputs,
        read_price,
        read_prices,
        read_until,
    )
    from moa.evaluation._runner.preparing import Options

    judge_name, judge_models = read_judge(judge, judge_model or (), config, measured=bool(measure or annotations))
    chosen = read_mixtures(mixture or (), overrides or (), config, others=bool(outputs))
    options = Options(
        outputs=read_outputs(outputs or ()),
        outputs_prices=read_prices(outputs_price or ()),
        baseline=baseline,
        baseline_price=read_price(baseline_price),
        baseline_max_tokens=baseline_max_tokens,
        reference=reference,
        measures=measure or (),
        annotations=annotations or (),
        judge=judge_name,
        judge_model=judge_models,
        judge_temperature=judge_temperature,
        judge_max_tokens=judge_max_tokens,
        judge_orders=None if judge_orders is None else judge_orders.value,
        judge_checks=judge_checks,
        rejudge=rejudge,
        self_moa=self_moa,
        selection=selection,
        leave_one_out=leave_one_out,
        shuffled=shuffled,
        limit=limit,
        sample=sample,
        seed=seed,
        concurrency=concurrency,
        budget_usd=budget,
        until=read_until(until),
        margin=margin,
        data_dir=data_dir,
        config=config,
    )
    raise typer.Exit(evaluate(prompts, chosen, out, options, plan_only=plan, as_json=as_json))


@evaluation.command()
def generate(
    prompts: PromptsArgument,
    mixture: MixturesOption = None,
    outputs: OutputsOption = None,
    baseline: BaselineOption = None,
    out: OutOption = None,
    outputs_price: OutputsPriceOption = None,
    baseline_price: PriceOption = None,
    baseline_max_tokens: MaxTokensOption = None,
    self_moa: SelfMoaOption = None,
    selection: SelectionOption = False,
    leave_one_out: LeaveOneOutOption = False,
    shuffled: ShuffledOption = False,
    limit: LimitOption = None,
    sample: SampleOption = None,
    seed: SeedOption = 0,
    concurrency: ConcurrencyOption = 32,
    budget: BudgetOption = None,
    plan: PlanOption = False,
    overrides: SetOption = None,
    data_dir: DataOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Write the outputs of a mixture, its parts and a baseline, in AlpacaEval's format; judge nothing.

    `moa eval run` with the same settings and a judge goes on from there.
    """
    from moa._cli.handlers.eval import evaluate, read_mixtures, read_outputs, read_price, read_prices
    from moa.evaluation._runner.preparing import Options

    chosen = read_mixtures(mixture or (), overrides or (), config, others=bool(outputs))
    options = Options(
        outputs=read_outputs(outputs or ()),
        outputs_prices=read_prices(outputs_price or ()),
        baseline=baseline,
        baseline_price=read_price(baseline_price),
        baseline_max_tokens=baseline_max_tokens,
        self_moa=self_moa,
        selection=selection,
        leave_one_out=leave_one_out,
        shuffled=shuffled,
        limit=limit,
        sample=sample,
        seed=seed,
        concurrency=concurrency,
        budget_usd=budget,
        data_dir=data_dir,
        config=config,
    )
    raise typer.Exit(evaluate(prompts, chosen, out, options, plan_only=plan, as_json=as_json))


@evaluation.command()
def latency(
    prompts: PromptsArgument,
    mixture: MixturesOption = None,
    outputs: OutputsOption = None,
    baseline: BaselineOption = None,
    out: OutOption = None,
    outputs_price: OutputsPriceOption = None,
    baseline_price: PriceOption = None,
    baseline_max_tokens: MaxTokensOption = None,
    limit: LimitOption = None,
    sample: SampleOption = None,
    seed: SeedOption = 0,
    concurrency: ConcurrencyOption = 32,
    budget: BudgetOption = None,
    plan: PlanOption = False,
    overrides: SetOption = None,
    data_dir: DataOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Measure cost and latency only: each system is asked separately, in random order and under the same load.

    Unlike `run`, this asks the members separately too, so that their time to first token is measured.
    """
    from moa._cli.handlers.eval import evaluate, read_mixtures, read_outputs, read_price, read_prices
    from moa.evaluation._runner.preparing import Options

    chosen = read_mixtures(mixture or (), overrides or (), config, others=bool(outputs))
    options = Options(
        outputs=read_outputs(outputs or ()),
        outputs_prices=read_prices(outputs_price or ()),
        baseline=baseline,
        baseline_price=read_price(baseline_price),
        baseline_max_tokens=baseline_max_tokens,
        cached=False,
        limit=limit,
        sample=sample,
        seed=seed,
        concurrency=concurrency,
        budget_usd=budget,
        data_dir=data_dir,
        config=config,
    )
    raise typer.Exit(evaluate(prompts, chosen, out, options, plan_only=plan, as_json=as_json, latency=True))


@evaluation.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN_A", help="Run directory, or a file of annotations.")],
    second: Annotated[Path, typer.Argument(metavar="RUN_B", help="The same, judged against the same baseline.")],
    margin: MarginOption = 3.0,
    seed: SeedOption = 0,
    data_dir: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the mixtures of two runs that were judged against the same baseline, prompt by prompt."""
    from moa._cli.handlers.eval_output import compare_runs

    compare_runs(first, second, margin=margin, seed=seed, data_dir=data_dir, as_json=as_json)


eval_search.register(evaluation)
eval_files.register(evaluation)
