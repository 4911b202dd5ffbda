"""Options that the commands of `moa eval` share: each is declared once, and a command takes them in groups."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypedDict

import typer

from moa._cli.options import BudgetOption, ConfigOption, SetOption, TierOption, with_shared_options


class JudgeOrders(StrEnum):
    """In which orders a judge is shown a pair."""

    ONE = "one"
    BOTH = "both"


PromptsArgument = Annotated[
    str, typer.Argument(metavar="PROMPTS", help="alpaca_eval, starter, or a JSON, JSONL, CSV or Parquet file.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
DataOption = Annotated[
    Path | None, typer.Option("--data-dir", metavar="DIR", help="AlpacaEval's files, instead of a download.")
]
MarginOption = Annotated[
    float,
    typer.Option("--margin", metavar="POINTS", min=0.001, help="Largest difference, in points, that counts as none."),
]


class TierOptions(TypedDict):
    """In which service tier models are asked."""

    tier: TierOption


class BaselineOptions(TierOptions):
    """What an evaluation and a search compare with, and what limits them."""

    baseline: Annotated[
        str | None,
        typer.Option("--baseline", metavar="MODEL|MIXTURE|FILE", help="What to compare with; FILE contains outputs."),
    ]
    baseline_price: Annotated[
        str | None,
        typer.Option("--baseline-price", metavar="IN,OUT", help="Baseline's price in US dollars per million tokens."),
    ]
    baseline_max_tokens: Annotated[
        int | None,
        typer.Option(
            "--baseline-max-tokens", metavar="N", min=1, help="Maximum output tokens of a baseline that is a model."
        ),
    ]
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Run directory; an existing one is resumed.")]
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", help="Only the first N prompts.")]
    sample: Annotated[
        int | None, typer.Option("--sample", metavar="N", help="N random prompts, stratified by category.")
    ]
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="Seed of the sample, the order and all requests.")
    ]
    concurrency: Annotated[
        int, typer.Option("--concurrency", metavar="N", min=1, help="Concurrent answers and verdicts.")
    ]
    budget: Annotated[
        float | None,
        typer.Option("--budget", metavar="USD", help="Budget for all sessions; rerun with a larger one to continue."),
    ]
    plan: Annotated[bool, typer.Option("--plan", help="Only estimate calls, tokens, dollars and minutes.")]
    data_dir: DataOption
    as_json: JsonOption
    config: ConfigOption


class SystemOptions(BaselineOptions):
    """What is evaluated."""

    mixture: Annotated[
        list[str] | None,
        typer.Option(
            "--mixture",
            "-m",
            metavar="NAME|FILE",
            help="Preset or mixture file; repeatable, the first is the candidate.",
        ),
    ]
    overrides: SetOption
    outputs: Annotated[
        list[str] | None,
        typer.Option("--outputs", metavar="NAME=FILE", help="Add existing outputs, in AlpacaEval's format."),
    ]
    outputs_price: Annotated[
        list[str] | None,
        typer.Option("--outputs-price", metavar="NAME=IN,OUT", help="Price of added outputs, per million tokens."),
    ]


class PartOptions(SystemOptions):
    """Which parts and variants of the mixture are evaluated besides."""

    self_moa: Annotated[
        str | None,
        typer.Option("--self-moa", metavar="AGENT", help="Add a Self-MoA of a member, of `aggregator` or of a model."),
    ]
    selection: Annotated[bool, typer.Option("--selection", help="Add best-of-n over the same proposals.")]
    leave_one_out: Annotated[
        bool, typer.Option("--leave-one-out", help="Add the mixture without each of its proposers.")
    ]
    shuffled: Annotated[bool, typer.Option("--shuffled", help="Add the same proposals in reverse order.")]


class HalfPriceOptions(TypedDict):
    """Whether judges are asked by batch jobs."""

    half_price: Annotated[
        bool,
        typer.Option("--half-price", help="Ask judges and rubrics by batch jobs: half the price, but it takes hours."),
    ]


class JudgeModelOptions(TypedDict):
    """How a judge judges."""

    judge_model: Annotated[
        list[str] | None,
        typer.Option(
            "--judge-model",
            metavar="ENDPOINT/MODEL",
            help="The judge's model; repeat it for a panel. Default: of a maker that is on neither side.",
        ),
    ]
    judge_temperature: Annotated[
        float | None,
        typer.Option("--judge-temperature", metavar="NUMBER", min=0.0, help="Of the judge, in place of its own."),
    ]
    judge_max_tokens: Annotated[
        int | None, typer.Option("--judge-max-tokens", metavar="N", min=1, help="The most that the judge writes.")
    ]
    judge_orders: Annotated[
        JudgeOrders | None, typer.Option("--judge-orders", help="Orders in which the judge is shown each pair.")
    ]


class JudgingOptions(JudgeModelOptions, HalfPriceOptions, TierOptions):
    """Who judges pairs that are in files, and how."""

    judge: Annotated[
        str, typer.Option("--judge", metavar="JUDGE", help="pairwise, arena_hard, or one of AlpacaEval's evaluators.")
    ]
    concurrency: Annotated[int, typer.Option("--concurrency", metavar="N", min=1, help="Concurrent pairs.")]
    budget: BudgetOption
    config: ConfigOption


class JudgeOptions(JudgeModelOptions):
    """Who judges, and how."""

    judge: Annotated[
        str | None,
        typer.Option("--judge", metavar="JUDGE", help="pairwise (default), arena_hard or alpaca_eval_gpt4_turbo."),
    ]


class SearchOptions(BaselineOptions, JudgeOptions):
    """What `moa eval search` takes besides what it looks for."""

    measure: Annotated[
        str | None, typer.Option("--measure", metavar="NAME[:ARGUMENT]", help="What says how good an output is.")
    ]
    margin: MarginOption


class JudgedRunOptions(PartOptions, JudgeOptions, HalfPriceOptions):
    """All that `moa eval run` takes."""

    measure: Annotated[
        list[str] | None,
        typer.Option(
            "--measure",
            metavar="NAME[:ARGUMENT]",
            help="How each output is scored, e.g. exact, number or rubric:MODEL; repeatable, the first one decides.",
        ),
    ]
    annotations: Annotated[
        list[Path] | None,
        typer.Option("--annotations", metavar="FILE", help="Verdicts to take in place of asking a judge; repeatable."),
    ]
    judge_checks: Annotated[
        bool,
        typer.Option("--judge-checks/--no-judge-checks", help="Try the judge first and on control pairs (default)."),
    ]
    rejudge: Annotated[bool, typer.Option("--rejudge", help="Judge every pair once more.")]
    reference: Annotated[
        str | None,
        typer.Option("--reference", metavar="FILE|none", help="Outputs against which all systems are judged."),
    ]
    until: Annotated[
        str,
        typer.Option(
            "--until",
            metavar="all|decided|good-enough",
            help="decided: stop once the result is known; good-enough: once it is known whether it is good enough.",
        ),
    ]
    margin: MarginOption


_DEFAULTS = {"seed": 0, "concurrency": 32, "until": "all", "margin": 3.0, "judge_checks": True}
"""Of options that are neither off nor unset by default."""


def with_eval_options(command: Callable[..., None], **defaults: Any) -> Callable[..., None]:
    """Return a command with the options of its `**given: Unpack[…]`, and with the defaults of `moa eval`."""
    return with_shared_options(command, **{**_DEFAULTS, **defaults})
