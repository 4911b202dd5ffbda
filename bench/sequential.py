"""How often sequential evaluation errs on real annotations, and how many judgements it saves.

Shuffles the 805 real verdicts of each annotated leaderboard model and stops each shuffle when it is decided.
`false` is the share of false decisions; `missed` the share of series whose interval excludes the truth at any
look, decided or not, which is what the promised 5 % is about:
The length-controlled win rate is looked at as `--until decided-lc` does; `level pair` is a system made as good as
its baseline: to all verdicts their mirror images are added, so that its figure is about 50 and hardly a win or loss is
right.
`uv run python -m bench.sequential [--shuffles 1000] [--lc-shuffles 20] [--data ../shared/alpaca_eval]`.
"""

import argparse
import csv
import gzip
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from moa.evaluation._length_control.confidence_sequence import fit_so_far, look_at, look_sizes
from moa.evaluation._length_control.models import GamedBaselines, Judged, LengthModel
from moa.evaluation._statistics.array_types import Floats, Ints
from moa.evaluation._statistics.non_inferiority import MARGIN
from moa.evaluation._statistics.sequential import Decision, decide, exceeds, sequential_test_many

LC_MODELS: tuple[LengthModel, ...] = ("length_controlled_v1", "length_only")


def main() -> None:
    """Print error rates and judgements saved."""
    options = _options()
    models = read_models(options.data)
    for label, finite in (("all prompts like these", False), ("exactly these prompts", True)):
        _report(f"win rate of {label}", *_simulate(models, options.shuffles, finite))
    if options.lc_shuffles:
        gamed = read_gamed(options.data)
        for model in LC_MODELS:
            _report(f"LC win rate, {model}", *_simulate_lc(models, model, gamed, options.lc_shuffles))
            level = {f"level pair, {name}": _levelled(judged) for name, judged in list(models.items())[:4]}
            _report(f"LC win rate, {model}", *_simulate_lc(level, model, gamed, options.lc_shuffles))


def is_false(decision: Decision, truth: float) -> bool:
    """Return whether a decision contradicts the true rate (percent)."""
    return {
        Decision.WIN: truth <= 50,
        Decision.LOSE: truth >= 50,
        Decision.WITHIN: abs(truth - 50) >= MARGIN,
        Decision.CONTINUE: False,
    }[decision]


def _simulate(models: dict[str, Judged], shuffles: int, finite: bool) -> tuple[list[str], float]:
    started, lines, rng = time.perf_counter(), [], np.random.default_rng(0)
    for name, judged in models.items():
        values = judged.preference
        n = len(values)
        series = values[rng.permuted(np.tile(np.arange(n), (shuffles, 1)), axis=1)]
        if not finite:  # a sample of an endless population with these verdicts
            series = values[rng.integers(n, size=(shuffles, n))]
        population, truth = n if finite else None, float(values.mean())
        decisions, times = sequential_test_many(series, population=population)
        missed = exceeds(series, truth, population=population)[:, -1]
        missed |= exceeds(1 - series, 1 - truth, population=population)[:, -1]
        lines.append(_line(name, 100 * truth, decisions, times, n, float(missed.mean())))
    return lines, time.perf_counter() - started


def _simulate_lc(
    models: dict[str, Judged], model: LengthModel, gamed: GamedBaselines, shuffles: int
) -> tuple[list[str], float]:
    started, lines, rng = time.perf_counter(), [], np.random.default_rng(0)
    for name, judged in models.items():
        n = len(judged)
        planned = min(n, 805)
        truth = fit_so_far(judged, model, gamed, planned=n).win_rate
        # Draws with replacement, as from an endless population.
        runs = [_one_lc_run(judged, rng.integers(n, size=planned), model, gamed, truth) for _ in range(shuffles)]
        times = np.array([run.judged for run in runs])
        missed = float(np.mean([run.missed for run in runs]))
        lines.append(_line(name, truth, [run.decision for run in runs], times, planned, missed))
    return lines, time.perf_counter() - started


class Run(NamedTuple):
    """One series of looks: its first decision, when that came, and whether any look missed the truth."""

    decision: Decision
    judged: int
    missed: bool


def _one_lc_run(judged: Judged, order: Ints, model: LengthModel, gamed: GamedBaselines, truth: float) -> Run:
    parts = [_rows(judged, order[:size]) for size in look_sizes(len(order))]
    found = [look_at([part], model, gamed, planned=len(order)) for part in parts]
    looks = [look for look in found if look is not None]
    missed = any(not look.interval.low <= truth <= look.interval.high for look in looks)
    for look in looks:
        if (decision := decide(look.interval)) is not Decision.CONTINUE:
            return Run(decision, look.prompts, missed)
    return Run(Decision.CONTINUE, len(order), missed)


def _rows(judged: Judged, rows: Ints) -> Judged:
    return Judged(
        preference=judged.preference[rows],
        shorter_by=judged.shorter_by[rows],
        difficulty=None if judged.difficulty is None else judged.difficulty[rows],
    )


def _levelled(judged: Judged) -> Judged:
    """Return the verdicts together with their mirror images: equal to the baseline at every length."""
    return Judged(
        preference=np.concatenate([judged.preference, 1.0 - judged.preference]),
        shorter_by=np.concatenate([judged.shorter_by, -judged.shorter_by]),
        difficulty=None if judged.difficulty is None else np.tile(judged.difficulty, 2),
    )


def _line(name: str, truth: float, decisions: list[Decision], times: Ints, n: int, missed: float) -> str:
    false = np.mean([is_false(decision, truth) for decision in decisions])
    saved = 1 - times.mean() / n
    counted = ", ".join(f"{key} {count}" for key, count in Counter(map(str, decisions)).most_common())
    return f"{name[:32]:32} {truth:7.2f} {false:8.4f} {missed:8.4f} {times.mean():7.1f} {saved:7.1%}  {counted}"


def _report(title: str, lines: list[str], seconds: float) -> None:
    print(
        f"\n{title} ({seconds:.1f} s)\n{'model':32} {'truth':>7} {'false':>8} {'missed':>8} {'judged':>7} {'saved':>7}"
    )
    print("\n".join(lines))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shuffles", type=int, default=1000)
    parser.add_argument("--lc-shuffles", type=int, default=20)
    parser.add_argument("--data", type=Path, default=Path("../shared/alpaca_eval"))
    return parser.parse_args()


def read_models(folder: Path) -> dict[str, Judged]:
    """Return the verdicts on every annotated model, by name."""
    with (folder / "instruction_difficulty.csv").open() as file:
        difficulty = np.array([float(row["instruction_difficulty"]) for row in csv.DictReader(file)])
    rows = defaultdict(list)
    with gzip.open(folder / "annotations.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            rows[row["model"]].append(row)
    return {name: _judged(found, difficulty) for name, found in rows.items()}


def _judged(rows: list[dict[str, str]], difficulty: Floats) -> Judged:
    return Judged(
        preference=np.array([(float(row["preference"]) or 1.5) - 1 for row in rows]),
        shorter_by=np.array([float(row["len_1"]) - float(row["len_2"]) for row in rows]),
        difficulty=difficulty[[int(row["index"]) for row in rows]],
    )


def read_gamed(folder: Path) -> GamedBaselines:
    """Return the regulariser's rows."""
    with (folder / "df_gamed.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = ("preference", "std_delta_len", "instruction_difficulty")
    columns = [np.array([float(row[name]) for row in rows]) for name in names]
    return GamedBaselines(preference=columns[0], std_delta_len=columns[1], difficulty=columns[2])


if __name__ == "__main__":
    main()
