"""A length-controlled win rate, or a difference of two, looked at while it is being judged.

The sequences are asymptotic: their error rate holds for large numbers, so nothing is looked at before `MIN_PROMPTS`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moa.evaluation._length_control.glm_path import STRENGTHS, PathFit
from moa.evaluation._length_control.influence import influence_values
from moa.evaluation._length_control.l1_logistic import fit_exactly
from moa.evaluation._length_control.models import (
    LENGTH_ONLY_STRENGTH,
    GamedBaselines,
    Judged,
    LengthFit,
    LengthModel,
    as_length_fit,
    design_for,
)
from moa.evaluation._length_control.refit import weighted_rows
from moa.evaluation._length_control.standard_errors import length_inflation
from moa.evaluation._statistics.array_types import Floats, sigmoid
from moa.evaluation._statistics.estimates import LEVEL, Interval
from moa.evaluation._statistics.non_inferiority import MARGIN
from moa.evaluation._statistics.sequential import Decision, SequentialResult, decide

MIN_PROMPTS = 100
"""Fewest prompts at which an asymptotic sequence is looked at."""

MIN_EFFECTIVE = 10.0
"""Fewest prompts on which the error effectively rests; see `effective_number`. Where wins are rare and the figure an
extrapolation, a handful of a hundred prompts decide both the figure and its error."""

GROWTH = 1.1
"""How many times as many prompts there are at the next look: each look costs some milliseconds of fitting."""

STRENGTH = float(STRENGTHS[5])
"""C of the fit to all prompts: what the official cross-validation chooses for about half of the leaderboard's models;
for the others the figure moves by less than 0.2 points."""

_LARGEST_VARIANCE = 50.0**2
_SURELY = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The figure after so many prompts, and where it lies by all that is known then."""

    prompts: int
    estimate: float
    interval: Interval


def look_sizes(prompts: int) -> list[int]:
    """Return after how many of all prompts to look; always the same, so that a resumed run decides as it did."""
    sizes, size = [], MIN_PROMPTS
    while size < prompts:
        sizes.append(size)
        size = math.ceil(GROWTH * size)
    return [*sizes, prompts] if prompts >= MIN_PROMPTS else []


