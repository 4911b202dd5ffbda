"""Confidence sequences: intervals that hold at every look, so that judging may stop as soon as they decide.

Preferences are probabilities 0-1 in the order in which prompts were drawn at random; results are percent.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from moa.evaluation.arrays import Bools, Floats, Ints, sigmoid
from moa.evaluation.intervals import LEVEL, Interval
from moa.evaluation.length_control import standard_deviation
from moa.evaluation.statistics import MARGIN

MIN_LENGTH_CONTROLLED = 100
"""Fewest prompts at which an asymptotic sequence is looked at."""

_BETS = np.arange(1, 11) / 11.0
_BISECTIONS = 50
_ROUNDING = 1e-9


class Decision(StrEnum):
    """What judging so far has settled."""

    WIN = "win"
    LOSE = "lose"
    WITHIN = "within"
    CONTINUE = "continue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """Whether a sequence of judgements is settled, and since when.

    Attributes:
        decision: `win` or `lose`: the mean preference is above or below one half. `within`: nearer to one half
            than the margin, on both sides. `continue`: not settled.
        judged: How many judgements were looked at.
        settled_after: How many were needed; None while it is not settled.
        interval: Of the mean preference after the last look, percent 0-100.
        target: What the interval is about, in words for the report.
    """

    decision: Decision
    judged: int
    settled_after: int | None
    interval: Interval
    target: str


def settle(
    preferences: Floats, *, margin: float = MARGIN, level: float = LEVEL, population: int | None = None
) -> Settlement:
    """Return what the judgements so far have settled, whatever the number of looks before.

    Args:
        preferences: Probability 0-1 of each judgement, in the order of judging; shape (judgements,).
        margin: Percentage points around 50 that count as no difference, above 0.
        level: Probability 0-1 that the interval holds at all looks together.
        population: How many prompts there are in all, if the question is what all of those would say; None if
            they are a sample of the prompts in question.

    Returns:
        The decision. At most 1 - level of all series of looks end in a false one.

    Raises:
        ValueError: A preference is missing or outside 0-1, there are more than the population, or the margin is
            not above 0.

    Source:
        Ramdas et al. 2023, Statistical Science 38(4), section 1.4: decisions from one confidence sequence.
    """
    decisions, times = settle_many(preferences[None, :], margin=margin, level=level, population=population)
    decision = decisions[0]
    return Settlement(
        decision=decision,
        judged=len(preferences),
        settled_after=None if decision is Decision.CONTINUE else int(times[0]),
        interval=confidence_interval(preferences, level=level, population=population),
        target=_target(population),
    )


def settle_many(
    preferences: Floats, *, margin: float = MARGIN, level: float = LEVEL, population: int | None = None
) -> tuple[list[Decision], Ints]:
    """Return the first decision of each series and after how many judgements it came, as `settle` does.

    Args:
        preferences: Shape (series, judgements).
        margin: As for `settle`.
        level: As for `settle`.
        population: As for `settle`.

    Returns:
        Decisions, and the number of judgements at each; all of them where nothing was decided.

    Raises:
        ValueError: As `settle`.
    """
    _check(preferences, margin, population)
    half, near = 0.5, margin / 100.0
    above = [exceeds(preferences, at, level=level, population=population) for at in (half, half - near)]
    below = [exceeds(1 - preferences, at, level=level, population=population) for at in (half, half - near)]
    within = np.logical_and(above[1], below[1])
    firsts = np.stack([_first(above[0]), _first(below[0]), _first(within)])
    order = (Decision.WIN, Decision.LOSE, Decision.WITHIN)
    earliest = firsts.min(axis=0)
    total = preferences.shape[1]
    decisions = [
        order[kind] if when <= total else Decision.CONTINUE
        for kind, when in zip(firsts.argmin(axis=0), earliest, strict=True)
    ]
    return decisions, np.minimum(earliest, total)


def exceeds(preferences: Floats, mean: float, *, level: float = LEVEL, population: int | None = None) -> Bools:
    """Return whether, by each look, the true mean was shown to lie above the given one.

    Args:
        preferences: Shape (series, judgements).
        mean: Probability 0-1.
        level: Of the two-sided sequence: this side errs with half of what is left.
        population: As for `settle`.

    Returns:
        Shape (series, judgements); once true, it stays.
    """
    shown = log_wealth(preferences, mean, population=population) >= math.log(2.0 / (1.0 - level))
    return np.logical_or.accumulate(shown, axis=-1)


def log_wealth(preferences: Floats, mean: float, *, population: int | None = None) -> Floats:
    """Return the log of a gambler's wealth who bets that the true mean lies above the given one.

    If it doesn't, the wealth is at no time above 1 / a with a probability of more than a. The gambler spreads
    one dollar over ten constant bets, so the wealth falls as `mean` rises and the sequence is an interval.

    Args:
        preferences: Shape (..., judgements), probability 0-1.
        mean: Probability 0-1 to bet against.
        population: How many prompts there are in all; None for endless ones.

    Returns:
        Shape (..., judgements). Infinite where the sum so far rules the mean out for certain.

    Source:
        Waudby-Smith & Ramdas 2024, JRSS-B 86(1), arXiv 2010.09686: section 4 (betting), appendix B (constant bets
        spread over a grid, "dKelly"), section 5 (sampling without replacement: the mean of what is left).
    """
    total = np.cumsum(preferences, axis=-1)
    if population is None:
        left: Floats = np.full(preferences.shape[-1], mean)
    else:
        drawn = np.arange(preferences.shape[-1])
        left = (population * mean - (total - preferences)) / (population - drawn)
    gain = preferences / np.maximum(left, np.finfo(np.float64).tiny ** 0.5) - 1.0
    wealth = np.full(preferences.shape, -np.inf)
    for bet in _BETS:
        wealth = np.logaddexp(wealth, np.cumsum(np.log1p(bet * gain), axis=-1))
    wealth -= math.log(len(_BETS))
    if population is None:
        return wealth
    return np.where(total > population * mean + _ROUNDING, np.inf, wealth)


def confidence_interval(preferences: Floats, *, level: float = LEVEL, population: int | None = None) -> Interval:
    """Return where the mean preference lies, valid at every look; also for few or equal preferences.

    Args:
        preferences: Probability 0-1 of each judgement, shape (judgements,); may be empty.
        level: Probability 0-1 that the interval holds at all looks together.
        population: As for `settle`.

    Returns:
        Percent 0-100.

    Raises:
        ValueError: A preference is missing or outside 0-1, or there are more than the population.

    Source:
        `log_wealth`, inverted by bisection on both sides (the hedged capital process with even stakes).
    """
    _check(preferences, MARGIN, population)
    low = _lower_end(preferences, level, population)
    high = 1.0 - _lower_end(1.0 - preferences, level, population)
    return Interval(low=100.0 * low, high=100.0 * high, level=level)


def length_controlled_interval(
    win_rate: float, influence: Floats, *, planned: int, level: float = LEVEL
) -> Interval | None:
    """Return where a length-controlled win rate lies, valid (for large numbers) at every look.

    The sequence is made for the logit and transformed back: near 0 and 100 % a rate's own error is skewed, and
    a symmetric interval misses too often at early looks.

    Args:
        win_rate: At this look, percent, between 0 and 100.
        influence: Influence values at this look, percentage points, one for each prompt judged.
        planned: At how many prompts the sequence should be tightest, e.g. half of all.
        level: Probability 0-1 that the interval holds at all looks together.

    Returns:
        Percent 0-100, or None for fewer than `MIN_LENGTH_CONTROLLED` prompts.

    Source:
        Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024, Annals of Statistics 52(6), arXiv 2103.06476:
        theorem 2.2 (the sequence), section 3 (influence values), appendix B.2 (the choice of rho); the delta
        method for the logit.
    """
    if len(influence) < MIN_LENGTH_CONTROLLED:
        return None
    rate = win_rate / 100.0
    reach = asymptotic_reach(len(influence), planned=planned, level=level)
    reach *= standard_deviation(influence) / 100.0 / (rate * (1.0 - rate))
    ends = math.log(rate / (1.0 - rate)) + np.array([-reach, reach])
    low, high = 100.0 * sigmoid(ends)
    return Interval(low=float(low), high=float(high), level=level)


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


def decide(interval: Interval, *, margin: float = MARGIN, reference: float = 50.0) -> Decision:
    """Return what an interval that is valid at every look has settled.

    Args:
        interval: Percent, or percentage points for a difference.
        margin: How near to the reference counts as no difference.
        reference: 50 for a win rate, 0 for a difference.

    Returns:
        The decision.
    """
    if interval.low > reference:
        return Decision.WIN
    if interval.high < reference:
        return Decision.LOSE
    if interval.low > reference - margin and interval.high < reference + margin:
        return Decision.WITHIN
    return Decision.CONTINUE


def _lower_end(preferences: Floats, level: float, population: int | None) -> float:
    """Return the largest mean that is shown to be too low, within 2^-50."""
    if len(preferences) == 0:
        return 0.0
    threshold = math.log(2.0 / (1.0 - level))
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        if float(log_wealth(preferences, middle, population=population)[-1]) >= threshold:
            low = middle
        else:
            high = middle
    return low


def _first(shown: Bools) -> Ints:
    """Return at which judgement each series first shows it, one past the end if never."""
    times: Ints = np.where(shown.any(axis=-1), shown.argmax(axis=-1) + 1, shown.shape[-1] + 1)
    return times


def _check(preferences: Floats, margin: float, population: int | None) -> None:
    if not np.all((preferences >= 0.0) & (preferences <= 1.0)):
        raise ValueError("every preference is a number from 0 to 1; leave missing ones out")
    if population is not None and preferences.shape[-1] > population:
        raise ValueError(f"{preferences.shape[-1]} judgements of a population of {population} prompts")
    if margin <= 0:
        raise ValueError(f"a margin is above 0, not {margin}")


def _target(population: int | None) -> str:
    if population is None:
        return "the mean preference over all prompts like these"
    return f"the mean preference of exactly these {population} prompts"
