"""The sampling error of length-controlled win rates: influence values, bootstrap, paired differences.

Prompts are the sampling unit. The regulariser's rows are part of the method, not of the sample: they stay as
they are in every resample, and so does the strength that cross-validation chose.
"""

from dataclasses import dataclass

import numpy as np

from moa.evaluation.arrays import Floats, Ints, sigmoid
from moa.evaluation.intervals import LEVEL, Estimate, student_estimate
from moa.evaluation.l1_logistic import fit_exactly, gradient_and_curvature
from moa.evaluation.length_control import Design, LengthFit, predict_win_rate, standard_deviation, system_features
from moa.evaluation.statistics import RESAMPLES, bootstrap_counts, percentile_interval

_CHUNK = 50  # resamples solved side by side: the arrays of a chunk stay in the processor's cache


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resampled:
    """A length model refitted to bootstrap samples of its prompts.

    Attributes:
        counts: How often each prompt was drawn, shape (resamples, prompts).
        weights: The fitted weights, shape (resamples, features).
        win_rates: Percent 0-100, shape (resamples,).
    """

    counts: Ints
    weights: Floats
    win_rates: Floats


def influence_values(fit: LengthFit) -> Floats:
    """Return what each prompt adds to the error of the length-controlled win rate.

    Their mean is 0; their standard deviation divided by the root of the number of prompts is the standard
    error. Three ways in which a prompt matters are added: its own prediction, its pull on the weights, and
    its share in the standard deviation that the length differences are divided by.

    Args:
        fit: The fitted model.

    Returns:
        Percentage points, one for each prompt.

    Source:
        Hampel 1974, JASA 69(346); van der Vaart, Asymptotic Statistics, section 5.3 (M-estimators). Features
        that the penalty holds at zero stay there.
    """
    design, n = fit.design, len(fit.design.judged)
    weights = refit(fit, np.ones((1, n), dtype=np.int64))
    scaled, target, features = _weighted_rows(design, np.ones((1, n), dtype=np.int64), fit.strength)
    _, curvature = gradient_and_curvature(features, target, scaled, weights)
    predicted = sigmoid(weights[0] @ design.at_equal_length)
    slope = (design.at_equal_length * (predicted * (1.0 - predicted))).mean(axis=1)
    answer = _solve_active(curvature[0], slope, weights[0])
    n_prior = design.prior_features.shape[1]
    residual = scaled[0] * (sigmoid(weights[0] @ features[0]) - target)
    own_pull = (features[0] * residual)[:, n_prior:]
    centred_pull = own_pull - own_pull.mean(axis=1, keepdims=True)
    through_weights = -n * (answer @ centred_pull)
    through_spread = -(answer @ _gradient_by_spread(design, features[0], scaled[0], target, weights[0]))
    return 100.0 * (predicted - predicted.mean() + through_weights + through_spread * _spread_influence(design))


def lc_estimate(fit: LengthFit, level: float = LEVEL) -> Estimate:
    """Return the length-controlled win rate with the standard error of its influence values.

    Args:
        fit: The fitted model.
        level: Confidence of the interval, between 0 and 1.

    Returns:
        Percent 0-100, with a standard error in percentage points that includes the error of the weights.
    """
    values = influence_values(fit)
    return student_estimate(fit.win_rate, standard_error_of(values), len(values), level)


def standard_error_of(influence: Floats) -> float:
    """Return the standard error that influence values imply."""
    return standard_deviation(influence) / float(np.sqrt(len(influence)))


def resample(fit: LengthFit, *, seed: int, resamples: int = RESAMPLES) -> Resampled:
    """Return the model refitted to seeded bootstrap samples of its prompts.

    The same seed and number of prompts give the same draws, so that two systems' samples are paired.

    Args:
        fit: The fitted model.
        seed: Seed of the draws.
        resamples: How many.

    Returns:
        The samples and their win rates.

    Source:
        Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 6.
    """
    n = len(fit.design.judged)
    counts = bootstrap_counts(n, seed=seed, resamples=resamples)
    weights = refit(fit, counts)
    predicted = sigmoid(weights @ fit.design.at_equal_length)
    win_rates = 100.0 * np.einsum("bn,bn->b", counts, predicted) / n
    return Resampled(counts=counts, weights=weights, win_rates=win_rates)


def refit(fit: LengthFit, counts: Ints) -> Floats:
    """Return the exact optimum, at the chosen strength, of each reweighted sample.

    Args:
        fit: The fitted model.
        counts: How often each prompt counts, shape (samples, prompts).

    Returns:
        Weights, shape (samples, features).
    """
    fitted = []
    for first in range(0, len(counts), _CHUNK):
        weight, target, features = _weighted_rows(fit.design, counts[first : first + _CHUNK], 1.0)
        fitted.append(fit_exactly(features, target, weight, fit.strength, fit.weights))
    return np.concatenate(fitted)


