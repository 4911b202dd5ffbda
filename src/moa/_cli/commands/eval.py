"""`moa eval`: compares mixtures, their members and a baseline on a set of prompts."""

from pathlib import Path
from typing import Annotated, Unpack

import typer

from moa._cli.commands import eval_calibrate, eval_files, eval_search
from moa._cli.eval_options import (
    DataOption,
    JsonOption,
    JudgedRunOptions,
    MarginOption,
    PartOptions,
    PromptsArgument,
    SystemOptions,
    with_eval_options,
)

evaluation = typer.Typer(
    name="eval", no_args_is_help=True, help="Evaluate mixtures on your prompts: quality, cost and latency."
)


@evaluation.command()
@with_eval_options
def run(prompts: PromptsArgument, **given: Unpack[JudgedRunOptions]) -> None:
    """Answer prompts with a mixture, its parts and a baseline, judge the answers, and write a report.

    Members alone cost nothing: their answers are the mixture's proposals. A prompt on which a system fails is a loss
    for it; where the baseline fails, the verdict is missing. The same command goes on after an interruption, a kill,
    or a used-up budget, and another one adds mixtures, prompts or a judge to what is there; what was bought is not
    bought again. Examples:

        moa eval run starter -m mixture.yaml --baseline openai/gpt-6-sol --judge-model mistral/mistral-large --plan

        moa eval run alpaca_eval -m mixture.yaml --baseline sonnet.json --judge alpaca_eval_gpt4_turbo --out runs/805

    Exit codes: 0 done or decided, 1 failed or nothing to judge, 2 usage, 4 the budget is used up, 130 interrupted.
    """
    from moa._cli.handlers.eval import evaluate

    raise typer.Exit(evaluate(prompts, given))


@evaluation.command()
@with_eval_options
def generate(prompts: PromptsArgument, **given: Unpack[PartOptions]) -> None:
    """Write the outputs of a mixture, its parts and a baseline, in AlpacaEval's format; judge nothing.

    `moa eval run` with the same settings and a judge goes on from there.
    """
    from moa._cli.handlers.eval import evaluate

    raise typer.Exit(evaluate(prompts, given))


@evaluation.command()
@with_eval_options
def latency(prompts: PromptsArgument, **given: Unpack[SystemOptions]) -> None:
    """Measure cost and latency only: each system is asked separately, in random order and under the same load.

    Unlike `run`, this asks the members separately too, so that their time to first token is measured.
    """
    from moa._cli.handlers.eval import evaluate

    raise typer.Exit(evaluate(prompts, given, latency=True))


@evaluation.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN_A", help="Run directory, or a file of annotations.")],
    second: Annotated[Path, typer.Argument(metavar="RUN_B", help="The same, judged against the same baseline.")],
    margin: MarginOption = 3.0,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of the bootstrap.")] = 0,
    data_dir: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the mixtures of two runs that were judged against the same baseline, prompt by prompt."""
    from moa._cli.handlers.eval_output import compare_runs

    compare_runs(first, second, margin=margin, seed=seed, data_dir=data_dir, as_json=as_json)


eval_search.register(evaluation)
eval_files.register(evaluation)
eval_calibrate.register(evaluation)
