"""What verdicts show about a difference in quality: better, good enough, worse, or not decided."""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from moa.evaluation._statistics.array_types import Floats
from moa.evaluation._statistics.estimates import LEVEL, Estimate, Interval
from moa.evaluation._statistics.position_consistency import PositionConsistency
from moa.evaluation._statistics.sample_means import MARGIN, WIN, mean_with_interval, prompts_to_settle

MIN_DATA = 30
"""Fewest prompts' worth of data on which anything is decided."""

MANY_PROMPTS = 100_000
"""Nobody judges more: a forecast beyond it is none."""


class Finding(StrEnum):
    """What is shown about a system and another, with a margin by which it may be worse.

    Source:
        Piaggio et al. 2012, JAMA 308(24), figure 1: the interval against equality and against the margin.
    """

    BETTER = "better"
    GOOD_ENOUGH = "good enough"
    SLIGHTLY_WORSE = "worse by less than the margin"
    WORSE = "worse by more than the margin"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What is shown, and what it rests on.

    Attributes:
        finding: In a word.
        gap: How much better the system is, in percentage points; 0 is equal.
        margin: Percentage points by which it may be worse.
        beyond_margin: By how much it clears the margin, in points: the gap, and the margin for each pair on which the
            judge keeps its side. None where that share is unknown.
        more_prompts: How many further prompts it takes at least to decide what is undecided; None where that is known
            already, or where more than `MANY_PROMPTS` would be needed.
    """

    finding: Finding
    gap: Estimate
    margin: float
    beyond_margin: Estimate | None
    more_prompts: int | None = None


def assess(
    gaps: Floats,
    consistency: PositionConsistency | None,
    *,
    margin: float = MARGIN,
    most: float = WIN,
    looks: int | None = None,
    level: float = LEVEL,
) -> Assessment:
    """Return what a system's verdicts show against equality and against the margin.

    The margin counts only on pairs on which the judge keeps its side: mean(gap) + margin x share of those pairs is
    tested against 0. A judge that can't tell moves every gap toward 0; it would move it inside of a margin that stays
    as it is.

    Args:
        gaps: Points by which the system is better on each prompt, or a figure's pseudo-values; shape (prompts,).
        consistency: On which pairs the judge keeps its side, in the same order; None if that was not tried.
        margin: Percentage points by which the system may be worse.
        most: As for `mean_with_interval`; likewise `looks`.
        looks: How many prompts are planned, if one looked before all of them were judged.
        level: Confidence of both intervals, between 0 and 1.

    Raises:
        ValueError: There is no prompt, or the margin is not above 0.
    """
    if margin <= 0:
        raise ValueError(f"a margin is above 0, not {margin}")
    gap = mean_with_interval(gaps, most=most, looks=looks, level=level)
    beyond = None
    if consistency is not None:
        beyond = mean_with_interval(
            gaps + margin * _spread_out(consistency),
            center=margin * consistency.share,
            most=most,
            looks=looks,
            level=level,
        )
    found = Assessment(finding=Finding.UNDECIDED, gap=gap, margin=margin, beyond_margin=beyond)
    return decided(replace(found, more_prompts=_more_prompts(found, most)))


def decided(found: Assessment) -> Assessment:
    """Return the assessment with the finding that follows from its intervals."""
    gap, beyond = found.gap.interval, found.beyond_margin
    clears = beyond is not None and beyond.interval.low > 0
    # Without the margin's share the whole margin is asked for.
    fails = gap.high < -found.margin if beyond is None else beyond.interval.high < 0
    finding = Finding.UNDECIDED
    if gap.low > 0:
        finding = Finding.BETTER
    elif fails and gap.high < 0:
        finding = Finding.WORSE
    elif clears:
        finding = Finding.SLIGHTLY_WORSE if gap.high < 0 else Finding.GOOD_ENOUGH
    return replace(found, finding=finding, more_prompts=found.more_prompts if finding is Finding.UNDECIDED else None)


def withstands(found: Assessment, missing: float, most: float) -> bool:
    """Return whether the finding would stand if all that is missing were against it.

    Args:
        found: What is shown by the prompts that are there.
        missing: Share of all prompts, 0-1, that are not.
        most: How far from equality one prompt can be, in points.

    Source:
        The bounds of Manski 1989, Journal of Human Resources 24(3): nothing is assumed of what is missing.
    """
    gap, beyond = found.gap.interval, (found.beyond_margin or found.gap).interval
    low, high = (gap.low, gap.high) if found.finding is Finding.BETTER else (beyond.low, beyond.high)
    if found.finding is Finding.WORSE:
        return (1.0 - missing) * high + missing * most < 0
    return (1.0 - missing) * low - missing * most > 0


def either(one: Assessment, other: Assessment) -> Assessment:
    """Return what is shown whichever of two assumptions holds: each interval spans both."""
    beyond = None
    if one.beyond_margin is not None and other.beyond_margin is not None:
        beyond = _span(one.beyond_margin, other.beyond_margin)
    return decided(replace(one, gap=_span(one.gap, other.gap), beyond_margin=beyond, more_prompts=None))


def effective_number(values: Floats) -> float:
    """Return on how many prompts a mean's error effectively rests: all, if all matter alike, and 0 if none varies.

    Source:
        Kish 1965, Survey Sampling, section 11.7, with the squared deviations as weights.
    """
    squares = (values - values.mean()) ** 2
    return float(squares.sum() ** 2 / np.sum(squares**2)) if np.any(squares > 0) else 0.0


def _spread_out(consistency: PositionConsistency) -> Floats:
    """Return a value for each prompt: their mean is the share, their spread has the error of the pairs tried."""
    tried = ~np.isnan(consistency.values)
    scale = len(consistency.values) / consistency.pairs
    return consistency.share + np.where(
        tried, scale * (np.nan_to_num(consistency.values) - consistency.values[tried].mean()), 0.0
    )


def _span(one: Estimate, other: Estimate) -> Estimate:
    low = min(one.interval.low, other.interval.low)
    high = max(one.interval.high, other.interval.high)
    interval = Interval(low=low, high=high, level=one.interval.level)
    return replace(one, value=(one.value + other.value) / 2.0, interval=interval)


def _more_prompts(found: Assessment, most: float) -> int | None:
    """Return the least number that would do if the present figures were the truth."""
    known = [one for one in (found.gap, found.beyond_margin) if one is not None and abs(one.value) > 0]
    needed = [prompts_to_settle(one.value, _deviation(one, most), most=most, level=one.interval.level) for one in known]
    if found.beyond_margin is not None and needed:
        # That it is worse decides nothing by itself: it may still be good enough.
        needed = needed if found.gap.value > 0 else needed[-1:]
    if not needed or min(needed) > MANY_PROMPTS:
        return None
    return max(1, min(needed) - found.gap.n, MIN_DATA - found.gap.n)


def _deviation(found: Estimate, most: float) -> float:
    """Of one prompt's value, about, without the four imagined ones."""
    squares = found.standard_error**2 * (found.n + 4) * (found.n + 3) - 4.0 * most**2
    return math.sqrt(max(0.0, squares / found.n))
