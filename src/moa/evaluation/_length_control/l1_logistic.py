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

    def objective(at: Floats) -> Floats:
        loss = np.einsum("bn,bn->b", scaled, cross_entropy(_logits(features, at), target))
        total: Floats = loss + np.abs(at).sum(axis=1)
        return total

    for iteration in range(_MAX_ITERATIONS):
        gradient, curvature = gradient_and_curvature(features, target, scaled, weights)
        goal = _penalised_quadratic(curvature, (curvature @ weights[:, :, None])[:, :, 0] - gradient)
        step = goal - weights
        if np.all(np.abs(step).max(axis=1) <= _TOLERANCE * (1.0 + np.abs(weights).max(axis=1))):
            return goal
        before = objective(weights)
        decrease = np.einsum("bk,bk->b", gradient, step) + np.abs(goal).sum(axis=1) - np.abs(weights).sum(axis=1)
        if iteration >= _PATIENCE and np.all(np.abs(decrease) <= _FLAT * (1.0 + np.abs(before))):
            # Equal features (every answer much longer than the baseline's) share one weight in any proportion.
            return weights
        # Of each problem's step, the first of 1, 1/2, 1/4 ... that lowers the objective enough.
        lengths, slack = np.ones(problems), 1e-12 * (1.0 + np.abs(before))
        while True:
            after = objective(weights + lengths[:, None] * step)
            short = (after > before + _SUFFICIENT * lengths * decrease + slack) & (lengths > _SHORTEST_STEP)
            if not np.any(short):
                break
            lengths = np.where(short, 0.5 * lengths, lengths)
        weights = weights + lengths[:, None] * step
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
