"""How far judges, or rankings, agree."""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from moa.evaluation._statistics.array_types import Floats, Ints
from moa.evaluation._statistics.estimates import Estimate
from moa.evaluation._statistics.sample_means import MIN_PROMPTS, RESAMPLES, percentile_interval

_FEWEST_RANKED = 3  # two are in the same order or in the other, whatever is behind them


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """Return the agreement of two judges beyond chance.

    Args:
        first: The one judge's label of each item.
        second: The other's, of the same items in the same order.

    Returns:
        At most 1; None where there are no items, or both judges gave one and the same label throughout: then
        chance alone explains everything.

    Raises:
        ValueError: The judges labelled different numbers of items.

    Source:
        Cohen 1960, Educational and Psychological Measurement 20(1), equation 1.
    """
    if len(first) != len(second):
        raise ValueError(f"two judges label the same items, not {len(first)} and {len(second)}")
    n = len(first)
    if not n:
        return None
    mine, theirs = Counter(first), Counter(second)
    equal = sum(one == other for one, other in zip(first, second, strict=True))
    return _beyond_chance(equal / n, sum(mine[label] * theirs[label] for label in mine) / n**2)


def fleiss_kappa(counts: Ints) -> float | None:
    """Return the agreement of a panel of judges beyond chance.

    Args:
        counts: How many judges gave each label to each item, shape (items, labels); each item has the same
            number of judges, at least 2.

    Returns:
        At most 1; None where there are no items or only one label was ever given.

    Raises:
        ValueError: Items have different numbers of judges, or fewer than 2.

    Source:
        Fleiss 1971, Psychological Bulletin 76(5), equations 1 to 7.
    """
    judges = counts.sum(axis=1)
    if len(counts) == 0:
        return None
    if np.any(judges != judges[0]) or judges[0] < 2:
        raise ValueError("Fleiss' kappa needs the same number of judges, at least 2, for every item")
    panel = int(judges[0])
    agreeing = (np.sum(counts * counts, axis=1) - panel) / (panel * (panel - 1))
    shares = counts.sum(axis=0) / counts.sum()
    return _beyond_chance(float(agreeing.mean()), float(shares @ shares))


def krippendorff_alpha(ratings: Sequence[Sequence[Hashable | None]]) -> float | None:
    """Return the agreement of any number of raters beyond chance; who rated which item doesn't matter.

    Args:
        ratings: One row for each item, with each rater's label, or None where a rater gave none.

    Returns:
        At most 1; None where no item has two labels, or only one label was ever given.

    Source:
        Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", nominal data.
    """
    given = [[label for label in row if label is not None] for row in ratings]
    paired = [row for row in given if len(row) > 1]
    totals = Counter(label for row in paired for label in row)
    n = totals.total()
    if len(totals) < 2:
        return None
    apart = sum((len(row) ** 2 - sum(count**2 for count in Counter(row).values())) / (len(row) - 1) for row in paired)
    expected = (n * n - sum(count**2 for count in totals.values())) / (n - 1)
    return 1.0 - apart / expected


def rank_correlation(first: Floats, second: Floats) -> float | None:
    """Return Spearman's rank correlation of two sets of scores.

    Args:
        first: Scores, shape (items,).
        second: Scores of the same items.

    Returns:
        The correlation (-1 to 1), or None for fewer than three items or scores that are all equal.

    Raises:
        ValueError: The shapes differ.

    Source:
        Spearman 1904, American Journal of Psychology 15(1): Pearson's correlation of mid-ranks.
    """
    if first.shape != second.shape:
        raise ValueError(f"two sets of scores have the same shape, not {first.shape} and {second.shape}")
    if len(first) < _FEWEST_RANKED or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(_rank_correlations(first[None], second[None])[0])


def spearman(first: Floats, second: Floats, *, seed: int) -> Estimate | None:
    """Return the rank correlation of two sets of scores, with a bootstrap interval.

    Args:
        first: Scores, shape (items,).
        second: Scores of the same items.
        seed: Seed of the resamples; those in which all scores are equal have no correlation and are left out.

    Returns:
        The correlation (-1 to 1), or None for fewer than `MIN_PROMPTS` items or scores that are all equal.

    Raises:
        ValueError: The shapes differ.

    Source:
        `rank_correlation`; Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    value = rank_correlation(first, second)
    if value is None or len(first) < MIN_PROMPTS:
        return None
    draws = np.random.default_rng(seed).integers(len(first), size=(RESAMPLES, len(first)))
    usable = (np.ptp(first[draws], axis=1) > 0) & (np.ptp(second[draws], axis=1) > 0)
    values = _rank_correlations(first[draws[usable]], second[draws[usable]])
    return Estimate(
        value=value,
        standard_error=float(np.std(values, ddof=1)),
        interval=percentile_interval(values),
        n=len(first),
    )


def _beyond_chance(observed: float, expected: float) -> float | None:
    return None if expected >= 1.0 else (observed - expected) / (1.0 - expected)


def _rank_correlations(first: Floats, second: Floats) -> Floats:
    """Return Pearson's correlation of the ranks in each row, shape (samples,)."""
    # Imported here: it takes long, and only `moa eval correlate` needs it.
    from scipy.stats import rankdata

    one, other = (rankdata(scores, axis=1) for scores in (first, second))
    one, other = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (one, other))
    scale = np.sqrt(np.sum(one * one, axis=1) * np.sum(other * other, axis=1))
    correlation: Floats = np.sum(one * other, axis=1) / scale
    return correlation
