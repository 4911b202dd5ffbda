"""A judge's win rate corrected by human labels of a part of the pairs; pure functions."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

from moa.evaluation._statistics.array_types import Floats
from moa.evaluation._statistics.estimates import LEVEL, Estimate, Interval, student_quantile

MIN_LABELS = 50
"""Labels below which the judge's verdicts are left out of it: their weight can't be estimated from so few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """A win rate by human labels, made more precise by the judge's verdicts where they agree.

    Attributes:
        estimate: Percent 0-100.
        power: Weight of the judge's verdicts, 0-1: 0 if they say nothing about the labels, or there are few labels.
        n: How many labels.
    """

    estimate: Estimate
    power: float
    n: int


def corrected_win_rate(judged: Floats, labels: Floats, probabilities: Floats | None = None) -> Corrected | None:
    """Return the win rate that people would give on all pairs, from the judge's verdicts and some labels.

    Args:
        judged: What the judge says, 0-1, of every pair; shape (pairs,), none missing.
        labels: What people say, 0-1, in the same order; NaN where nobody was asked.
        probabilities: With which probability each pair was drawn to be labelled, above 0; None if all with the same.

    Returns:
        None without any label. For fewer than `MIN_LABELS` the labels alone count: with their exact interval where they
        were drawn with equal probability, and where all of them are the same; else weighted.

    Raises:
        ValueError: The shapes differ.

    Source:
        Angelopoulos, Duchi & Zrnic 2023, arXiv 2311.01453: power-tuned prediction-powered inference. With unequal
        probabilities: Zrnic & Candès 2024, arXiv 2403.03208, with Hájek's weights, which add up to one.
    """
    drawn = ~np.isnan(labels)
    n, total = int(drawn.sum()), len(judged)
    if judged.shape != labels.shape:
        raise ValueError(f"verdicts and labels have the same shape, not {judged.shape} and {labels.shape}")
    if not n:
        return None
    given = labels[drawn]
    few, equal = n < MIN_LABELS, probabilities is None or float(np.ptp(probabilities[drawn])) == 0.0
    if (few and equal) or n < 3 or np.ptp(given) == 0:
        return Corrected(estimate=exact_win_rate(given), power=0.0, n=n)
    weights = np.zeros(total)
    weights[drawn] = 1.0 if probabilities is None else 1.0 / probabilities[drawn]
    weights *= total / weights.sum()
    people = np.where(drawn, labels, 0.0)
    mean_label = float(np.mean(weights * people))
    # What one pair contributes: `own` by its label alone, `shift` for each unit of the judge's weight.
    own = weights * (people - mean_label)
    mean_judged = float(np.mean(weights * judged))
    shift = judged - judged.mean() - weights * (judged - mean_judged)
    squares = float(shift @ shift)
    power = float(np.clip(-(own @ shift) / squares, 0.0, 1.0)) if squares > 0 and not few else 0.0
    value = mean_label + power * (float(judged.mean()) - mean_judged)
    # One degree of freedom for the mean, one for the weight.
    error = math.sqrt(float(np.sum((own + power * shift) ** 2)) * n / (n - 2)) / total
    reach = student_quantile(LEVEL, n - 1) * error
    interval = Interval(low=100.0 * max(0.0, value - reach), high=100.0 * min(1.0, value + reach))
    estimate = Estimate(value=100.0 * value, standard_error=100.0 * error, interval=interval, n=n)
    return Corrected(estimate=estimate, power=power, n=n)


def exact_win_rate(labels: Floats) -> Estimate:
    """Return the win rate by labels alone, in percent, with an interval that holds for any number of them.

    Args:
        labels: 0 for a loss, 0.5 for a draw, 1 for a win; means of several people count as what they are nearest to.

    Source:
        Clopper & Pearson 1934, Biometrika 26(4). With draws, the mean of the bounds for "wins" and for "does not lose",
        each with half of the error.
    """
    n, wins = len(labels), int(np.sum(labels > 0.75))
    unlost = n - int(np.sum(labels < 0.25))
    if wins == unlost:
        bounds = [_clopper_pearson(wins, n, 1.0 - LEVEL)]
    else:
        bounds = [_clopper_pearson(count, n, (1.0 - LEVEL) / 2.0) for count in (wins, unlost)]
    low, high = (100.0 * float(np.mean(ends)) for ends in zip(*bounds, strict=True))
    error = 100.0 * float(labels.std(ddof=1)) / math.sqrt(n) if n > 1 else 50.0
    return Estimate(
        value=100.0 * float(labels.mean()), standard_error=error, interval=Interval(low=low, high=high), n=n
    )


def _clopper_pearson(count: int, n: int, error: float) -> tuple[float, float]:
    low = 0.0 if count == 0 else float(betaincinv(count, n - count + 1, error / 2.0))
    high = 1.0 if count == n else float(betaincinv(count + 1, n - count, 1.0 - error / 2.0))
    return low, high
