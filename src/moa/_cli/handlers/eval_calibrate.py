"""What `moa eval calibrate` does once its command line is understood."""

from collections.abc import Sequence
from pathlib import Path

from moa._cli.console import print_json, print_sentences, say
from moa._cli.eval_options import JudgingOptions
from moa._cli.exit_codes import COMPLETE, FAILED, STOPPED
from moa._cli.handlers.eval_files import judged, loaded_judge
from moa._cli.handlers.eval_output import reference_data
from moa._render.format import count
from moa.errors import EvaluationDataError
from moa.evaluation._analysis.calibration import (
    FILE,
    Calibration,
    Scale,
    as_dict,
    calibrate,
    official_annotations,
    sample,
    write_calibration,
)
from moa.evaluation._data.reference_data import BASELINE
from moa.evaluation._statistics.transfer import MIN_SYSTEMS, NoLine


def calibrate_judge(
    results: Sequence[Path],
    out: Path,
    given: JudgingOptions,
    *,
    systems: int,
    pairs: int,
    seed: int,
    data_dir: Path | None,
    plan: bool,
    as_json: bool,
) -> int:
    """Judge a sample again, write annotations and figures, say what they show, and return the exit code."""
    official = official_annotations(results, most=systems)
    if len(official) < MIN_SYSTEMS:
        raise EvaluationDataError(
            f"verdicts on {count(len(official), 'system')} make no line from one judge to another: give those on at "
            f"least {MIN_SYSTEMS}",
            path=results[0],
        )
    judge = loaded_judge(given, {name: (name,) for name in official})
    drawn = sample(official, pairs=pairs, seed=seed)
    calls = len(drawn) * (2 if judge.shows_both else 1) * len(judge.models)
    say(f"judge: {judge.name}")
    say(f"{count(len(drawn), 'pair')} of {count(len(official), 'system')} to judge again: about {count(calls, 'call')}")
    if plan:
        return COMPLETE
    against = next(iter(official.values()))[0].generator_1
    data = reference_data(data_dir) if data_dir or against == BASELINE else None
    rows = judged(judge, drawn, given, out=out / "annotations.json")
    if rows is None:
        return STOPPED
    failure = next((row.failure for row in rows if row.failure is not None), None)
    if failure is not None:
        say(f"the first missing verdict: {failure['message']}", style="yellow")
    if all(row.preference is None for row in rows):
        return FAILED
    found = calibrate(official, rows, data)
    write_calibration(out / FILE, found)
    if as_json:
        print_json(as_dict(found))
        return COMPLETE
    print_sentences(*_lines(found))
    say(f"Calibration: {out / FILE}. `moa eval report RUN --calibration {out}` reads a run by it")
    return COMPLETE


def _lines(found: Calibration) -> list[str]:
    kappa = "" if found.kappa is None else f", kappa {found.kappa:.2f}"
    lines = [
        f"{found.judge} against {found.annotator}",
        f"{'system':32} {'this judge':>18} {'official':>9} {'this, equal length':>19} {'official':>9}",
    ]
    for one in found.rated:
        lines.append(
            f"{one.name[:32]:32} {one.figure:8.1f} ± {1.96 * one.error:4.1f} % {one.official:7.1f} % "
            f"{_number(one.figure_controlled):>17} % {_number(one.official_controlled):>7} %"
        )
    lines.append(f"same side on {100 * found.same_side:.0f}% of {count(found.pairs, 'pair')}{kappa}")
    names: tuple[tuple[str, Scale], ...] = (("win rate", "raw"), ("win rate at equal length", "controlled"))
    return lines + [_line(found, name, scale) for name, scale in names]


def _line(found: Calibration, name: str, scale: Scale) -> str:
    line, ranks = found.line(scale), found.ranks(scale)
    order = "" if ranks is None else f"; rank correlation {ranks:.2f}"
    if isinstance(line, NoLine):
        return f"{name}: no line: {line}{order}"
    ends, middle = line.slope_interval(), line.read(line.center, 0.0)
    reach = (middle.interval.high - middle.interval.low) / 2
    return (
        f"{name}: {line.slope:.2f} official points a point ({ends:.2f}); "
        f"{line.center:.1f} % reads as {middle.value:.1f} ± {reach:.1f} %{order}"
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
