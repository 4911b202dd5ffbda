"""The statistics of a search: who may still win, and what has been shown. Pure functions of paired advantages.

An advantage is what a system scores above the baseline on a prompt, in points (-100 to 100), NaN where that is unknown
(the baseline failed, or a verdict is missing). Claims are made once, on
all prompts of the evidence; looks before that only decide who goes on, which makes no claim more likely to be wrong.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from moa.evaluation._statistics.array_types import Floats
from moa.evaluation._statistics.estimates import asymptotic_reach
from moa.evaluation._statistics.sample_means import DIFFERENCE, POWER

LEVEL = 0.95
"""Probability that no candidate is said to be good enough that is not."""

LEAD_LEVEL = 0.975
"""Probability that no mixture is said to be better than a model alone that is not: of one side of a 95% interval."""

ASSUMED_SD = 50.0
"""Points: standard deviation of an advantage before anything is known: of two systems, one alone is right on a quarter
of the prompts."""

MIN_PROMPTS = 20
"""Fewest prompts before a candidate is judged by them."""

HOPELESS = 0.005
"""A candidate with less chance than this to be shown good enough does not go on."""

IMAGINED = DIFFERENCE**2
"""Squared deviation of one imagined prompt on which the system won or lost all, so that a candidate that equals the
baseline on every prompt so far isn't taken for one that always will.

