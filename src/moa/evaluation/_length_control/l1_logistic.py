"""The exact optimum of many small L1 logistic regressions at once, where liblinear stops early.

Minimises, for each problem b, |w|_1 + C sum_j s[b, j] (log(1 + exp(x[b, :, j].w)) - p[j] x[b, :, j].w).
"""

import itertools

import numpy as np

from moa.evaluation._statistics.array_types import Floats, cross_entropy, sigmoid

_MAX_ITERATIONS = 200
_TOLERANCE = 1e-9
_SUFFICIENT = 1e-4
_SHORTEST_STEP = 1e-8
_RIDGE = 1e-13
_PATIENCE = 30
"""Newton steps after which weights that still move are taken if the objective does not: it has no single optimum."""

_FLAT = 1e-10


def fit_exactly(
    features: Floats, target: Floats, weight: Floats, strength: float, start: Floats | None = None
) -> Floats:
    """Return the optimal weights of each problem.

    Args:
        features: Shape (problems or 1, features, rows); at most about five features.
        target: Probability 0-1 of each row, shape (rows,).
        weight: Weight of each row, shape (problems, rows).
        strength: C, the inverse strength of the penalty; above 0.
        start: Weights to start from, shape (features,); zeros if not given.

    Returns:
        Shape (problems, features).

    Raises:
        ArithmeticError: Newton's method did not converge (it always has for finite data).

    Source:
        Proximal Newton: Lee, Sun & Saunders 2014, SIAM J. Optim. 24(3), with the inner problem solved in
        closed form for each of the 3^k sign patterns.
    """
    problems, width = len(weight), features.shape[1]
    weights = np.tile(np.zeros(width) if start is None else start, (problems, 1))
    scaled = strength * weight
    for iteration in range(_MAX_ITERATIONS):
        step, decrease = _newton_step(features, target, scaled, weights)
        if np.all(np.abs(step).max(axis=1) <= _TOLERANCE * (1.0 + np.abs(weights).max(axis=1))):
            return weights + step
        if iteration >= _PATIENCE and np.all(
            np.abs(decrease) <= _FLAT * (1.0 + np.abs(_objective(features, target, scaled, weights)))
        ):
            # Equal features (every answer much longer than the baseline's) share one weight in any proportion.
            return weights
        weights = weights + step * _step_lengths(features, target, scaled, weights, step, decrease)[:, None]
    raise ArithmeticError(f"an L1 logistic regression did not converge in {_MAX_ITERATIONS} Newton steps")


def gradient_and_curvature(features: Floats, target: Floats, scaled: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return gradient (problems, features) and Hessian (problems, features, features) without the penalty."""
    fitted = sigmoid(_logits(features, weights))
    gradient: Floats = (features @ (scaled * (fitted - target))[:, :, None])[:, :, 0]
    bend = scaled * fitted * (1.0 - fitted)
    curvature: Floats = (features * bend[:, None, :]) @ features.transpose(0, 2, 1)
    return gradient, curvature


def _logits(features: Floats, weights: Floats) -> Floats:
    logits: Floats = (weights[:, None, :] @ features)[:, 0, :]
    return logits


def _objective(features: Floats, target: Floats, scaled: Floats, weights: Floats) -> Floats:
    logits = _logits(features, weights)
    loss = np.einsum("bn,bn->b", scaled, cross_entropy(logits, target))
    objective: Floats = loss + np.abs(weights).sum(axis=1)
    return objective


def _newton_step(features: Floats, target: Floats, scaled: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return the step to the optimum of the penalised quadratic model and the decrease that it promises."""
    gradient, curvature = gradient_and_curvature(features, target, scaled, weights)
    pull = (curvature @ weights[:, :, None])[:, :, 0] - gradient
    goal = _penalised_quadratic(curvature, pull)
    step = goal - weights
    decrease = np.einsum("bk,bk->b", gradient, step) + np.abs(goal).sum(axis=1) - np.abs(weights).sum(axis=1)
    return step, decrease


def _penalised_quadratic(curvature: Floats, pull: Floats) -> Floats:
    """Minimise v.H.v / 2 - q.v + |v|_1: solve under every sign pattern, keep the least violated one."""
    width = pull.shape[1]
    largest = np.einsum("bkk->bk", curvature).max(axis=1)
    ridge = _RIDGE * (1.0 + largest)[:, None, None] * np.eye(width)
    best, least = np.zeros_like(pull), np.full(len(pull), np.inf)
    # A weak penalty leaves the signs as they are without one: those are tried first.
    likeliest = np.sign(np.linalg.solve(curvature + ridge, pull[:, :, None])[:, :, 0])
    patterns = itertools.product((1.0, -1.0, 0.0), repeat=width)
    for signs in itertools.chain([likeliest], (np.array([pattern]) for pattern in patterns)):
        active = signs != 0
        matrix = np.where(active[:, :, None] & active[:, None, :], curvature + ridge, np.eye(width))
        candidate = np.linalg.solve(matrix, np.where(active, pull - signs, 0.0)[:, :, None])[:, :, 0]
        excess = np.abs(pull - (curvature @ candidate[:, :, None])[:, :, 0]) - 1.0
        violation = np.where(active, -signs * candidate, excess).max(axis=1)
        better = np.maximum(violation, 0.0) < least
        best[better], least[better] = candidate[better], np.maximum(violation, 0.0)[better]
        if not np.any(least):
            break
    return best


def _step_lengths(
    features: Floats, target: Floats, scaled: Floats, weights: Floats, step: Floats, decrease: Floats
) -> Floats:
    """Return, for each problem, the first of 1, 1/2, 1/4 ... that lowers the objective enough."""
    lengths = np.ones(len(weights))
    before = _objective(features, target, scaled, weights)
    slack = 1e-12 * (1.0 + np.abs(before))
    while True:
        after = _objective(features, target, scaled, weights + lengths[:, None] * step)
        short = (after > before + _SUFFICIENT * lengths * decrease + slack) & (lengths > _SHORTEST_STEP)
        if not np.any(short):
            return lengths
        lengths = np.where(short, 0.5 * lengths, lengths)
