import numpy as np
import pytest
from scipy.optimize import minimize

from moa.evaluation._length_control.folds import FoldOrder
from moa.evaluation._length_control.models import (
    Design,
    Judged,
    LengthFit,
    LengthModel,
    design_for,
    fit_length_model,
    fold_spread,
)
from moa.evaluation._statistics.array_types import Floats
from tests.evaluation.conftest import Reference

pytestmark = pytest.mark.slow


def _fits(reference: Reference, order: FoldOrder, every: int = 1) -> dict[str, LengthFit]:
    models = list(reference.expected)[::every]
    found = {model: fit_length_model(reference.design(model, by_row=True), order) for model in models}
    return {model: fit for model, fit in found.items() if fit is not None}


@pytest.fixture(scope="module")
def published_fits(reference: Reference) -> dict[str, LengthFit]:
    return _fits(reference, "published")


def _errors(reference: Reference, fits: dict[str, LengthFit], column: str) -> np.ndarray:
    return np.array([abs(fit.win_rate - float(reference.expected[name][column])) for name, fit in fits.items()])


def test_lc_win_rate_is_the_published_one_with_the_folds_behind_it(
    reference: Reference, published_fits: dict[str, LengthFit]
) -> None:
    errors = _errors(reference, published_fits, "published")

    assert len(errors) == 30
    assert np.mean(errors <= 1e-5) >= 0.9
    assert errors.max() <= 0.2


def test_lc_win_rate_equals_the_official_code_run_with_either_fold_order(
    reference: Reference, published_fits: dict[str, LengthFit]
) -> None:
    stable_fits = _fits(reference, "stable", every=3)

    assert _errors(reference, published_fits, "official_v1_sk142_introsort").max() <= 1e-6
    assert _errors(reference, stable_fits, "official_v1_sk191_stable").max() <= 1e-6
    assert _errors(reference, stable_fits, "published").max() <= 0.35


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("length_controlled_noreg", "official_noreg_sk142_introsort"),
        ("length_controlled_minimal", "official_minimal_sk142_introsort"),
    ],
)
def test_unregularised_models_equal_the_official_code(reference: Reference, name: LengthModel, column: str) -> None:
    for model in ("claude-2.1", "phi-2", "FuseChat-Llama-3.2-3B-Instruct", "gpt4_gamed"):
        fit = fit_length_model(design_for(name, reference.judged(model, by_row=True)))

        assert fit is not None
        assert fit.win_rate == pytest.approx(float(reference.expected[model][column]), abs=1e-5)


def test_official_standard_error_and_weights_are_the_published_ones(reference: Reference) -> None:
    model = "FuseChat-Llama-3.1-8B-Instruct"
    row = reference.leaderboard[model]

    fit = fit_length_model(reference.design(model))

    assert fit is not None
    assert fit.official_standard_error == pytest.approx(float(row["lc_standard_error"]), abs=1e-6)
    published = [float(row[name]) for name in ("w_len", "w_difficulty", "w_bias")]
    assert fit.weights == pytest.approx(published, abs=1e-6)


def test_published_weights_predict_the_published_lc_win_rate_against_the_baseline(reference: Reference) -> None:
    row = reference.leaderboard["gpt-3.5-turbo-0301"]
    weights = np.array([float(row[name]) for name in ("w_len", "w_difficulty", "w_bias")])

    equal = np.zeros(len(reference.data.difficulty))
    judged = Judged(preference=equal, shorter_by=equal, difficulty=reference.data.difficulty)
    design = Design(name="length_controlled_v1", judged=judged)

    predicted = 100.0 * design.predicted(weights).mean()

    assert predicted == pytest.approx(float(row["length_controlled_winrate"]), abs=1e-6)


def test_fold_spread_is_that_of_the_documented_orders_and_of_shuffles(reference: Reference) -> None:
    design = reference.design("FuseChat-Llama-3.2-3B-Instruct")

    fits = [fit_length_model(design, order) for order in ("published", "stable", 0)]
    rates = [fit.win_rate for fit in fits if fit is not None]

    assert max(rates) - min(rates) == pytest.approx(0.0647, abs=1e-3)
    assert fold_spread(design) == pytest.approx(0.0646, abs=1e-3)


def test_rows_without_a_verdict_leave_the_fit_but_not_the_mean() -> None:
    judged = _made_up(60)
    preference = judged.preference.copy()
    preference[:3] = np.nan
    without = Judged(preference=preference, shorter_by=judged.shorter_by, difficulty=judged.difficulty)

    fit = fit_length_model(design_for("length_controlled_noreg", without))

    assert fit is not None
    logits = fit.weights[1] * judged.difficulty + fit.weights[2]
    assert fit.win_rate == pytest.approx(100 * np.mean(1 / (1 + np.exp(-logits))))


