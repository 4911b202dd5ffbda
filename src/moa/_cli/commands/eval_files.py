"""`moa eval judge | metrics | report | label | correlate`: single steps that work on files."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Unpack

import typer

from moa._cli.eval_options import JudgingOptions, with_eval_options

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", metavar="DIR", help="alpaca_eval.json, instruction_difficulty.csv and df_gamed.csv of the hub."
    ),
]


class Align(StrEnum):
    """How a row is matched to its difficulty."""

    INSTRUCTION = "instruction"
    ROW = "row"


class LengthModelName(StrEnum):
    """The length models."""

    V1 = "length_controlled_v1"
    NOREG = "length_controlled_noreg"
    MINIMAL = "length_controlled_minimal"
    EQUAL = "equal_length"


def judge(
    outputs: Annotated[Path, typer.Option("--outputs", metavar="FILE", help="The system's outputs.")],
    reference: Annotated[Path, typer.Option("--reference", metavar="FILE", help="The baseline's outputs.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="File of annotations to write.")],
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first N pairs.")] = None,
    **given: Unpack[JudgingOptions],
) -> None:
    """Judge outputs against a baseline's, both in AlpacaEval's format.

    Judgements that the annotations file already contains are not bought again. Instructions that are in only one of the
    files are skipped.

    Exit codes: 0 judged, 1 failed or no verdict at all, 2 usage, 4 the budget is used up, 130 interrupted.
    """
    # Imported here, as in every command: `moa --help` must not wait for numpy and aiohttp.
    from moa._cli.handlers.eval_files import judge_files

    raise typer.Exit(judge_files(outputs, reference, out, given, limit=limit))


def metrics(
    annotations: Annotated[
        Path, typer.Argument(metavar="ANNOTATIONS", help="JSON, JSON Lines or CSV in AlpacaEval's format.")
    ],
    data_dir: DataOption = None,
    align: Annotated[
        Align, typer.Option("--align", help="Match difficulty by instruction, or by row as AlpacaEval does.")
    ] = (Align.INSTRUCTION),
    model: Annotated[
        LengthModelName | None, typer.Option("--model", help="Length model; default: the one that suits the file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print win rate, win rate at equal length and their errors for a file of annotations."""
    from moa._cli.handlers.eval_files import show_metrics

    show_metrics(
        annotations,
        data_dir,
        align=align.value,
        model=None if model is None else model.value,
        as_json=as_json,
    )


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory of an evaluation.")],
    data_dir: DataOption = None,
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin",
            metavar="POINTS",
            min=0.001,
            help="Largest difference, in points, that counts as none; default: the run's.",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", metavar="DIR", help="Of `moa eval calibrate`: read figures on its scale, too."),
    ] = None,
) -> None:
    """Write summary.json, report.html, report.md and the charts of an evaluation, and print its recommendation."""
    from moa._cli.handlers.eval_files import report_on

    report_on(run, data_dir, margin, calibration)


def label(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The --out of an evaluation that was judged.")],
    system: Annotated[
        str | None, typer.Option("--system", metavar="NAME", help="Whose pairs; default: the verdict's.")
    ] = None,
    number: Annotated[int, typer.Option("--count", metavar="N", min=1, help="How many pairs, drawn at random.")] = 100,
    rater: Annotated[str, typer.Option("--rater", metavar="NAME", help="Who labels.")] = "me",
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of the draw; all raters need the same.")] = 0,
    page: Annotated[bool, typer.Option("--page", help="Label in a browser, on a page of this machine.")] = False,
    port: Annotated[
        int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="Of the page; 0 takes a free one.")
    ] = 0,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Read labels from a table, in place of asking."),
    ] = None,
) -> None:
    """Have people say which of two outputs is better, and correct the judge's win rate by that.

    Pairs are drawn at random and shown blind, in an order drawn for each rater. From 50 labels on, the judge's verdicts
    on all pairs make the figure more precise (prediction-powered inference); the report then has it too. Win rates at
    equal length are not corrected. The same command goes on where somebody stopped.
    """
    from moa._cli.handlers.eval_label import label as label_pairs

    label_pairs(run, system=system, number=number, rater=rater, seed=seed, page=page, port=port, csv=csv)


def correlate(
    ratings: Annotated[Path, typer.Argument(metavar="RATINGS", help="CSV or JSON of ratings by model.")],
    leaderboard: Annotated[
        Path | None, typer.Option("--leaderboard", metavar="FILE", help="Leaderboard; default: AlpacaEval's.")
    ] = None,
    column: Annotated[str | None, typer.Option("--column", metavar="NAME", help="Column of the ratings.")] = None,
    names: Annotated[
        Path | None, typer.Option("--names", metavar="FILE", help="JSON mapping of leaderboard names to rating names.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of the bootstrap.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the rank correlation of a leaderboard with other ratings (Spearman, bootstrap interval)."""
    from moa._cli.handlers.eval_files import show_correlation

    show_correlation(ratings, leaderboard, column=column, names=names, seed=seed, as_json=as_json)


def register(group: typer.Typer) -> None:
    """Add the commands to the group `moa eval`."""
    for command in (with_eval_options(judge, judge="pairwise", concurrency=64), metrics, report, label, correlate):
        group.command()(command)