def lc_difference(
    first: LengthFit, second: LengthFit, *, seed: int, resamples: int = RESAMPLES, level: float = LEVEL
) -> Estimate:
    """Return how much higher the first system's length-controlled win rate is, paired by prompt.

    Args:
        first: Fit of the one system.
        second: Fit of the other, on the same prompts in the same order and against the same baseline.
        seed: Seed of the bootstrap.
        resamples: How many bootstrap samples.
        level: Confidence, between 0 and 1.

    Returns:
        Percentage points: the standard error from the difference of the influence values, the interval from
        the bootstrap.

    Raises:
        ValueError: The systems have different numbers of prompts.
    """
    if len(first.design.judged) != len(second.design.judged):
        raise ValueError("a paired difference needs both systems on the same prompts")
    influence = influence_values(first) - influence_values(second)
    draws = [resample(fit, seed=seed, resamples=resamples).win_rates for fit in (first, second)]
    return Estimate(
        value=first.win_rate - second.win_rate,
        standard_error=standard_error_of(influence),
        interval=percentile_interval(draws[0] - draws[1], level),
        n=len(influence),
    )


def predicted_estimate(
    of: LengthFit, against: LengthFit, *, seed: int, resamples: int = RESAMPLES, level: float = LEVEL
) -> Estimate:
    """Return the official prediction of one system's win rate against another, with its sampling error.

    Args:
        of: Fit of the system, with difficulties.
        against: Fit of the other, on the same prompts in the same order and against the same baseline.
        seed: Seed of the bootstrap.
        resamples: How many bootstrap samples, paired by prompt.
        level: Confidence, between 0 and 1.

    Returns:
        Percent 0-100 at equal length. It is a prediction of the two models, not a judged comparison.

    Raises:
        ValueError: The systems have different prompts, or were fitted without difficulties.

    Source:
        `length_control.predict_win_rate`.
    """
    difficulty = of.design.judged.difficulty
    if difficulty is None or len(difficulty) != len(against.design.judged):
        raise ValueError("a prediction between two systems needs the same prompts and their difficulties")
    drawn, other = (resample(fit, seed=seed, resamples=resamples) for fit in (of, against))
    gap = drawn.weights - other.weights
    predicted = sigmoid(gap[:, 2:3] + gap[:, 1:2] * difficulty)
    values: Floats = 100.0 * np.einsum("bn,bn->b", drawn.counts, predicted) / len(difficulty)
    return Estimate(
        value=predict_win_rate(of.weights, against.weights, difficulty),
        standard_error=standard_deviation(values),
        interval=percentile_interval(values, level),
        n=len(difficulty),
    )


def _weighted_rows(design: Design, counts: Ints, strength: float) -> tuple[Floats, Floats, Floats]:
    """Return weights (samples, rows) times the strength, targets (rows,) and features (samples, ., rows)."""
    present = design.judged.present
    mine = system_features(design, _spreads(design.judged.shorter_by, counts))
    prior = np.broadcast_to(design.prior_features, (len(counts), *design.prior_features.shape))
    prior_weight = np.full((len(counts), prior.shape[2]), design.gamed_weight)
    weight = np.concatenate([prior_weight, counts * present], axis=1) * strength
    # A missing verdict has weight 0; its target must only be a number.
    observed = np.where(present, design.judged.preference, 0.0)
    target = np.concatenate([design.prior_preference, observed])
    return weight, target, np.concatenate([prior, mine], axis=2)


def _spreads(values: Floats, counts: Ints) -> Floats:
    """Return the sample standard deviation of each reweighted sample."""
    total = counts.sum(axis=1)
    centred = values - values.mean()
    mean = counts @ centred / total
    squares = np.maximum(counts @ centred**2 - total * mean**2, 0.0)
    spreads: Floats = np.sqrt(squares / (total - 1))
    return spreads


def _solve_active(curvature: Floats, slope: Floats, weights: Floats) -> Floats:
    """Return curvature^-1 slope over the features that the penalty does not hold at zero, 0 elsewhere."""
    active = weights != 0
    answer = np.zeros_like(slope)
    answer[active] = np.linalg.solve(curvature[np.ix_(active, active)], slope[active])
    return answer


def _gradient_by_spread(design: Design, features: Floats, scaled: Floats, target: Floats, weights: Floats) -> Floats:
    """Return how the gradient of the fit moves with the length differences' standard deviation."""
    n_prior, spread = design.prior_features.shape[1], standard_deviation(design.judged.shorter_by)
    if spread == 0:
        return np.zeros_like(weights)
    length, scaled = features[0, n_prior:], scaled[n_prior:]
    by_spread = -(design.judged.shorter_by / spread**2) * (1.0 - length**2)
    fitted = sigmoid(weights @ features[:, n_prior:])
    bend = scaled * fitted * (1.0 - fitted) * weights[0] * by_spread
    gradient: Floats = features[:, n_prior:] @ bend
    gradient[0] += float(np.sum(scaled * (fitted - target[n_prior:]) * by_spread))
    return gradient


def _spread_influence(design: Design) -> Floats:
    """Return the influence of each prompt on the length differences' standard deviation."""
    values = design.judged.shorter_by
    spread = standard_deviation(values)
    if spread == 0:
        return np.zeros_like(values)
    squares = (values - values.mean()) ** 2
    influence: Floats = (squares - squares.mean()) / (2.0 * spread)
    return influence
