import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moa.evaluation._length_control.l1_logistic import fit_exactly, gradient_and_curvature
from moa.evaluation._statistics.array_types import Floats, cross_entropy, sigmoid


def _problem(seed: int, width: int, rows: int) -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(1, width, rows)) * rng.uniform(0.1, 3.0, size=(1, width, 1))
    return features, rng.uniform(size=rows), rng.integers(0, 4, size=(3, rows)).astype(float)


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), width=st.integers(1, 3), rows=st.integers(4, 60), exponent=st.floats(-3, 4))
def test_optimum_satisfies_the_optimality_conditions(seed: int, width: int, rows: int, exponent: float) -> None:
    features, target, weight = _problem(seed, width, rows)

    fitted = fit_exactly(features, target, weight, 10.0**exponent)

    gradient, _ = gradient_and_curvature(features, target, 10.0**exponent * weight, fitted)
    active = np.abs(fitted) > 1e-7
    scale = 1e-6 * (1.0 + 10.0**exponent)
    assert np.all(np.abs(gradient + np.sign(fitted))[active] <= scale)
    assert np.all(np.abs(gradient)[~active] <= 1.0 + scale)


def test_batch_equals_problems_solved_alone_and_from_another_start() -> None:
    features, target, weight = _problem(1, 3, 50)

    together = fit_exactly(features, target, weight, 2.0)
    alone = [fit_exactly(features, target, row[None], 2.0, np.array([1.0, -1.0, 2.0]))[0] for row in weight]

    np.testing.assert_allclose(together, alone, atol=1e-9)


def test_weights_are_zero_under_a_strong_penalty() -> None:
    features, target, weight = _problem(2, 3, 50)

    assert not np.any(fit_exactly(features, target, weight, 1e-6))


def test_feature_that_is_always_zero_gets_no_weight() -> None:
    features, target, weight = _problem(3, 2, 40)
    features[:, 0] = 0.0

    fitted = fit_exactly(features, target, weight, 100.0)

    assert not np.any(fitted[:, 0])
    assert np.all(fitted[:, 1] != 0)


def test_separable_verdicts_have_a_finite_optimum() -> None:
    wins = fit_exactly(np.ones((1, 1, 20)), np.ones(20), np.ones((1, 20)), 1e4)

    # |w| + 1e4 * 20 * log(1 + exp(-w)) is least where sigmoid(-w) = 1 / (1e4 * 20).
    np.testing.assert_allclose(wins, np.log(2e5 - 1.0), rtol=1e-9)


@pytest.mark.parametrize("logit", [-800.0, -1.0, 0.0, 1.0, 800.0])
def test_logistic_functions_neither_overflow_nor_lose_their_symmetry(logit: float) -> None:
    at = np.array([logit])

    np.testing.assert_allclose(sigmoid(at) + sigmoid(-at), 1.0)
    np.testing.assert_allclose(cross_entropy(at, np.zeros(1)) - cross_entropy(-at, np.zeros(1)), logit)
    np.testing.assert_allclose(cross_entropy(at, np.ones(1)), cross_entropy(-at, np.zeros(1)))


def test_features_that_are_nearly_equal_and_have_no_single_optimum_are_fitted_all_the_same() -> None:
    # Every answer is 5 or 6 characters longer than the baseline's: tanh makes the same number of both.
    shorter = np.where(np.arange(40) < 10, -5.0, -6.0)
    target = np.tile([1.0, 0.0, 0.8, 0.1, 0.4], 8)
    weight = np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), size=1000)[850:950].astype(float)
    spread = np.array([np.std(np.repeat(shorter, row.astype(int)), ddof=1) for row in weight])
    features = np.stack([np.tanh(shorter / spread[:, None]), np.ones(weight.shape)], axis=1)

    both = fit_exactly(features, target, weight, 1.58, np.zeros(2))
    one = fit_exactly(features[:, 1:], target, weight, 1.58)

    assert np.allclose(both[:, 1] - both[:, 0], one[:, 0], atol=1e-4)
