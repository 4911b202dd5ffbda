"""What measures of one output and former judges say: mean scores, and how much better they are than the baseline's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moa.evaluation._metrics.verdicts import Annotations
from moa.evaluation._runner.table import Table
from moa.evaluation._statistics.estimates import Estimate
from moa.evaluation._statistics.sample_means import DIFFERENCE, rows_with_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One system by one measure.

    Attributes:
        measure: Its name.
        system: The system's.
        estimate: Mean score, percent 0-100; None without any. A prompt on which the system failed scores 0.
        difference: Points by which it is better than the baseline, paired by prompt; None without a pair.
        all_equal: The score, in percent, that all outputs have; None if they differ.
        n: Prompts with a score.
        missing: Outputs on which the measure failed; they count for nothing.
        why: What it said on the first of those.
    """

    measure: str
    system: str
    estimate: Estimate | None
    difference: Estimate | None
    all_equal: float | None
    n: int
    missing: int
    why: str

    @property
    def score(self) -> float | None:
        """The mean score, percent 0-100."""
        return None if self.estimate is None else self.estimate.value

    @property
    def remark(self) -> str:
        """What is to be said of it besides: that all scores are equal, and how many are missing."""
        equal = () if self.all_equal is None else (f"all {self.n:,} equal",)
        return ", ".join((*equal, *((f"{self.missing:,} failed",) if self.missing else ())))

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        both = (self.estimate, self.difference)
        ends = [None if one is None else one.interval.ends for one in both]
        return {
            "measure": self.measure,
            "system": self.system,
            "score": self.score,
            "interval": ends[0],
            "all_equal": self.all_equal,
            "difference": None if self.difference is None else self.difference.value,
            "difference_interval": ends[1],
            "n": self.n,
            "missing": self.missing,
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """What one measure, or a former judge, says of all systems.

    Attributes:
        measure: Its name.
        found: By system, rows about the same prompts in the same order.
    """

    measure: str
    found: Mapping[str, Annotations]

    def measured(self, baseline: str | None) -> tuple[Measured, ...]:
        """Return each system's figures; the baseline is the one that all others are compared with, if it has scores."""
        return tuple(self._of(system, None if baseline == system else baseline) for system in self.found)

    def _of(self, system: str, baseline: str | None) -> Measured:
        rows = self.found[system]
        values, theirs = 100.0 * rows.won, None if baseline is None else self.found.get(baseline)
        prompts = range(len(rows)) if rows.prompt is None else rows.prompt.tolist()
        known, failures = values[~np.isnan(values)], [one for one in rows.failure if one is not None]
        difference = None
        if theirs is not None:
            difference = rows_with_interval(values - 100.0 * theirs.won, prompts, most=DIFFERENCE)
        return Measured(
            measure=self.measure,
            system=system,
            estimate=rows_with_interval(values, prompts, center=50.0),
            difference=difference,
            all_equal=float(known[0]) if len(known) > 1 and not np.ptp(known) else None,
            n=len(known),
            missing=len(failures),
            why=str(failures[0]["message"]) if failures else "",
        )


def scores_of(table: Table, measures: Sequence[str]) -> tuple[Scores, ...]:
    """Return what measures and former judges say; of one that isn't asked for now, of the systems that it scored.

    Args:
        table: What a run has.
        measures: Names of those that are asked for now.
    """
    answered = np.logical_or.reduce([one.is_there for one in table.answers.values()])
    scores = []
    for column in (*table.measuring.values(), *table.former):
        found = {name: table.all_rows(column, name)[0].take(answered) for name in column.found}
        if column.opponent is not None:
            found = {name: rows for name, rows in found.items() if not np.isnan(rows.won).all()}
        elif column.name not in measures:
            found = {name: rows for name, rows in found.items() if column.is_known[name].any()}
        against = "" if column.opponent is None else f" against {column.opponent}"
        if found or column.opponent is None:
            scores.append(Scores(measure=f"{column.name}{against}", found=found))
    return tuple(scores)
