"""What measures of one output say: each system's mean score, and how much better it is than the baseline's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from moa.evaluation._runner.table import Table
from moa.evaluation._statistics.array_types import Floats
from moa.evaluation._statistics.estimates import Estimate
from moa.evaluation._statistics.non_inferiority import mean_estimate


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


def measured_by(table: Table, baseline: str | None) -> tuple[Measured, ...]:
    """Return what every measure says of every system.

    Args:
        table: What a run has.
        baseline: Name of the system that all others are compared with; None if there is none.
    """
    indices = sorted({index for found in table.records.values() for index in found})
    measured = []
    for measure, scores in table.scores.items():
        rows = {name: {index: 100.0 * table.score(measure, name, index) for index in indices} for name in scores}
        theirs = None if baseline is None else _values(rows[baseline])
        for name, points in rows.items():
            failures = [one.failure.message for _, one in sorted(scores[name].items()) if one.failure is not None]
            values = _values(points)
            known = values[~np.isnan(values)]
            found = Measured(
                measure=measure,
                system=name,
                score=float(known.mean()) if len(known) else None,
                estimate=mean_estimate(values),
                difference=None if theirs is None or name == baseline else mean_estimate(values - theirs),
                n=len(known),
                missing=len(failures),
                why=failures[0] if failures else "",
                points=points,
            )
            measured.append(found)
    return tuple(measured)


def _values(points: Mapping[int, float]) -> Floats:
    return np.array(list(points.values()))
