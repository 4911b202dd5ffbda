"""The sampling error of length-controlled win rates, prompts being the sampling unit.

The regulariser's rows are part of the method, not of the sample: they stay as they are in every resample, and so does
the strength that cross-validation chose, unless it is so small that the penalty decides instead of the verdicts.
"""

import math

import numpy as np

from moa.evaluation._length_control.l1_logistic import fit_exactly, gradient_and_curvature
from moa.evaluation._length_control.models import Design, LengthFit, fitted_rows, standard_deviation, weighted_rows
from moa.evaluation._statistics.array_types import Floats, Ints, sigmoid
from moa.evaluation._statistics.estimates import LEVEL, Estimate
from moa.evaluation._statistics.sample_means import (
    MIN_PROMPTS,
    RESAMPLES,
    bootstrap_counts,
    by_prompt,
    percentile_interval,
)

SERIOUS_INFLATION = 5.0
"""From which `length_inflation` on to warn: the usual rule for variance inflation factors (James et al. 2013, An
Introduction to Statistical Learning, section 3.3.3)."""

_NOTHING = 1e-9
_CHUNK = 50  # samples solved side by side: the arrays of a chunk stay in the processor's cache
_LEAST_STRENGTH = 10.0


def refit(fit: LengthFit, counts: Ints) -> Floats:
    """Return the exact optimum, at the strength for inference, of each reweighted sample.

    Args:
        fit: The fitted model.
        counts: How often each row counts, shape (samples, rows).

    Returns:
        Weights, shape (samples, features).
    """
    fitted = []
    for first in range(0, len(counts), _CHUNK):
        weight, target, features = weighted_rows(fit.design, counts[first : first + _CHUNK])
        fitted.append(fit_exactly(features, target, weight, _inference_strength(fit), fit.weights))
    return np.concatenate(fitted)


def _inference_strength(fit: LengthFit) -> float:
    """Return the strength C at which the sampling error is measured.

    It is the chosen one, or 10 / sqrt(verdicts) if that is more: the penalty then weighs at most about a fifth
    of the sampling error of the constant's gradient, sqrt(verdicts) / 2. Below that, a system about as good as
    the baseline is pinned to exactly 50%, and every resample with it: certainty that nobody measured.
    """
    return max(fit.strength, _LEAST_STRENGTH / math.sqrt(fit.design.judged.n_verdicts))


def influence_values(fit: LengthFit) -> Floats:
    """Return what each row adds to the error of the length-controlled win rate.

    Their mean is 0; where each row has its own prompt, their standard deviation divided by the root of their
    number is the standard error. Three ways in which a prompt matters are added: its own prediction, its pull on
    the weights, and its share in the standard deviation that the length differences are divided by.

    Args:
        fit: The fitted model.

    Returns:
        Percentage points, one for each row.

    Source:
        Hampel 1974, JASA 69(346); van der Vaart, Asymptotic Statistics, section 5.3 (M-estimators). A weight that
        the penalty holds at zero counts as free: taken as fixed, it would hide its error.
    """
    design, once = fit.design, np.ones((1, len(fit.design.judged)), dtype=np.int64)
    weights, (weight, target, features) = refit(fit, once), weighted_rows(design, once)
    scaled = _inference_strength(fit) * weight
    _, curvature = gradient_and_curvature(features, target, scaled, weights)
    predicted, at_equal = design.predicted(weights[0]), design.at_equal_length
    slope = (at_equal * (predicted * (1.0 - predicted))).mean(axis=1)
    # How the win rate moves with the gradient. A feature that is always zero, as length is where all are equal, gets 0.
    answer = np.linalg.pinv(curvature[0], hermitian=True) @ slope

    mine = slice(len(design.prior_preference), None)
    rows, scale = features[0][:, mine], scaled[0][mine]
    fitted = sigmoid(weights[0] @ rows)
    residual = scale * (fitted - target[mine])
    pull = rows * residual
    through_weights = -len(predicted) * (answer @ (pull - pull.mean(axis=1, keepdims=True)))

    through_spread: Floats | float = 0.0
    lengths = design.judged.shorter_by
    spread = standard_deviation(lengths)
    if spread > 0:
        by_spread = -(lengths / spread**2) * (1.0 - rows[0] ** 2)
        gradient = rows @ (scale * fitted * (1.0 - fitted) * weights[0, 0] * by_spread)
        gradient[0] += float(residual @ by_spread)
        squares = (lengths - lengths.mean()) ** 2
        through_spread = -(answer @ gradient) * (squares - squares.mean()) / (2.0 * spread)
    influence: Floats = 100.0 * (predicted - predicted.mean() + through_weights + through_spread)
    return influence


