"""What each prompt adds to the error of a length-controlled win rate."""

from typing import NamedTuple

import numpy as np

from moa.evaluation._length_control.l1_logistic import gradient_and_curvature
from moa.evaluation._length_control.models import Design, LengthFit, standard_deviation
from moa.evaluation._length_control.refit import inference_strength, refit, weighted_rows
from moa.evaluation._statistics.array_types import Floats, Ints, sigmoid


class _Optimum(NamedTuple):
    """The exact fit to the whole sample; the regulariser's rows come first."""

    design: Design
    weights: Floats
    features: Floats
    scaled: Floats
    target: Floats


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
    once = np.ones((1, len(fit.design.judged)), dtype=np.int64)
    weights = refit(fit, once)
    weight, target, features = weighted_rows(fit.design, once)
    scaled = inference_strength(fit) * weight
    _, curvature = gradient_and_curvature(features, target, scaled, weights)
    at = _Optimum(fit.design, weights[0], features[0], scaled[0], target)
    predicted = sigmoid(at.weights @ at.design.at_equal_length)
    slope = (at.design.at_equal_length * (predicted * (1.0 - predicted))).mean(axis=1)
    answer = _solve(curvature[0], slope)
    through_weights = -len(predicted) * (answer @ _own_pull(at))
    through_spread = -(answer @ _gradient_by_spread(at)) * _spread_influence(at.design)
    influence: Floats = 100.0 * (predicted - predicted.mean() + through_weights + through_spread)
    return influence


def standard_error_of(influence: Floats, prompt: Ints | None = None) -> float:
    """Return the standard error that influence values imply, rows about the same prompt counted as one draw.

    Args:
        influence: Percentage points, one for each row, with mean 0.
        prompt: As in `Judged`.

    Returns:
        Percentage points.
    """
    sums: Floats = influence if prompt is None else np.bincount(prompt, weights=influence).astype(np.float64)
    return standard_deviation(sums) * float(np.sqrt(len(sums))) / len(influence)


def _own_pull(at: _Optimum) -> Floats:
    """Return the gradient of each of the system's rows, less their mean, shape (features, prompts)."""
    n_prior = at.design.prior_features.shape[1]
    residual = at.scaled * (sigmoid(at.weights @ at.features) - at.target)
    pull = (at.features * residual)[:, n_prior:]
    centred: Floats = pull - pull.mean(axis=1, keepdims=True)
    return centred


def _solve(curvature: Floats, slope: Floats) -> Floats:
    """Return curvature^-1 slope; a feature that is always zero, as length is where all are equal, gets 0."""
    answer: Floats = np.linalg.pinv(curvature, hermitian=True) @ slope
    return answer


def _gradient_by_spread(at: _Optimum) -> Floats:
    """Return how the gradient of the fit moves with the length differences' standard deviation."""
    shorter_by, n_prior = at.design.judged.shorter_by, at.design.prior_features.shape[1]
    spread = standard_deviation(shorter_by)
    if spread == 0:
        return np.zeros_like(at.weights)
    features, scaled, target = at.features[:, n_prior:], at.scaled[n_prior:], at.target[n_prior:]
    by_spread = -(shorter_by / spread**2) * (1.0 - features[0] ** 2)
    fitted = sigmoid(at.weights @ features)
    gradient: Floats = features @ (scaled * fitted * (1.0 - fitted) * at.weights[0] * by_spread)
    gradient[0] += float(np.sum(scaled * (fitted - target) * by_spread))
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
