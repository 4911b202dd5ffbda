"""How often the intervals of `moa eval calibrate` hold the truth.

`planted lines`: two judges' figures of some systems, with a known line, known disagreement and sampling errors; one
more system is read. `real verdicts`: the leaderboard's verdicts on 30 models, and a planted second judge who answers
each pair anew, with noise, a taste for length and a taste of its own for each model; each model in turn is left out of
the calibration, judged by the planted judge on all prompts, and read; its official figure is known. `real judges`: the
published win rates of four other judges against the same baseline, each model left out in turn.

`uv run python -m bench.calibrate [--runs 2000] [--seed 0] [--data ../shared/alpaca_eval]`; the last table needs the
package alpaca-eval, the one before AlpacaEval's verdicts, which are not part of this repository.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from bench.reference import read_annotations_of, read_reference
from bench.report import Row, Table, options, publish
from moa.errors import MissingDependency
from moa.evaluation._analysis.calibration import Scale, calibrate, on_official_scale, opponent_digest, sample
from moa.evaluation._data.alpaca_eval_package import package_folder
from moa.evaluation._data.annotations import Annotation
from moa.evaluation._data.reference_data import AlpacaEvalData
from moa.evaluation._metrics.leaderboard import read_ratings
from moa.evaluation._metrics.metrics import metrics
from moa.evaluation._metrics.verdicts import verdicts_of
from moa.evaluation._statistics.array_types import Floats
from moa.evaluation._statistics.transfer import NoLine, transfer

PROMPTS = 805
OFFICIAL = "weighted_alpaca_eval_gpt4_turbo"
Taste = Literal["normal", "heavy", "some favourites"]


def planted_lines(runs: int, seed: int) -> Iterator[Row]:
    """Cells over systems, pairs, disagreement and its form."""
    cells: list[tuple[int, int, float, Taste, int]] = [
        (systems, pairs, taste, "normal", PROMPTS)
        for systems in (6, 12, 30)
        for pairs in (50, 100, PROMPTS)
        for taste in (0.5, 2.0, 5.0)
    ]
    forms: tuple[Taste, ...] = ("heavy", "some favourites")
    cells += [(systems, 100, 3.0, form, PROMPTS) for form in forms for systems in (6, 12, 30)]
    cells += [(systems, 100, 3.0, "normal", 100) for systems in (6, 12, 30)]
    for number, one in enumerate(cells):
        yield cell(*one, runs=runs, rng=np.random.default_rng([seed, number]))


def cell(systems: int, pairs: int, taste: float, form: Taste, own: int, *, runs: int, rng: np.random.Generator) -> Row:
    """Return how often intervals hold the truth in one cell; `own` is how many prompts the system that is read has."""
    held = slopes = read = 0
    widths = list[float]()
    for _ in range(runs):
        slope = rng.uniform(0.6, 1.4)
        theirs = rng.uniform(8.0, 65.0, systems + 1)
        official = 15.0 + slope * (theirs - 15.0) + _tastes(taste, form, systems + 1, rng)
        errors = _errors(theirs, np.array([pairs] * systems + [own]))
        seen = theirs + rng.normal(0.0, 1.0, systems + 1) * errors
        line = transfer(seen[:-1], errors[:-1], official[:-1])
        if isinstance(line, NoLine):
            continue
        found, ends = line.read(float(seen[-1]), float(errors[-1])).interval, line.slope_interval()
        read += 1
        held += found.low <= min(max(official[-1], 0.0), 100.0) <= found.high
        slopes += ends.low <= slope <= ends.high
        widths.append(found.high - found.low)
    return {
        "systems": systems,
        "pairs": pairs,
        "disagreement": f"{taste:g} {form}",
        "its own prompts": own,
        "interval holds, %": 100.0 * held / max(read, 1),
        "slope's holds, %": 100.0 * slopes / max(read, 1),
        "mean width": float(np.mean(widths)) if widths else None,
        "no line, %": 100.0 * (1 - read / runs),
    }


def _errors(rates: Floats, pairs: Floats) -> Floats:
    """Of win rates of graded verdicts, for all prompts."""
    shares = rates / 100.0
    return 100.0 * np.sqrt(0.85 * shares * (1.0 - shares) / pairs * (1.0 - pairs / PROMPTS))


def _tastes(size: float, form: Taste, n: int, rng: np.random.Generator) -> Floats:
    if form == "heavy":
        return rng.standard_t(3, n) / math.sqrt(3.0) * size
    own = rng.normal(0.0, size, n)
    return own if form == "normal" else own + (rng.random(n) < 0.15) * rng.choice([-2.0, 2.0], n) * size


def real_verdicts(official: dict[str, list[Annotation]], data: AlpacaEvalData, seed: int, pairs: int) -> Iterator[Row]:
    """A row for each planted judge."""
    judges = {
        "agrees, noisy": (1.0, 0.0, 0.0),
        "prefers longer": (1.0, 0.8, 0.0),
        "prefers shorter": (1.0, -0.8, 0.0),
        "own tastes": (1.0, 0.0, 0.5),
        "hardly tells, own tastes, longer": (0.4, 0.5, 0.3),
    }
    for number, (name, (sharpness, longer, taste)) in enumerate(judges.items()):
        rng = np.random.default_rng([seed, number])
        again = {
            model: judged_again(rows, sharpness, longer, float(rng.normal(0.0, taste)), rng)
            for model, rows in official.items()
        }
        wanted = {(pair.instruction, pair.generator_2) for pair in sample(official, pairs=pairs, seed=seed)}
        drawn = [row for rows in again.values() for row in rows if (row.instruction, row.generator_2) in wanted]
        whole = calibrate(official, drawn, data)
        held: dict[Scale, list[bool]] = {"raw": [], "controlled": []}
        widths: dict[Scale, list[float]] = {"raw": [], "controlled": []}
        for left in whole.rated:
            others = replace(whole, rated=tuple(one for one in whole.rated if one is not left))
            own = again[left.name]
            truth = {"raw": left.official, "controlled": left.official_controlled}
            against = [opponent_digest(row.instruction, row.output_1) for row in own]
            for found in on_official_scale(others, left.name, "planted", against, metrics(verdicts_of(own), data)):
                interval, true = found.reading.interval, truth[found.scale]
                held[found.scale].append(true is not None and interval.low <= true <= interval.high)
                widths[found.scale].append(interval.high - interval.low)
        yield {
            "judge": name,
            "same side, %": 100.0 * whole.same_side,
            "win rate: holds": f"{sum(held['raw'])} of {len(held['raw'])}",
            "mean width": float(np.mean(widths["raw"])) if widths["raw"] else None,
            "at equal length: holds": f"{sum(held['controlled'])} of {len(held['controlled'])}",
            "its width": float(np.mean(widths["controlled"])) if widths["controlled"] else None,
        }


def judged_again(
    rows: Sequence[Annotation], sharpness: float, longer: float, taste: float, rng: np.random.Generator
) -> list[Annotation]:
    """Another judge's verdicts, 1 to 2 in steps of a half: two orders, each with noise of its own."""
    share = np.array([min(max((row.preference or 1.5) - 1.0, 0.02), 0.98) for row in rows])
    lengths = np.array([[max(len(row.output_2), 1), max(len(row.output_1), 1)] for row in rows], dtype=np.float64)
    logits = sharpness * np.log(share / (1.0 - share)) + longer * np.log2(lengths[:, 0] / lengths[:, 1]) + taste
    both = [logits + rng.logistic(0.0, 1.0, len(rows)) > 0.0 for _ in range(2)]
    preference = 1.0 + (both[0].astype(np.float64) + both[1]) / 2.0
    return [replace(row, preference=float(one), annotator="planted") for row, one in zip(rows, preference, strict=True)]


