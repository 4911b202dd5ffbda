"""Intervals clustered by prompt, power, and categories with their number accounted for.

Values may be in any unit (percent, dollars, seconds); the figures come back in the same one. Too little data
gives None, never a width of 0.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtr

from moa.evaluation._statistics.array_types import Floats, Ints
from moa.evaluation._statistics.estimates import LEVEL, Estimate, Interval, student_estimate

MIN_PROMPTS = 5
"""Fewest independent prompts from which a sampling error is estimated."""

MARGIN = 3.0
"""Default non-inferiority margin, in percentage points."""

POWER = 0.8
RESAMPLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ByCategory:
    """Means by category with the number of looks accounted for.

    Attributes:
        estimates: For each category, None on too little data. Intervals are simultaneous (Bonferroni).
        p_values: Two-sided, of a mean equal to the reference; adjusted by Holm's method.
        multiplicity: How the number of categories was counted, in words for the report.
    """

    estimates: Mapping[str, Estimate | None]
    p_values: Mapping[str, float]
    multiplicity: str


def mean_estimate(values: Floats, clusters: Sequence[Hashable] | None = None, level: float = LEVEL) -> Estimate | None:
    """Return the mean with its analytic interval, clustered by prompt.

    Args:
        values: Shape (rows,); NaN rows are left out.
        clusters: The prompt of each row; every row is its own if not given.
        level: Confidence, between 0 and 1.

    Returns:
        The estimate, or None for fewer than `MIN_PROMPTS` prompts, or where all are equal and so say nothing
        about the sampling error (`findings.mean_with_interval` holds there too).

    Source:
        Liang & Zeger 1986, Biometrika 73(1), as in Miller 2024, arXiv 2411.00640, section 2.2; with the
        factor n / (n - 1) and Student's t for few prompts.
    """
    sums, sizes = _cluster_sums(values, clusters)
    n = len(sums)
    if n < MIN_PROMPTS:
        return None
    mean = float(sums.sum() / sizes.sum())
    squares = float(np.sum((sums - mean * sizes) ** 2))
    if squares <= np.finfo(np.float64).eps * max(1.0, mean**2) * n:
        return None
    error = math.sqrt(n / (n - 1) * squares) / float(sizes.sum())
    return student_estimate(mean, error, n, level)


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


def prompts_to_settle(difference: float, deviation: float, *, power: float = POWER, level: float = LEVEL) -> int:
    """Return how many prompts show a true difference with the given probability.

    Args:
        difference: What is to be told apart, in the values' unit; not 0.
        deviation: Standard deviation of one prompt's value (for pairs, of the difference), in the same unit.
        power: Probability 0-1 that the interval excludes 0.
        level: Confidence of the interval, between 0 and 1.

    Returns:
        The number of prompts, at least `MIN_PROMPTS`.

    Raises:
        ValueError: The difference is 0: no number of prompts settles it.

    Source:
        Miller 2024, arXiv 2411.00640, section 5: ((z_level + z_power) deviation / difference)^2.
    """
    if difference == 0:
        raise ValueError("no number of prompts settles a difference of 0")
    reach = _reach(power, level)
    return max(MIN_PROMPTS, math.ceil((reach * deviation / difference) ** 2))


def by_category(
    values: Floats, categories: Sequence[str], *, reference: float = 50.0, level: float = LEVEL
) -> ByCategory:
    """Return the mean of each category, with the number of categories accounted for.

    Args:
        values: Shape (rows,), one row for each prompt; NaN rows are left out.
        categories: The category of each row.
        reference: What each category is tested against, in the values' unit.
        level: Confidence that all intervals hold at once.

    Returns:
        Estimates and adjusted p-values.

    Source:
        Holm 1979, Scandinavian Journal of Statistics 6(2); Bonferroni's inequality for the intervals.
    """
    names = sorted(set(categories))
    labels = np.array(categories, dtype=object)
    each_level = 1.0 - (1.0 - level) / max(1, len(names))
    estimates = {name: mean_estimate(values[labels == name], level=each_level) for name in names}
    raw = {name: _p_value(found, reference) for name, found in estimates.items() if found is not None}
    words = (
        f"{len(names)} categories: intervals hold together at {100 * level:g}% (Bonferroni), "
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


def _p_value(estimate: Estimate, reference: float) -> float:
    distance = abs(estimate.value - reference) / estimate.standard_error
    return 2.0 * float(stdtr(estimate.n - 1, -distance))


def _reach(power: float, level: float) -> float:
    return float(ndtri(0.5 + level / 2.0) + ndtri(power))


def _cluster_sums(values: Floats, clusters: Sequence[Hashable] | None) -> tuple[Floats, Floats]:
    """Return the sum and the number of the present values of each cluster, in order of first appearance."""
    present = ~np.isnan(values)
    if clusters is None:
        known = values[present]
        return known, np.ones(len(known))
    if len(clusters) != len(values):
        raise ValueError(f"{len(values)} values but {len(clusters)} clusters")
    numbers: dict[Hashable, int] = {}
    known_clusters = [cluster for cluster, keep in zip(clusters, present, strict=True) if keep]
    rows = np.array([numbers.setdefault(cluster, len(numbers)) for cluster in known_clusters], dtype=np.int64)
    sums = np.bincount(rows, weights=values[present], minlength=len(numbers)).astype(np.float64)
    return sums, np.bincount(rows, minlength=len(numbers)).astype(np.float64)
