"""When verdicts are enough: by the very figures that the report's first sentence rests on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from moa.evaluation._length_control.models import GamedBaselines, LengthModel
from moa.evaluation._metrics.evidence import Evidence, weigh
from moa.evaluation._metrics.single_model import SingleModel, weigh_all
from moa.evaluation._metrics.verdicts import Verdicts
from moa.evaluation._statistics.findings import Finding
from moa.evaluation._statistics.sample_means import MARGIN

Until = Literal["all", "decided", "good-enough"]
"""`decided`: until it is known whether the mixture is better, as good, or worse, and whether a single model would do.
`good-enough`: until it is known whether the mixture is worse by the margin."""

MIN_PROMPTS = 50
"""Fewest prompts at which one looks: the intervals that hold at every look do so for large numbers."""

GROWTH = 1.1
"""How many times as many prompts there are at the next look: each look costs some milliseconds of fitting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """Which prompts the answer rests on, where one looked before all were judged.

    Attributes:
        until: What was to be known.
        decided: Whether it is.
        prompts: The indices of the prompts that were looked at, in the order of judging.
        planned: Prompts in all.
    """

    until: Until
    decided: bool
    prompts: tuple[int, ...]
    planned: int

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return asdict(self)


def look_sizes(prompts: int) -> list[int]:
    """Return after how many of all prompts to look; always the same, so that a resumed run decides as it did."""
    sizes, size = [], MIN_PROMPTS
    while size < prompts:
        sizes.append(size)
        size = math.ceil(GROWTH * size)
    return [*sizes, prompts] if prompts >= MIN_PROMPTS else []


def look(
    until: Until,
    sides: Sequence[Verdicts],
    models: Mapping[str, Verdicts],
    name: LengthModel | None,
    gamed: GamedBaselines | None = None,
    *,
    planned: int,
    margin: float = MARGIN,
) -> bool:
    """Return whether the verdicts so far are enough; of all series of looks at most one in twenty errs.

    Args:
        until: What is to be known.
        sides: As for `weigh`.
        models: Verdicts on each model alone, on the same prompts in the same order.
        name: Which length model; None for scores by a measure of one output.
        gamed: The official regulariser, if the model needs it.
        planned: Prompts in all.
        margin: Percentage points.
    """
    evidence = weigh(sides, name, gamed, margin=margin, looks=planned)
    if evidence is None or not is_settled(until, evidence):
        return False
    if until == "good-enough" or not models or evidence.controlled.finding is Finding.WORSE:
        return True  # a single model is no question where the mixture is lost; else the first sentence says it is open
    _, single = weigh_all(sides, models, name, gamed, margin=margin, looks=planned)
    return single is None or _is_single_model_settled(single)


def is_settled(until: Until, evidence: Evidence) -> bool:
    """Return whether the mixture and the baseline are told apart as far as was asked for.

    Args:
        until: What is to be known.
        evidence: With intervals that hold at every look.
    """
    raw, controlled = evidence.raw, evidence.controlled
    if evidence.n < MIN_PROMPTS or not evidence.length.is_identified or evidence.disagree:
        return False
    if until == "good-enough":
        return controlled.finding is not Finding.UNDECIDED
    if raw.gap.value * controlled.gap.value < 0:
        return False
    if controlled.finding is Finding.GOOD_ENOUGH and evidence.consistency is not None:
        # It may still turn out to be better, unless that could be by less than the margin only.
        return controlled.gap.interval.high < controlled.margin * evidence.consistency.share
    return controlled.finding is not Finding.UNDECIDED


def _is_single_model_settled(single: SingleModel) -> bool:
    if single.to_mixture.finding in (Finding.BETTER, Finding.GOOD_ENOUGH):
        return single.to_baseline.finding is not Finding.UNDECIDED
    return single.to_mixture.finding is not Finding.UNDECIDED
