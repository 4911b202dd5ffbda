"""Seconds that a length-controlled win rate takes: one fit, and a fit with 1,000 resamples of its prompts.

Needs AlpacaEval's reference data, which is not part of this repository: `--data ../shared/alpaca_eval`.
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

from bench.reference import read_gamed, read_models
from bench.report import Row, Table, options, publish
from moa.evaluation._length_control.models import GamedBaselines, Judged, LengthFit, design_for, fit_length_model
from moa.evaluation._length_control.standard_errors import refit
from moa.evaluation._statistics.sample_means import bootstrap_counts

REPEATS = 5


def _seconds(work: Callable[[], object], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return median(taken)


def measure(models: Iterable[tuple[str, Judged]], gamed: GamedBaselines, *, resamples: int, repeats: int) -> list[Row]:
    """Return what the models take."""
    return [_row(name, judged, gamed, resamples, repeats) for name, judged in models]


def _row(name: str, judged: Judged, gamed: GamedBaselines, resamples: int, repeats: int) -> Row:
    def fit() -> LengthFit:
        found = fit_length_model(design_for("length_controlled_v1", judged, gamed))
        if found is None:
            raise SystemExit(f"{name} has too few verdicts for a fit")
        return found

    fitted, counts = fit(), bootstrap_counts(len(judged), seed=0, resamples=resamples)
    return {
        "system": name,
        "prompts": len(judged),
        "LC win rate": fitted.win_rate,
        "s per fit": _seconds(fit, repeats),
        f"s per {resamples:,} resamples": _seconds(lambda: refit(fitted, counts), 1),
    }


def main() -> None:
    """Measure and publish."""
    parser = options("lc", __doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/alpaca_eval"))
    chosen = parser.parse_args()
    title = "length-controlled win rate, length_controlled_v1"
    if not (chosen.data / "annotations.csv.gz").exists():
        table = Table(title=title, rows=[], notes=[f"skipped: there is no reference data in {chosen.data}"])
    else:
        models, repeats = list(read_models(chosen.data).items()), REPEATS
        models, repeats = (models[:1], 1) if chosen.quick else (models, repeats)
        resamples = 10 if chosen.quick else 1000
        table = Table(title=title, rows=measure(models, read_gamed(chosen.data), resamples=resamples, repeats=repeats))
    publish("lc", chosen.json, [table])


if __name__ == "__main__":
    main()
