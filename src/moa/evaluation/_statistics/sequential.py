"""Confidence sequences: intervals that hold at every look, so that judging may stop as soon as they decide.

Preferences are probabilities 0-1 in the order in which prompts were drawn at random; results are percent.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

import numpy as np

from moa.evaluation._statistics.array_types import Bools, Floats, Ints
from moa.evaluation._statistics.estimates import LEVEL, Estimate, Interval, student_quantile
from moa.evaluation._statistics.non_inferiority import MARGIN, MIN_PROMPTS

_BETS = np.arange(1, 11) / 11.0
_BISECTIONS = 50
_ROUNDING = 1e-9


class Decision(StrEnum):
    """What judging so far has settled.

    Where a look settles two at once, the first one counts, as in the verdict's rule: what is worse by less than the
    margin for certain is comparable.
    """

    WIN = "win"
    WITHIN = "within"
    LOSE = "lose"
    CONTINUE = "continue"


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialResult:
    """Whether a sequence of judgements is settled, and since when.

    Attributes:
        decision: `win` or `lose`: the mean preference is above or below one half. `within`: nearer to one half
            than the margin, on both sides. `continue`: not settled.
        judged: How many judgements were looked at.
        settled_after: How many were needed; None while it is not settled.
        estimate: The figure at the look that settled it, or else at the last one, in the interval's unit.
        interval: At the same look, from all looks until then: percent 0-100, or points for a difference. It says what
            the decision says.
        target: What the interval is about, in words for the report.
        measure: What the estimate is.
        is_difference: Whether it is a difference of two win rates, in points.
    """

    decision: Decision
    judged: int
    settled_after: int | None
    estimate: float
    interval: Interval
    target: str
    measure: str = "win rate"
    is_difference: bool = False

    @property
    def rests_on(self) -> int:
        """How many judgements estimate and interval come from."""
        return self.judged if self.settled_after is None else self.settled_after

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {**asdict(self), "interval": asdict(self.interval)}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The settlement that `as_dict` gave.

        Raises:
            TypeError, ValueError, KeyError: It is none.
        """
        interval, decision = Interval(**values["interval"]), Decision(values["decision"])
        return cls(**{**values, "interval": interval, "decision": decision})


def sequential_test(
    preferences: Floats, *, margin: float = MARGIN, level: float = LEVEL, population: int | None = None
) -> SequentialResult:
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
    decisions, times = sequential_test_many(preferences[None, :], margin=margin, level=level, population=population)
    decision, until = decisions[0], preferences[: int(times[0])]
    return SequentialResult(
        decision=decision,
        judged=len(preferences),
        settled_after=None if decision is Decision.CONTINUE else len(until),
        estimate=100.0 * float(until.mean()) if len(until) else 50.0,
        interval=confidence_interval(until, level=level, population=population),
        target=_target(population),
    )


def sequential_test_many(
    preferences: Floats, *, margin: float = MARGIN, level: float = LEVEL, population: int | None = None
) -> tuple[list[Decision], Ints]:
    """Return the first decision of each series and after how many judgements it came, as `sequential_test` does.

    Args:
        preferences: Shape (series, judgements).
        margin: As for `sequential_test`.
        level: As for `sequential_test`.
        population: As for `sequential_test`.

    Returns:
        Decisions, and the number of judgements at each; all of them where nothing was decided.

    Raises:
        ValueError: As `sequential_test`.
    """
    _check(preferences, margin, population)
    half, near = 0.5, margin / 100.0
    above = [exceeds(preferences, at, level=level, population=population) for at in (half, half - near)]
    below = [exceeds(1 - preferences, at, level=level, population=population) for at in (half, half - near)]
    within = np.logical_and(above[1], below[1])
    firsts = np.stack([_first(above[0]), _first(within), _first(below[0])])
    order = (Decision.WIN, Decision.WITHIN, Decision.LOSE)
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
        population: As for `sequential_test`.

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
    """Return where all looks together say that the mean preference lies; also for few or equal preferences.

    Args:
        preferences: Probability 0-1 of each judgement, shape (judgements,); may be empty.
        level: Probability 0-1 that the interval holds at all looks together.
        population: As for `sequential_test`.

    Returns:
        Percent 0-100.

    Raises:
        ValueError: A preference is missing or outside 0-1, or there are more than the population.

    Source:
        `log_wealth`, inverted by bisection on both sides (the hedged capital process with even stakes), and the
        intersection over all looks: what one of them has ruled out stays so, as for `exceeds`.
    """
    _check(preferences, MARGIN, population)
    ends = _lower_end(preferences, level, population), 1.0 - _lower_end(1.0 - preferences, level, population)
    # Looks contradict each other in at most 1 - level of all series: then all between them is left open.
    return Interval(low=100.0 * min(ends), high=100.0 * max(ends), level=level)


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
    if interval.low > reference - margin and interval.high < reference + margin:
        return Decision.WITHIN
    if interval.high < reference:
        return Decision.LOSE
    return Decision.CONTINUE


def cautious_estimate(preferences: Floats, *, level: float = LEVEL) -> Estimate | None:
    """Return the mean preference with an interval that holds for few and for equal verdicts too.

    Args:
        preferences: Probability 0-1 of each judgement, shape (judgements,); NaN where it is missing.
        level: Probability 0-1 that the interval holds.

    Returns:
        Percent 0-100, or None for fewer than `MIN_PROMPTS` verdicts.
    """
    present = preferences[~np.isnan(preferences)]
    if len(present) < MIN_PROMPTS:
        return None
    return as_estimate(100.0 * float(present.mean()), confidence_interval(present, level=level), len(present))


def cautious_difference(first: Floats, second: Floats, *, level: float = LEVEL) -> Estimate | None:
    """Return how much higher the first's mean preference is, likewise, in percentage points.

    Args:
        first: Probability 0-1 of each judgement, shape (judgements,).
        second: The same prompts in the same order.
        level: Probability 0-1 that the interval holds.
    """
    moved = cautious_estimate(0.5 + 0.5 * (first - second), level=level)
    if moved is None:
        return None
    low, high = (2.0 * (end - 50.0) for end in (moved.interval.low, moved.interval.high))
    return as_estimate(2.0 * (moved.value - 50.0), Interval(low=low, high=high, level=level), moved.n)


def as_estimate(value: float, interval: Interval, n: int) -> Estimate:
    """Return an estimate with the standard error that would make Student's interval as wide as this one."""
    error = (interval.high - interval.low) / 2.0 / student_quantile(interval.level, max(n, 2))
    return Estimate(value=value, standard_error=error, interval=interval, n=n)


def _lower_end(preferences: Floats, level: float, population: int | None) -> float:
    """Return the largest mean that is shown to be too low, within 2^-50."""
    if len(preferences) == 0:
        return 0.0
    threshold = math.log(2.0 / (1.0 - level))
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        if float(log_wealth(preferences, middle, population=population).max()) >= threshold:
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
