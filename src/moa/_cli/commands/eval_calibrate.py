"""`moa eval calibrate`: how a judge's figures read on the scale of a judge whose verdicts are known."""

from pathlib import Path
from typing import Annotated, Unpack

import typer

from moa._cli.eval_options import DataOption, JsonOption, JudgingOptions, with_eval_options


def calibrate(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULTS...", help="Files of official annotations, or a folder of AlpacaEval's results."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for annotations and calibration.json.")],
    systems: Annotated[
        int, typer.Option("--systems", metavar="N", min=6, help="Of how many systems, spread over their win rates.")
    ] = 12,
    pairs: Annotated[int, typer.Option("--pairs", metavar="N", min=20, help="Pairs of each to judge again.")] = 100,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the draw of pairs.")] = 0,
    data_dir: DataOption = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say how many calls it takes, and stop.")] = False,
    as_json: JsonOption = False,
    **given: Unpack[JudgingOptions],
) -> None:
    """Judge again what an official judge has judged, and say how the new judge's figures read on the official scale.

    Verdicts that the folder has already are not bought again. `moa eval report RUN --calibration DIR` uses the result.

    Exit codes: 0 calibrated, 1 failed or no verdict at all, 2 usage, 4 the budget is used up, 130 interrupted.
    """
    # Imported here, as in every command: `moa --help` must not wait for numpy and aiohttp.
    from moa._cli.handlers.eval_calibrate import calibrate_judge

    sample = {"systems": systems, "pairs": pairs, "seed": seed}
    raise typer.Exit(calibrate_judge(results, out, given, **sample, data_dir=data_dir, plan=plan, as_json=as_json))


def register(group: typer.Typer) -> None:
    """Add the command to the group `moa eval`."""
    group.command()(with_eval_options(calibrate, judge="pairwise", concurrency=64))
