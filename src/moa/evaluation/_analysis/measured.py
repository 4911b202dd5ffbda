"""What measures of one output say: each system's mean score, and how much better it is than the baseline's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from moa.evaluation._measures.base import Score
from moa.evaluation._runner.records import Record
from moa.evaluation._statistics.array_types import Floats
from moa.evaluation._statistics.estimates import Estimate
from moa.evaluation._statistics.non_inferiority import mean_estimate

Scores = Mapping[str, Mapping[str, Mapping[int, Score]]]


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
        points: The scores in percent, NaN where there is none, in the order of all prompts.
    """

    measure: str
    system: str
    score: float | None
    estimate: Estimate | None
    difference: Estimate | None
    n: int
    missing: int
    why: str
    points: Floats = field(repr=False)

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


def measured_by(
    scores: Scores, records: Mapping[str, Mapping[int, Record]], baseline: str | None
) -> tuple[Measured, ...]:
    """Return what every measure says of every system.

    Args:
        scores: By measure, system and the prompt's index.
        records: Of every system, by the prompt's index.
        baseline: Its name; None if there is none.
    """
    indices = sorted({index for found in records.values() for index in found})
    measured = []
    for measure, found in scores.items():
        rows = {name: points(found[name], records[name], indices) for name in records}
        theirs = None if baseline is None else rows[baseline]
        measured += [_measured(measure, name, mine, theirs, found[name]) for name, mine in rows.items()]
    return tuple(measured)


def points(scores: Mapping[int, Score], records: Mapping[int, Record], indices: list[int]) -> Floats:
    """Return a system's scores in percent, 0 where it failed, NaN where it has no score; shape (prompts,)."""
    failed = {index for index, record in records.items() if not record.has_output}
    values = ((0.0 if index in failed else _value(scores.get(index))) for index in indices)
    return np.array([np.nan if value is None else 100.0 * value for value in values])


def _value(score: Score | None) -> float | None:
    return None if score is None else score.value


def _measured(
    measure: str, system: str, values: Floats, baseline: Floats | None, scores: Mapping[int, Score]
) -> Measured:
    failures = [score.failure.message for _, score in sorted(scores.items()) if score.failure is not None]
    known = values[~np.isnan(values)]
    return Measured(
        measure=measure,
        system=system,
        score=float(known.mean()) if len(known) else None,
        estimate=mean_estimate(values),
        difference=None if baseline is None or baseline is values else mean_estimate(values - baseline),
        n=len(known),
        missing=len(failures),
        why=failures[0] if failures else "",
        points=values,
    )