def look_at(
    sides: Sequence[Judged],
    name: LengthModel,
    gamed: GamedBaselines | None = None,
    *,
    planned: int,
    level: float = LEVEL,
) -> Look | None:
    """Return one look at the figure that the length model would give for all prompts, None if it is too early for it.

    Args:
        sides: The system's verdicts so far in the order of judging, all present; and, where two systems are compared
            by their difference, the other's on the same prompts.
        name: Which length model.
        gamed: The official regulariser, if the model needs it.
        planned: How many prompts there are in all.
        level: Probability 0-1 that the intervals of all looks together hold.

    Returns:
        Percent 0-100, or percentage points for a difference.
    """
    fits = [fit_so_far(side, name, gamed, planned=planned) for side in sides]
    influences = [influence_values(fit) for fit in fits]
    influence = influences[0] if len(fits) == 1 else influences[0] - influences[1]
    # Where length can't be told from quality at all, there is a figure and an error, but neither means anything.
    blurred = any(math.isinf(length_inflation(fit.design)) for fit in fits)
    if blurred or effective_number(influence) < MIN_EFFECTIVE:
        return None
    tightest = max(1, planned // 2)
    if len(fits) == 1:
        estimate = fits[0].win_rate
        interval = length_controlled_interval(estimate, influence, planned=tightest, level=level)
    else:
        estimate = fits[0].win_rate - fits[1].win_rate
        interval = difference_interval(estimate, influence, planned=tightest, level=level)
    return Look(prompts=len(sides[0]), estimate=estimate, interval=interval)


def fit_so_far(judged: Judged, name: LengthModel, gamed: GamedBaselines | None, *, planned: int) -> LengthFit:
    """Return the exact fit to a part of the prompts that aims at the same figure as the fit to all of them.

    Regulariser and penalty weigh as much for each prompt as they will in the end; cross-validation would take a
    hundred times as long and choose another strength at each look.

    Args:
        judged: The verdicts so far.
        name: Which length model.
        gamed: The official regulariser, if the model needs it.
        planned: How many prompts there are in all.
    """
    share = len(judged) / planned
    design = design_for(name, judged, gamed, share=share)
    strength = STRENGTH / share if design.has_folds else LENGTH_ONLY_STRENGTH
    weight, target, features = weighted_rows(design, np.ones((1, len(judged)), dtype=np.int64))
    weights = fit_exactly(features, target, weight, strength)[0]
    return as_length_fit(design, PathFit(weights=weights, strength=strength))


def effective_number(influence: Floats) -> float:
    """Return on how many prompts a standard error effectively rests: all, if all matter alike, and 0 if none does.

    Args:
        influence: Influence values, one for each prompt; their mean is 0.

    Source:
        Kish 1965, Survey Sampling, section 11.7, with the squared influence values as weights.
    """
    squares = influence**2
    return float(squares.sum() ** 2 / np.sum(squares**2)) if np.any(squares > 0) else 0.0


def length_controlled_interval(win_rate: float, influence: Floats, *, planned: int, level: float = LEVEL) -> Interval:
    """Return where a length-controlled win rate lies, valid (for large numbers) at every look.

    The sequence is made for the logit and transformed back: near 0 and 100 % a rate's own error is skewed, and
    a symmetric interval misses too often at early looks. There the verdicts seen so far also hide how much they vary,
    until the first rare one comes: one imagined verdict of the largest variance stands in for those.

    Args:
        win_rate: At this look, percent 0-100.
        influence: Influence values at this look, percentage points, one for each prompt judged.
        planned: At how many prompts the sequence should be tightest, e.g. half of all.
        level: Probability 0-1 that the interval holds at all looks together.

    Returns:
        Percent 0-100.

    Source:
        Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024, Annals of Statistics 52(6), arXiv 2103.06476:
        theorem 2.2 (the sequence), section 3 (influence values), appendix B.2 (the choice of rho); the delta
        method for the logit; Waudby-Smith & Ramdas 2024, arXiv 2010.09686, equation 15, for the imagined verdict.
    """
    rate = min(max(win_rate / 100.0, _SURELY), 1.0 - _SURELY)
    reach = _reach(influence, planned, level) / 100.0 / (rate * (1.0 - rate))
    ends = math.log(rate / (1.0 - rate)) + np.array([-reach, reach])
    low, high = 100.0 * sigmoid(ends)
    return Interval(low=float(low), high=float(high), level=level)


def difference_interval(difference: float, influence: Floats, *, planned: int, level: float = LEVEL) -> Interval:
    """Return where a difference of two such rates lies, likewise.

    Args:
        difference: At this look, percentage points.
        influence: The first system's influence values less the second's.
        planned: As for `length_controlled_interval`.
        level: As for `length_controlled_interval`.

    Returns:
        Percentage points.
    """
    reach = _reach(influence, planned, level)
    return Interval(low=difference - reach, high=difference + reach, level=level)


def asymptotic_reach(n: int, *, planned: int, level: float = LEVEL) -> float:
    """Return how many standard deviations of one value an asymptotic confidence sequence extends after `n`.

    Args:
        n: Values so far, at least 1.
        planned: At how many values the sequence should be tightest.
        level: Probability 0-1 that the interval holds at all looks together.

    Returns:
        A number of standard deviations; it falls about as sqrt(log n / n).

    Source:
        arXiv 2103.06476, theorem 2.2, equation 7, and appendix B.2 for rho.
    """
    miss = 1.0 - level
    rho2 = (-2.0 * math.log(miss) + math.log(-2.0 * math.log(miss) + 1.0)) / planned
    growth = n * rho2 + 1.0
    return math.sqrt(2.0 * growth / (n * n * rho2) * math.log(math.sqrt(growth) / miss))


def settle_length_controlled(
    look: Look, *, judged: int, model: LengthModel, is_difference: bool, margin: float = MARGIN
) -> SequentialResult:
    """Return what a look has settled.

    Args:
        look: The first one that settles anything, or else the last one.
        judged: How many prompts are judged by now.
        model: Which length model it was.
        is_difference: Whether it is a difference of two win rates.
        margin: Percentage points that count as no difference.
    """
    decision = decide(look.interval, margin=margin, reference=0.0 if is_difference else 50.0)
    return SequentialResult(
        decision=decision,
        judged=judged,
        settled_after=None if decision is Decision.CONTINUE else look.prompts,
        estimate=look.estimate,
        interval=look.interval,
        target=f"the length-controlled figure ({model}) of all prompts like these, asymptotically",
        measure="length-controlled win rate",
        is_difference=is_difference,
    )


def _reach(influence: Floats, planned: int, level: float) -> float:
    """Return percentage points."""
    n = len(influence)
    squares = float(np.sum((influence - influence.mean()) ** 2))
    deviation = math.sqrt((squares + _LARGEST_VARIANCE) / (n + 1))
    return deviation * asymptotic_reach(n, planned=planned, level=level)