Four of them, as in `mean_with_interval`, would hold for fewer prompts, but find a winner of 400 prompts that is three
standard errors better in three of four searches only (40 a world by `bench.search`; with one imagined, 84 to 89%)."""

_DRAWS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvantageBounds:
    """What the prompts say of a mean advantage, in points.

    Attributes:
        value: The mean.
        low: Simultaneous lower bound of all candidates' advantages (one-sided).
        high: Simultaneous upper bound.
        n: How many prompts.
    """

    value: float
    low: float
    high: float
    n: int


def standard_deviation(advantages: Floats) -> float:
    """Return the standard deviation of advantages in points, with what `IMAGINED` adds; 100 before any."""
    known = _known(advantages)
    if not len(known):
        return DIFFERENCE
    return math.sqrt((float(np.sum((known - known.mean()) ** 2)) + IMAGINED) / len(known))


def _known(advantages: Floats) -> Floats:
    return advantages[~np.isnan(advantages)]


def shown(advantages: Floats, critical: float) -> AdvantageBounds:
    """Return the mean advantage with its bounds.

    Args:
        advantages: Points, one for each prompt.
        critical: How many standard errors the bounds are away, for many prompts; see `critical_value`.
    """
    known = _known(advantages)
    n, value = len(known), float(known.mean()) if len(known) else math.nan
    error = standard_deviation(advantages) / math.sqrt(max(1, n))
    reach = float(stdtrit(max(1, n - 1), ndtr(critical))) * error
    return AdvantageBounds(value=value, low=value - reach, high=value + reach, n=n)


def critical_value(columns: Floats, level: float = LEVEL) -> float:
    """Return how many standard errors a one-sided bound has to be away to hold for all candidates at once.

    Args:
        columns: Advantages of all candidates that were ever tried, on the prompts that all of them answered: they tell
            how alike the candidates are. Shape: (prompts, candidates).
        level: Probability that all bounds hold.

    Source:
        Dunnett 1955 for comparisons with a control; here with the correlations of the data (Hothorn, Bretz & Westfall
        2008, "Simultaneous inference in general parametric models"), simulated. Never above Bonferroni's.
    """
    columns = columns[~np.isnan(columns).any(axis=1)]
    candidates = columns.shape[1]
    bonferroni = float(-ndtri((1.0 - level) / candidates))
    if candidates < 2 or len(columns) < 2:
        return bonferroni
    # An independent part keeps columns that are equal so far from counting as one for ever.
    scale = np.sqrt(np.sum((columns - columns.mean(axis=0)) ** 2, axis=0) + IMAGINED)
    common = (columns - columns.mean(axis=0)) / scale
    correlations = common.T @ common
    np.fill_diagonal(correlations, 1.0)
    draws = np.random.default_rng(0).multivariate_normal(np.zeros(candidates), correlations, _DRAWS, method="eigh")
    return min(bonferroni, float(np.quantile(draws.max(axis=1), level)))


def look_sizes(prompts: int) -> tuple[int, ...]:
    """Return after how many prompts candidates are compared: an eighth, a quarter, half and all."""
    sizes = (prompts // 8, prompts // 4, prompts // 2)
    return (*(size for size in sizes if size >= MIN_PROMPTS), prompts)


def prospect(advantages: Floats, alone: Floats, *, margin: float, critical: float) -> float:
    """Return the chance (0-1) that a candidate will be shown good enough once it has answered all prompts.

    The predictive probability of its final mean under a flat prior. What the models alone score on the prompts that are
    still to come says how hard those are, so the candidate's advantages are regressed on theirs.

    Args:
        advantages: Points, on the first prompts. Shape: (prompts so far,).
        alone: Those of the models alone, on all prompts. Shape: (prompts, models).
        margin: Points by which it may be worse than the baseline.
        critical: As in `shown`.
    """
    known = ~np.isnan(advantages)
    n, planned = int(known.sum()), len(alone)
    if n < 2:
        return 0.0
    alone = np.nan_to_num(alone)
    seen, values = alone[: len(advantages)][known], advantages[known]
    centred = seen - seen.mean(axis=0)
    # One prompt's worth of ridge, so that few prompts and models that are alike make no wild slopes.
    gram = centred.T @ centred + 100.0**2 * np.eye(alone.shape[1])
    slopes = np.linalg.solve(gram, centred.T @ (values - values.mean()))
    rest = values - values.mean() - centred @ slopes
    expected = float(values.mean() + (alone.mean(axis=0) - seen.mean(axis=0)) @ slopes)
    spread = standard_deviation(rest) * math.sqrt(max(1.0 / n - 1.0 / planned, 1e-12))
    needed = critical * standard_deviation(values) / math.sqrt(planned) - margin
    return float(ndtr((expected - needed) / spread))


def is_dominated(advantages: Floats, others: Sequence[Floats], level: float) -> bool:
    """Return whether one of the others, none of them dearer, is shown to be better, whenever one looks.

    Args:
        advantages: The candidate's, in points, on its first prompts.
        others: Those of systems that cost no more, each on at least these prompts.
        level: Of each comparison.

    Source:
        The confidence sequences of arXiv 2103.06476; see `asymptotic_reach`.
    """
    n = len(advantages)
    if n < MIN_PROMPTS:
        return False
    reach = asymptotic_reach(n, planned=n, level=level)
    gaps = (_known(other[:n] - advantages) for other in others if len(other) >= n)
    return any(len(gap) >= MIN_PROMPTS and float(gap.mean()) > reach * standard_deviation(gap) for gap in gaps)


def promise(scores: Floats, draws: int = 10) -> float:
    """Return what a subset of models promises before any aggregator has read it: its best member, and what they add.

    The best member of each prompt is an upper bound for selection, and grows with every member, however useless. What
    counts is by how much it is above what members of the same quality would reach that fail independently.

    Args:
        scores: Of its members. Shape: (prompts, members).
        draws: Shuffles by which that is estimated.
    """
    scores = scores[~np.isnan(scores).any(axis=1)]
    if not len(scores):
        return 0.0
    generator = np.random.default_rng(0)
    alone = [generator.permuted(scores, axis=0).max(axis=1).mean() for _ in range(draws)]
    oracle = float(scores.max(axis=1).mean())
    return float(scores.mean(axis=0).max()) + max(0.0, oracle - float(np.mean(alone)))


def prompts_needed(margin: float, critical: float, sd: float = ASSUMED_SD) -> int:
    """Return how many prompts show, four times in five, that a mixture as good as the baseline is within the margin."""
    return math.ceil(((critical + float(ndtri(POWER))) * sd / margin) ** 2)


def lead_needed(prompts: int, margin: float, critical: float, sd: float = ASSUMED_SD) -> float:
    """Return by how many points a mixture has to be better than the baseline to be found, four times in five."""
    return (critical + float(ndtri(POWER))) * sd / math.sqrt(prompts) - margin
