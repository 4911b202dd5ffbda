"""What measures of one output and former judges say: mean scores, and how much better they are than the baseline's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan, nan
from typing import Any

import numpy as np

from moa.evaluation._runner.table import Table
from moa.evaluation._statistics.array_types import Floats
from moa.evaluation._statistics.estimates import Estimate
from moa.evaluation._statistics.sample_means import mean_estimate


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """One system by one measure.

    Attributes:
        measure: Its name.
        system: The system's.
        score: Mean score, percent 0-100; None without any. A prompt on which the system failed scores 0.
        estimate: The same with its interval; None where there are too few scores, or all are equal.
        difference: Points by which it is better than the baseline, paired by prompt; None likewise.
        n: Prompts with a score.
        missing: Outputs on which the measure failed; they count for nothing.
        why: What it said on the first of those.
        points: The score of each prompt in percent, by its index; NaN where there is none.
    """

    measure: str
    system: str
    score: float | None
    estimate: Estimate | None
    difference: Estimate | None
    n: int
    missing: int
    why: str
    points: Mapping[int, float] = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        both = (self.estimate, self.difference)
        ends = [None if one is None else [one.interval.low, one.interval.high] for one in both]
        return {
            "measure": self.measure,
            "system": self.system,
            "score": self.score,
            "interval": ends[0],
            "difference": None if self.difference is None else self.difference.value,
            "difference_interval": ends[1],
            "n": self.n,
            "missing": self.missing,
        }


def measured_by(table: Table, measures: Sequence[str], baseline: str | None) -> tuple[Measured, ...]:
    """Return what measures say of every system; of one that was scored by a former session's alone, what there is.

    Args:
        table: What a run has, by these measures and by former ones.
        measures: Names of those that are asked for now.
        baseline: Name of the system that all others are compared with; None if there is none.
    """
    indices = sorted({index for found in table.records.values() for index in found})
    found = []
    for measure, scores in table.scores.items():
        points = {
            name: {index: 100.0 * table.score(measure, name, index) for index in indices}
            for name in scores
            if measure in measures or scores[name]
        }
        for name in points:
            failures = [one.failure.message for _, one in sorted(scores[name].items()) if one.failure is not None]
            found.append(_measured(measure, name, points, baseline, failures))
    return tuple(found)


def judged_by(table: Table, baseline: str | None) -> tuple[Measured, ...]:
    """Return the win rates that a judge gives every system, as scores; arguments as in `measured_by`."""
    points, failures = dict[str, dict[int, float]](), dict[str, list[str]]()
    indices = [one.index for one in table.instructions]
    for name in table.verdicts:
        rows = {row.index: row for row in table.judgements(name)}
        known = {index: row.preference for index, row in rows.items() if row.preference is not None}
        points[name] = {index: 100.0 * (known.get(index, nan) - 1.0) for index in indices}
        failures[name] = [str(row.failure["message"]) for row in rows.values() if row.failure]
    return tuple(
        _measured(f"{table.judge} against {table.opponent}", name, points, baseline, failures[name])
        for name in points
        if not all(map(isnan, points[name].values()))
    )


def _measured(
    measure: str,
    system: str,
    points: Mapping[str, Mapping[int, float]],
    baseline: str | None,
    failures: Sequence[str],
) -> Measured:
    values = _values(points[system])
    theirs = None if baseline is None or baseline == system or baseline not in points else _values(points[baseline])
    known = values[~np.isnan(values)]
    return Measured(
        measure=measure,
        system=system,
        score=float(known.mean()) if len(known) else None,
        estimate=mean_estimate(values),
        difference=None if theirs is None else mean_estimate(values - theirs),
        n=len(known),
        missing=len(failures),
        why=failures[0] if failures else "",
        points=points[system],
    )


def _values(points: Mapping[int, float]) -> Floats:
    return np.array(list(points.values()))