def lc_standard_error(fit: LengthFit) -> float | None:
    """Return the standard error of the length-controlled win rate, by its influence values.

    Args:
        fit: The fitted model.

    Returns:
        Percentage points, the error of the weights included; None where all verdicts are equal and so say nothing
        about the sampling error, or for fewer than `MIN_PROMPTS` prompts.
    """
    judged = fit.design.judged
    if np.ptp(judged.preference[judged.present]) == 0 or judged.n_prompts < MIN_PROMPTS:
        return None
    influence = by_prompt(influence_values(fit), judged.prompt)
    return standard_deviation(influence) / math.sqrt(len(influence))


def length_inflation(design: Design) -> float:
    """Return how many times as many prompts the same certainty takes because lengths are controlled for.

    It is large where hardly any length difference comes near zero: the win rate at equal length is then an
    extrapolation, and length can't be told from quality.

    Args:
        design: The model and its rows.

    Returns:
        At least 1; infinite where all differences are equal but not zero. Only lengths and difficulties count, not
        the verdicts.

    Source:
        The variance of a linear prediction at zero length difference, divided by the same without the length
        feature: a variance inflation factor (Marquardt 1970, Technometrics 12(3)).
    """
    lengths, k = design.judged.shorter_by, design.length_features
    if k == 1 and lengths.any() and not np.ptp(lengths):
        return math.inf  # the fit leaves them out
    rows = fitted_rows(design)
    at = design.at_equal_length.mean(axis=1)
    information = rows.features.T @ (rows.features * rows.weight[:, None])
    # Seen from the other features, what is left of the lengths.
    shared = np.linalg.lstsq(information[k:, k:], information[k:, :k], rcond=None)[0]
    own = information[:k, :k] - information[:k, k:] @ shared
    plain = at[k:] @ np.linalg.lstsq(information[k:, k:], at[k:], rcond=None)[0]
    gap = at[:k] - at[k:] @ shared
    values, axes = np.linalg.eigh(own)
    known = values > _NOTHING * max(float(np.trace(information[:k, :k])), _NOTHING)
    along = (gap @ axes) ** 2
    if np.any(along[~known] > _NOTHING):
        return math.inf
    return float(1.0 + np.sum(along[known] / values[known]) / plain)


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
        alpaca_eval, `metrics/glm_winrate.py`: `predict_winrate`; arXiv 2404.04475, section 3; Efron & Tibshirani 1993,
        An Introduction to the Bootstrap, chapter 6.
    """
    design, judged = of.design, of.design.judged
    if judged.difficulty is None or len(judged) != len(against.design.judged):
        raise ValueError("a prediction between two systems needs the same prompts and their difficulties")
    drawn = bootstrap_counts(judged.n_prompts, seed=seed, resamples=resamples)
    counts = drawn if judged.prompt is None else drawn[:, judged.prompt]
    predicted = design.predicted(refit(of, counts) - refit(against, counts))
    values: Floats = 100.0 * np.einsum("bn,bn->b", counts, predicted) / counts.sum(axis=1)
    return Estimate(
        value=100.0 * float(design.predicted(of.weights - against.weights).mean()),
        standard_error=standard_deviation(values),
        interval=percentile_interval(values, level),
        n=judged.n_prompts,
    )
