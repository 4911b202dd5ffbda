"""Intervals clustered by prompt, power, and categories with their number accounted for; never a width of 0."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
from scipy.special import ndtri, stdtr

from moa.evaluation._statistics.array_types import Floats, Ints
from moa.evaluation._statistics.estimates import LEVEL, Estimate, Interval, asymptotic_reach, student_quantile

MIN_PROMPTS = 5
"""Fewest prompts of a category, or that two runs have in common, for a figure."""

MARGIN = 3.0
"""Default non-inferiority margin, in percentage points."""

WIN, DIFFERENCE = 50.0, 100.0
"""The most by which one prompt can count from equality, in points: by a win or a loss against the opponent; by the
difference of two rates."""

POWER = 0.8
"""Probability that a forecast number of prompts is enough."""

RESAMPLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ByCategory:
    """Means by category with the number of looks accounted for.

    Attributes:
        estimates: For each category, None for fewer than `MIN_PROMPTS` prompts. Intervals hold together (Bonferroni).
        p_values: Two-sided, of a mean of 50; adjusted by Holm's method.
        multiplicity: How the number of categories was counted, in words for the report.
    """

    estimates: Mapping[str, Estimate | None]
    p_values: Mapping[str, float]
    multiplicity: str


def mean_with_interval(
    values: Floats, *, center: float = 0.0, most: float = WIN, level: float = LEVEL, looks: int | None = None
) -> Estimate:
    """Return the mean of one value for each prompt, in points, with an interval that holds for few prompts too.

    Two values at either end of what is possible are imagined beside those that were seen. They keep the promise of
    intervals for few prompts and for means near either end, where the values seen so far, which may all be equal, hide
    how much they vary.

    Args:
        values: Points, one for each prompt; at least one.
        center: The middle of what is possible: 0 for differences, 50 for rates in percent.
        most: How far from it a prompt's value can be: `WIN`, or `DIFFERENCE` for the difference of two rates.
        level: Confidence, between 0 and 1.
        looks: How many prompts are planned, if one looked before all of them were there: the interval then holds at
            every look (for large numbers). None if the number was fixed beforehand.

    Source:
        Agresti & Coull 1998, The American Statistician 52(2), for rates; the same imagined variance as in Agresti &
        Min 2005, Statistics in Medicine 24(5), times four, for paired differences: theirs is too small where one
        system fails on a few prompts and never wins any.
    """
    filled = np.concatenate([values, center + most * np.array([1.0, 1.0, -1.0, -1.0])])
    deviation, middle = float(filled.std(ddof=1)), float(filled.mean())
    error = deviation / math.sqrt(len(filled))
    if looks is None:
        reach = student_quantile(level, len(filled)) * error
    else:
        reach = asymptotic_reach(len(filled), planned=max(1, looks // 2), level=level) * deviation
    low, high = max(middle - reach, center - most), min(middle + reach, center + most)
    interval = Interval(low=low, high=high, level=level)
    return Estimate(value=float(values.mean()), standard_error=error, interval=interval, n=len(values))


def rows_with_interval(
    values: Floats, prompts: Sequence[Hashable], *, center: float = 0.0, most: float = WIN, level: float = LEVEL
) -> Estimate | None:
    """Return the mean over rows, those about one prompt counted as one draw; None where no row has a value.

    Args:
        values: Points; shape (rows,), NaN where there is none.
        prompts: The prompt of each row.
        center: As in `mean_with_interval`.
        most: Likewise.
        level: Likewise.
    """
    known = ~np.isnan(values)
    if not known.any():
        return None
    numbers = numbered(list(compress(prompts, known)))
    return mean_with_interval(by_prompt(values[known], numbers), center=center, most=most, level=level)


def numbered(prompts: Sequence[Hashable]) -> Ints | None:
    """Return the prompt of each row as a number, from 0 without gaps; None where each row has its own."""
    numbers: dict[Hashable, int] = {}
    rows = [numbers.setdefault(one, len(numbers)) for one in prompts]
    return None if len(numbers) == len(rows) else np.array(rows, dtype=np.int64)


def by_prompt(values: Floats, prompt: Ints | None) -> Floats:
    """Return one value for each prompt, with the same mean, from one for each row.

    Args:
        values: Shape (rows,).
        prompt: As `numbered` gives it.

    Source:
        Liang & Zeger 1986, Biometrika 73(1), as in Miller 2024, arXiv 2411.00640, section 2.2: rows about one prompt
        are one draw.
    """
    if prompt is None:
        return values
    sums: Floats = np.bincount(prompt, weights=values).astype(np.float64)
    return sums * (len(sums) / len(values))


def bootstrap_counts(n: int, *, seed: int, resamples: int = RESAMPLES) -> Ints:
    """Return how often each of `n` prompts is drawn in each seeded resample, shape (resamples, n).

    The same seed and number give the same draws, so that two systems' resamples are paired.
    """
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1.0 / n), size=resamples)
    return draws.astype(np.int64)


def percentile_interval(values: Floats, level: float = LEVEL) -> Interval:
    """Return the range that holds the middle `level` of the bootstrap values."""
    low, high = np.quantile(values, [0.5 - level / 2.0, 0.5 + level / 2.0])
    return Interval(low=float(low), high=float(high), level=level)


def prompts_to_settle(difference: float, deviation: float, *, most: float = 0.0, level: float = LEVEL) -> int:
    """Return how many prompts show a true difference with a probability of `POWER`.

    Args:
        difference: What is to be told apart, in the values' unit; not 0.
        deviation: Standard deviation of one prompt's value (for pairs, of the difference), in the same unit.
        most: As for `mean_with_interval`, whose imagined values count, too; 0 leaves them out.
        level: Confidence of the interval, between 0 and 1.

    Returns:
        The number of prompts, at least `MIN_PROMPTS`.

    Raises:
        ValueError: The difference is 0: no number of prompts settles it.

    Source:
        Miller 2024, arXiv 2411.00640, section 5: ((z_level + z_power) deviation / difference)^2 for `most` = 0; else
        the n that solves (z_level + z_power)^2 (n deviation^2 + 4 most^2) = n^2 difference^2.
    """
    if difference == 0:
        raise ValueError("no number of prompts settles a difference of 0")
    scale = (float(ndtri(0.5 + level / 2.0) + ndtri(POWER)) / difference) ** 2
    half = scale * deviation**2 / 2.0
    return max(MIN_PROMPTS, math.ceil(half + math.sqrt(half**2 + 4.0 * scale * most**2)))


def by_category(values: Floats, categories: Sequence[str], prompts: Sequence[Hashable]) -> ByCategory:
    """Return the mean of each category, with the number of categories accounted for.

    Args:
        values: Win rates in percent; shape (rows,), NaN rows are left out. 50 is what each category is tested against.
        categories: The category of each row.
        prompts: The prompt of each row.

    Source:
        Holm 1979, Scandinavian Journal of Statistics 6(2); Bonferroni's inequality for the intervals.
    """
    names = sorted(set(categories))
    each_level = 1.0 - (1.0 - LEVEL) / max(1, len(names))
    estimates = {}
    for name in names:
        rows = np.array([category == name for category in categories])
        found = rows_with_interval(values[rows], list(compress(prompts, rows)), center=50.0, level=each_level)
        estimates[name] = None if found is None or found.n < MIN_PROMPTS else found
    raw = {name: _p_value(found) for name, found in estimates.items() if found is not None}
    words = (
        f"{len(names)} categories: intervals hold together at {100 * LEVEL:g}% (Bonferroni), "
        "p-values adjusted by Holm's method"
    )
    return ByCategory(estimates=estimates, p_values=holm(raw), multiplicity=words)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return the p-values adjusted for their number by Holm's step-down method.

    Args:
        p_values: Probability 0-1 by name.

    Returns:
        Adjusted p-values by name, in ascending order of the given ones.

    Source:
        Holm 1979, Scandinavian Journal of Statistics 6(2), pages 65-70.
    """
    adjusted, floor = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = floor
    return adjusted


def _p_value(estimate: Estimate) -> float:
    """Of a true mean of 50, by the error that the interval has, too."""
    return 2.0 * float(stdtr(estimate.n - 1, -abs(estimate.value - 50.0) / estimate.standard_error))
