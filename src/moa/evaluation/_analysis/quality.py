"""From figures to what the verdict rests on: the sequence that judging was stopped by, or else the best interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moa.evaluation._analysis.recommendation import Quality
from moa.evaluation._data.annotations import Annotation, win_probabilities
from moa.evaluation._metrics.metrics import Metrics
from moa.evaluation._metrics.paired_difference import Comparison
from moa.evaluation._statistics.estimates import Estimate
from moa.evaluation._statistics.non_inferiority import non_inferiority
from moa.evaluation._statistics.sequential import Decision, SequentialResult, as_estimate, cautious_estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """What came of stopping as soon as it was settled.

    Attributes:
        settlement: What was settled.
        judged: Prompts on which there is a verdict on the mixture, also those that came after.
        planned: Prompts in all.
    """

    settlement: SequentialResult
    judged: int
    planned: int

    @property
    def saved(self) -> int:
        """Prompts that did not have to be judged."""
        return max(0, self.planned - self.judged)

    @property
    def sentence(self) -> str:
        """What it saved."""
        found = self.settlement
        if found.decision is Decision.CONTINUE:
            return f"Not settled by {found.judged:,} of {self.planned:,} prompts."
        share = f" ({100 * self.saved / self.planned:.0f} %)" if self.saved else ""
        return (
            f"Settled ({found.decision}) after {found.rests_on:,} of {self.planned:,} prompts: {self.saved:,} "
            f"prompts{share} were left unjudged."
        )

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        saved = {"prompts": self.saved, "share": self.saved / self.planned if self.planned else 0.0}
        return {**self.settlement.as_dict(), "of": self.planned, "saved": saved, "sentence": self.sentence}


def settled_quality(stopped: Stopped, margin: float) -> Quality:
    """Return quality by the sequence that judging was to stop by: any other interval is not valid after looking."""
    found = stopped.settlement
    estimate = as_estimate(found.estimate, found.interval, found.rests_on)
    reference = 0.0 if found.is_difference else 50.0
    return Quality(
        finding=non_inferiority(estimate, margin=margin, reference=reference),
        measure=found.measure,
        is_difference=found.is_difference,
        n=found.rests_on,
        of=stopped.planned,
        sequence_for=found.target,
    )


def win_rate_quality(found: Metrics | None, annotations: Sequence[Annotation], margin: float) -> Quality:
    """Return quality by the length-controlled win rate; by the raw one where all verdicts are equal, or too few."""
    if found is None:
        return Quality(finding=None, measure="", is_difference=False, n=0)
    if found.length_controlled_win_rate is None or found.lc_interval is None or found.lc_standard_error is None:
        return _raw_quality(cautious_estimate(win_probabilities(annotations)), found.counts.n_total, margin)
    n = found.counts.n_total
    estimate = Estimate(
        value=found.length_controlled_win_rate,
        standard_error=found.lc_standard_error,
        interval=found.lc_interval,
        n=n,
    )
    finding = non_inferiority(estimate, margin=margin)
    return Quality(finding=finding, measure="length-controlled win rate", is_difference=False, n=n)


def _raw_quality(estimate: Estimate | None, n: int, margin: float) -> Quality:
    finding = None if estimate is None else non_inferiority(estimate, margin=margin)
    return Quality(finding=finding, measure="win rate", is_difference=False, n=n)


def difference_quality(both: Comparison, margin: float) -> Quality:
    """Return quality by the difference of mixture and baseline, both judged against a third system."""
    estimate, measure = both.lc_difference, "length-controlled win rate"
    if estimate is None:
        estimate, measure = both.win_rate_difference, "win rate"
    finding = None if estimate is None else non_inferiority(estimate, margin=margin, reference=0.0)
    return Quality(finding=finding, measure=measure, is_difference=True, n=both.n)
