"""What measures of one output and former judges say: mean scores, and how much better they are than the baseline's."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any

import numpy as np

from moa.evaluation._metrics.evidence import Verdicts, scores_as_verdicts
from moa.evaluation._runner.table import Table
from moa.evaluation._statistics.array_types import Floats
from moa.evaluation._statistics.estimates import Estimate
from moa.evaluation._statistics.sample_means import DIFFERENCE, numbered, rows_with_interval


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
    """What one measure says of all systems: a row for each prompt, a column for each system.

    Attributes:
        measure: Its name.
        indices: The prompts' indices.
        keys: What tells prompts apart: rows with the same key are about the same prompt.
        points: Percent 0-100 by system; NaN where there is none.
        failures: By system, what the measure said of each output on which it failed.
    """

    measure: str
    indices: tuple[int, ...]
    keys: tuple[str, ...]
    points: Mapping[str, Floats]
    failures: Mapping[str, Sequence[str]]

    def at(self, indices: Container[int]) -> "Scores":
        """Return the rows of some prompts."""
        chosen = np.array([index in indices for index in self.indices], dtype=np.bool_)
        return replace(
            self,
            indices=tuple(np.array(self.indices)[chosen].tolist()),
            keys=tuple(np.array(self.keys)[chosen].tolist()),
            points={system: points[chosen] for system, points in self.points.items()},
        )

    def verdicts(self, system: str) -> Verdicts:
        """Return a system's scores as verdicts against the right answers."""
        return scores_as_verdicts(self.points[system] / 100.0, numbered(self.keys))

    def measured(self, baseline: str | None) -> tuple[Measured, ...]:
        """Return each system's figures; the baseline is the one that all others are compared with, if it has scores."""
        return tuple(self._of(system, None if baseline == system else baseline) for system in self.points)

    def _of(self, system: str, baseline: str | None) -> Measured:
        values, failures = self.points[system], self.failures.get(system, ())
        theirs = None if baseline is None else self.points.get(baseline)
        known = values[~np.isnan(values)]
        return Measured(
            measure=self.measure,
            system=system,
            estimate=rows_with_interval(values, self.keys, center=50.0),
            difference=None if theirs is None else rows_with_interval(values - theirs, self.keys, most=DIFFERENCE),
            all_equal=float(known[0]) if len(known) > 1 and not np.ptp(known) else None,
            n=len(known),
            missing=len(failures),
            why=failures[0] if failures else "",
        )


def scores_of(table: Table, measures: Sequence[str]) -> tuple[Scores, ...]:
    """Return what measures say of every system; of one that was scored by a former session's alone, what there is.

    Args:
        table: What a run has, by these measures and by former ones.
        measures: Names of those that are asked for now.
    """
    answered = {index for found in table.records.values() for index in found}
    rows = [one for one in table.instructions if one.index in answered]
    found = []
    for measure, by_system in table.scores.items():
        systems = [name for name in by_system if measure in measures or by_system[name]]
        given = {name: [score for _, score in sorted(by_system[name].items())] for name in systems}
        found.append(
            Scores(
                measure=measure,
                indices=tuple(one.index for one in rows),
                keys=tuple(one.key for one in rows),
                points={
                    name: np.array([100.0 * table.score(measure, name, one.index) for one in rows]) for name in systems
                },
                failures={name: [one.failure.message for one in given[name] if one.failure] for name in systems},
            )
        )
    return tuple(found)


def scores_of_judge(table: Table) -> Scores:
    """Return the win rates that a judge gives every system, as scores."""
    points, failures = dict[str, Floats](), dict[str, list[str]]()
    for name in table.verdicts:
        rows = {row.index: row for row in table.judgements(name)}
        known = {index: row.preference for index, row in rows.items() if row.preference is not None}
        if known:
            points[name] = np.array([100.0 * (known.get(one.index, nan) - 1.0) for one in table.instructions])
            failures[name] = [str(row.failure["message"]) for row in rows.values() if row.failure]
    return Scores(
        measure=f"{table.judge} against {table.opponent}",
        indices=tuple(one.index for one in table.instructions),
        keys=tuple(one.key for one in table.instructions),
        points=points,
        failures=failures,
    )