def test_the_equal_length_model_is_an_unpenalised_logistic_regression(reference: Reference) -> None:
    judged = reference.judged("claude-2.1", by_row=True)
    present = judged.present
    x = np.tanh(judged.shorter_by / np.std(judged.shorter_by, ddof=1))[present]
    p = judged.preference[present]

    def loss(w: Floats) -> float:
        logits = w[0] * x + w[1]
        return float(np.mean(np.logaddexp(0.0, logits) - p * logits))

    optimum = minimize(loss, np.zeros(2), method="BFGS", options={"gtol": 1e-8}).x
    fit = fit_length_model(design_for("equal_length", judged))

    assert fit is not None
    assert fit.win_rate == pytest.approx(100.0 / (1.0 + np.exp(-optimum[1])), abs=0.01)


def test_a_system_nearly_as_good_as_the_baseline_is_not_pinned_to_50_by_the_equal_length_model() -> None:
    preference = np.tile([1.0, 0.0], 100)
    preference[:8] = 1.0
    judged = Judged(preference=preference, shorter_by=np.random.default_rng(3).normal(0, 100, 200))

    only, minimal = (
        fit_length_model(design_for(name, judged), folds="stable")
        for name in ("equal_length", "length_controlled_minimal")
    )

    assert only is not None
    assert minimal is not None
    assert minimal.win_rate == 50.0
    assert only.win_rate == pytest.approx(52.0, abs=0.6)


def test_swapping_the_sides_mirrors_the_equal_length_win_rate() -> None:
    judged = _made_up(80)
    mirrored = Judged(preference=1 - judged.preference, shorter_by=-judged.shorter_by)

    one = fit_length_model(design_for("equal_length", judged))
    other = fit_length_model(design_for("equal_length", mirrored))

    assert one is not None
    assert other is not None
    assert one.win_rate + other.win_rate == pytest.approx(100.0, abs=0.05)


@pytest.mark.parametrize("shorter_by", [0.0, 25.0])
def test_equal_length_differences_leave_the_plain_win_rate(shorter_by: float) -> None:
    judged = Judged(preference=np.tile([1.0, 0.0, 1.0, 1.0], 25), shorter_by=np.full(100, shorter_by))

    fit = fit_length_model(design_for("equal_length", judged))

    assert fit is not None
    assert fit.win_rate == pytest.approx(75.0, abs=1.0)


def test_a_system_that_always_wins_has_a_length_controlled_win_rate_near_100() -> None:
    judged = Judged(preference=np.ones(40), shorter_by=np.arange(40.0))

    fit = fit_length_model(design_for("equal_length", judged))

    assert fit is not None
    assert fit.win_rate > 95


def test_verdicts_that_length_alone_decides_have_a_figure_without_a_warning(
    reference: Reference, recwarn: pytest.WarningsRecorder
) -> None:
    judged = reference.judged("claude-2")
    longer_wins = Judged(
        preference=np.where(judged.shorter_by < 0, 1.0, 0.0),
        shorter_by=judged.shorter_by,
        difficulty=judged.difficulty,
    )

    fit = fit_length_model(design_for("length_controlled_noreg", longer_wins))

    assert fit is not None
    # What the official code gives for it (scikit-learn 1.9.1, the same folds), after the same warnings.
    assert fit.win_rate == pytest.approx(63.480336, abs=1e-3)
    assert not recwarn.list


def test_too_few_verdicts_give_no_figure() -> None:
    judged = Judged(preference=np.array([1.0] * 9 + [np.nan] * 20), shorter_by=np.arange(29.0))

    assert fit_length_model(design_for("equal_length", judged)) is None
    assert fold_spread(design_for("equal_length", judged)) is None
    assert fold_spread(design_for("length_controlled_minimal", judged)) is None


def test_design_says_what_the_model_lacks() -> None:
    judged = Judged(preference=np.ones(20), shorter_by=np.arange(20.0))

    with pytest.raises(ValueError, match="gamed baselines"):
        design_for("length_controlled_v1", judged)
    with pytest.raises(ValueError, match="difficulty of every instruction"):
        design_for("length_controlled_noreg", judged)


def _made_up(rows: int) -> Judged:
    rng = np.random.default_rng(7)
    difficulty, shorter_by = rng.normal(size=rows), rng.normal(size=rows) * 400
    logits = 0.4 - np.tanh(shorter_by / 400) + 0.5 * difficulty
    return Judged(
        preference=1 / (1 + np.exp(-logits - rng.normal(size=rows))),
        shorter_by=shorter_by,
        difficulty=difficulty,
    )


def test_length_differences_that_are_nearly_all_the_same_are_fitted_though_liblinear_gives_up() -> None:
    shorter_by = np.array([-503.0, -525.0, -234.0, -234.0, *[-524.0] * 11, *[-523.0] * 14])
    halves = np.array([1, 3, 2, 4, 2, 3, 2, 1, 2, 2, 1, 2, 2, 2, 2, 2, 2, 2, 4, 0, 2, 4, 4, 0, 4, 0, 2, 2, 3])
    judged = Judged(preference=halves / 4.0, shorter_by=shorter_by, difficulty=None)

    fit = fit_length_model(design_for("equal_length", judged, None))

    assert fit is not None
    assert 40.0 < fit.win_rate < 60.0
