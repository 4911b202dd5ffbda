"""What verdicts show about a difference in quality: better, good enough, worse, or not decided."""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from moa.evaluation._statistics.array_types import Floats
from moa.evaluation._statistics.confidence_sequence import asymptotic_reach
from moa.evaluation._statistics.estimates import LEVEL, Estimate, Interval, student_quantile
from moa.evaluation._statistics.position_consistency import PositionConsistency
from moa.evaluation._statistics.sample_means import MARGIN, prompts_to_settle

MIN_DATA = 30
"""Fewest prompts' worth of data on which anything is decided."""

MANY_PROMPTS = 100_000
"""Nobody judges more: a forecast beyond it is none."""

_IMAGINED = np.array([50.0, 50.0, -50.0, -50.0])
"""Two imagined wins and two imagined losses, in points from equality.

Source: Agresti & Coull 1998, The American Statistician 52(2). They keep the promise of intervals for few prompts, and
those of win rates near 0 and 100%, where the verdicts seen so far hide how much they vary.
"""


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
        looks: How many prompts are planned, if one looked before all of them were judged: the intervals then hold at
            every look (for large numbers). None if the number was fixed beforehand.
        level: Confidence of both intervals, between 0 and 1.

    Raises:
        ValueError: There is no prompt, or the margin is not above 0.
    """
    if margin <= 0:
        raise ValueError(f"a margin is above 0, not {margin}")
    gap = mean_with_interval(gaps, looks=looks, level=level)
    beyond = None
    if consistency is not None:
        beyond = mean_with_interval(
            gaps + margin * _spread_out(consistency), center=margin * consistency.share, looks=looks, level=level
        )
    found = Assessment(finding=Finding.UNDECIDED, gap=gap, margin=margin, beyond_margin=beyond)
    return decided(replace(found, more_prompts=_more_prompts(found)))


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


def either(one: Assessment, other: Assessment) -> Assessment:
    """Return what is shown whichever of two assumptions holds: each interval spans both."""
    beyond = None
    if one.beyond_margin is not None and other.beyond_margin is not None:
        beyond = _span(one.beyond_margin, other.beyond_margin)
    return decided(replace(one, gap=_span(one.gap, other.gap), beyond_margin=beyond, more_prompts=None))


def mean_with_interval(
    values: Floats, *, center: float = 0.0, level: float = LEVEL, looks: int | None = None
) -> Estimate:
    """Return the mean of one value for each prompt, in points, with an interval that holds for few prompts too.

    Args:
        values: Points; shape (prompts,), at least one.
        center: Points around which the imagined wins and losses lie.
        level: Confidence, between 0 and 1.
        looks: As for `assess`.
    """
    n = len(values)
    filled = np.concatenate([values, center + _IMAGINED])
    deviation = float(filled.std(ddof=1))
    middle, error = float(filled.mean()), deviation / math.sqrt(len(filled))
    if looks is None:
        reach = student_quantile(level, len(filled)) * error
    else:
        reach = asymptotic_reach(len(filled), planned=max(1, looks // 2), level=level) * deviation
    interval = Interval(low=middle - reach, high=middle + reach, level=level)
    return Estimate(value=float(values.mean()), standard_error=error, interval=interval, n=n)


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


def _more_prompts(found: Assessment) -> int | None:
    """Return the least number that would do if the present figures were the truth."""
    known = [one for one in (found.gap, found.beyond_margin) if one is not None and abs(one.value) > 0]
    needed = [
        prompts_to_settle(one.value, one.standard_error * math.sqrt(one.n), level=one.interval.level) for one in known
    ]
    if found.beyond_margin is not None and needed:
        # That it is worse decides nothing by itself: it may still be good enough.
        needed = needed if found.gap.value > 0 else needed[-1:]
    if not needed or min(needed) > MANY_PROMPTS:
        return None
    return max(1, min(needed) - found.gap.n, MIN_DATA - found.gap.n)