def real_judges() -> Iterator[Row]:
    """A row for each other judge with a published leaderboard."""
    boards = package_folder() / "leaderboards" / "data_AlpacaEval_2"
    official = read_ratings(boards / f"{OFFICIAL}_leaderboard.csv", "win_rate")
    for path in sorted(boards.glob("*_leaderboard.csv")):
        theirs = read_ratings(path, "win_rate")
        names = [name for name in theirs if name in official and theirs[name] != 50.0]
        if path.name.startswith(OFFICIAL) or not names:
            continue
        held, widths = 0, list[float]()
        for left in names:
            others = [name for name in names if name != left]
            mine, wanted = (np.array([board[name] for name in others]) for board in (theirs, official))
            line = transfer(mine, np.zeros(len(others)), wanted)
            if isinstance(line, NoLine):
                continue
            interval = line.read(theirs[left], 0.0).interval
            held += interval.low <= official[left] <= interval.high
            widths.append(interval.high - interval.low)
        yield {
            "judge": path.name.removesuffix("_leaderboard.csv"),
            "models": len(names),
            "holds": f"{held} of {len(widths)}" if widths else "too few models for a line",
            "mean width": float(np.mean(widths)) if widths else None,
        }


def main() -> None:
    """Measure and publish."""
    parser = options("calibrate", __doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=Path("../shared/alpaca_eval"))
    chosen = parser.parse_args()
    runs = 20 if chosen.quick else chosen.runs
    tables = [Table(title="planted lines", rows=list(planted_lines(runs, chosen.seed)))]
    if (chosen.data / "annotations.csv.gz").exists() and not chosen.quick:
        official, data = read_annotations_of(chosen.data), read_reference(chosen.data)
        rows = list(real_verdicts(official, data, chosen.seed, chosen.pairs))
        tables.append(Table(title=f"real verdicts, {chosen.pairs} pairs of each model", rows=rows))
    try:
        tables.append(Table(title="real judges, all 805 prompts", rows=list(real_judges())))
    except MissingDependency as error:
        tables.append(Table(title="real judges", rows=[], notes=[f"skipped: {error}"]))
    publish("calibrate", chosen.json, tables)


if __name__ == "__main__":
    main()
