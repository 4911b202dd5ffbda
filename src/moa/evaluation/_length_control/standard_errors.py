"""The sampling error of length-controlled win rates, prompts being the sampling unit."""

import math
from dataclasses import dataclass

import numpy as np

from moa.evaluation._length_control.influence import influence_values, standard_error_of
from moa.evaluation._length_control.models import Design, LengthFit, fitted_rows, predict_win_rate, standard_deviation
from moa.evaluation._length_control.refit import refit
from moa.evaluation._statistics.array_types import Floats, Ints, sigmoid
from moa.evaluation._statistics.estimates import LEVEL, Estimate
from moa.evaluation._statistics.sample_means import MIN_PROMPTS, RESAMPLES, bootstrap_counts, percentile_interval

SERIOUS_INFLATION = 5.0
"""From which `length_inflation` on to warn: the usual rule for variance inflation factors (James et al. 2013, An
Introduction to Statistical Learning, section 3.3.3)."""

_NOTHING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resampled:
    """A length model refitted to bootstrap samples of its prompts.

    Attributes:
        counts: How often each row was drawn, shape (resamples, rows).
        weights: The fitted weights, shape (resamples, features).
        win_rates: Percent 0-100, shape (resamples,).
    """

    counts: Ints
    weights: Floats
    win_rates: Floats


def lc_standard_error(fit: LengthFit) -> float | None:
    """Return the standard error of the length-controlled win rate, by its influence values.

    Args:
        fit: The fitted model.

    Returns:
        Percentage points, the error of the weights included; None where all verdicts are equal and so say nothing
        about the sampling error, or for fewer than `MIN_PROMPTS` prompts.
    """
    if not varies(fit) or _prompts(fit) < MIN_PROMPTS:
        return None
    return standard_error_of(influence_values(fit), fit.design.judged.prompt)


def varies(fit: LengthFit) -> bool:
    """Return whether any two verdicts differ."""
    return bool(np.ptp(fit.design.judged.preference[fit.design.judged.present]) > 0)


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


def resample(fit: LengthFit, *, seed: int, resamples: int = RESAMPLES) -> Resampled:
    """Return the model refitted to seeded bootstrap samples of its prompts, drawn with all of their rows.

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
    prompt = fit.design.judged.prompt
    drawn = bootstrap_counts(_prompts(fit), seed=seed, resamples=resamples)
    counts = drawn if prompt is None else drawn[:, prompt]
    weights = refit(fit, counts)
    predicted = sigmoid(weights @ fit.design.at_equal_length)
    win_rates = 100.0 * np.einsum("bn,bn->b", counts, predicted) / counts.sum(axis=1)
    return Resampled(counts=counts, weights=weights, win_rates=win_rates)


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
    values: Floats = 100.0 * np.einsum("bn,bn->b", drawn.counts, predicted) / drawn.counts.sum(axis=1)
    return Estimate(
        value=predict_win_rate(of.weights, against.weights, difficulty),
        standard_error=standard_deviation(values),
        interval=percentile_interval(values, level),
        n=_prompts(of),
    )


def _prompts(fit: LengthFit) -> int:
    prompt = fit.design.judged.prompt
    return len(fit.design.judged) if prompt is None else int(prompt.max()) + 1
