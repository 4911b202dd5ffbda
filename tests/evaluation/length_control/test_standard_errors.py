import time

import numpy as np
import pytest

from moa.evaluation._length_control.models import Design, Judged, LengthFit, design_for, fit_length_model
from moa.evaluation._length_control.standard_errors import (
    influence_values,
    lc_standard_error,
    predicted_estimate,
    refit,
)
from moa.evaluation._statistics.array_types import Floats
from moa.evaluation._statistics.sample_means import bootstrap_counts
from tests.evaluation.conftest import Reference

pytestmark = pytest.mark.slow

EXACT_COLUMNS = ("0.36", "2.78", "21.5", "167", "1292", "1e4")


def _fit(design: Design) -> LengthFit:
    fit = fit_length_model(design)
    assert fit is not None
    return fit


def _resampled(fit: LengthFit, *, seed: int, resamples: int) -> Floats:
    """The win rates of bootstrap samples of the prompts."""
    counts = bootstrap_counts(len(fit.design.judged), seed=seed, resamples=resamples)
    rates: Floats = 100.0 * np.average(fit.design.predicted(refit(fit, counts)), axis=1, weights=counts)
    return rates


def test_exact_optimum_is_the_documented_one(reference: Reference) -> None:
    for model, row in list(reference.expected.items())[:8]:
        fit = _fit(reference.design(model, by_row=True))
        weights = refit(fit, np.ones((1, len(fit.design.judged)), dtype=np.int64))[0]
        exact = 100 * np.mean(1 / (1 + np.exp(-(weights @ fit.design.at_equal_length))))

        nearest = min(abs(exact - float(row[f"lc_exact_C{strength}"])) for strength in EXACT_COLUMNS)
        assert nearest <= 1e-7, model
        assert exact == pytest.approx(fit.win_rate, abs=0.016)


def test_standard_error_counts_the_weights_and_agrees_with_the_bootstrap(reference: Reference) -> None:
    for model in ("FuseChat-Llama-3.1-8B-Instruct", "claude-2.1", "gpt4_gamed"):
        fit = _fit(reference.design(model))

        error, drawn = lc_standard_error(fit), _resampled(fit, seed=3, resamples=400)

        assert error is not None
        assert error == pytest.approx(drawn.std(ddof=1), rel=0.15)
        assert error > 2 * fit.official_standard_error


def test_thousand_resamples_with_the_fit_take_well_under_ten_seconds(reference: Reference) -> None:
    design = reference.design("claude-2")
    started = time.process_time()

    _resampled(_fit(design), seed=0, resamples=1000)

    assert time.process_time() - started < 10


def test_influence_values_predict_what_leaving_a_prompt_out_does() -> None:
    fit = _fit(design_for("length_controlled_noreg", _made_up(200)))
    n = len(fit.design.judged)
    counts = np.ones((4, n), dtype=np.int64)
    counts[[1, 2, 3], [0, 50, 199]] = 0

    weights = refit(fit, counts)
    predicted = 100 / (1 + np.exp(-(weights @ fit.design.at_equal_length)))
    rates = np.sum(counts * predicted, axis=1) / counts.sum(axis=1)

    left_out = (rates[0] - rates[1:]) * (n - 1)
    np.testing.assert_allclose(left_out, influence_values(fit)[[0, 50, 199]], rtol=0.06, atol=0.5)


def test_influence_values_sum_to_zero_also_with_missing_verdicts() -> None:
    judged = _made_up(150, missing=10)

    values = influence_values(_fit(design_for("length_controlled_noreg", judged)))

    assert len(values) == 150
    assert values.mean() == pytest.approx(0.0, abs=1e-6)


def test_influence_values_ignore_the_spread_when_all_lengths_are_equal() -> None:
    judged = Judged(preference=np.tile([1.0, 0.0], 30), shorter_by=np.zeros(60))

    values = influence_values(_fit(design_for("equal_length", judged)))

    np.testing.assert_allclose(np.abs(values), 50.0, rtol=0.05)


def test_a_tie_is_not_certain_though_the_penalty_pins_it_to_50() -> None:
    rng = np.random.default_rng(0)
    tied = Judged(preference=np.tile([1.0, 0.0], 20), shorter_by=rng.normal(size=40))

    fit = _fit(design_for("length_controlled_minimal", tied))
    error, drawn = lc_standard_error(fit), _resampled(fit, seed=0, resamples=300)

    assert fit.win_rate == 50.0
    assert error is not None
    assert error == pytest.approx(50 / np.sqrt(40), rel=0.15)
    assert drawn.std() == pytest.approx(error, rel=0.3)


def test_equal_verdicts_give_no_sampling_error() -> None:
    fit = _fit(design_for("equal_length", Judged(preference=np.ones(40), shorter_by=np.arange(40.0))))

    assert lc_standard_error(fit) is None


def test_resamples_follow_their_seed() -> None:
    fit = _fit(design_for("equal_length", _made_up(40)))

    first, same, other = (_resampled(fit, seed=seed, resamples=20) for seed in (1, 1, 2))

    assert first.tolist() == same.tolist()
    assert first.tolist() != other.tolist()


def test_a_system_does_not_differ_from_itself(reference: Reference) -> None:
    fit = _fit(reference.design("claude-2"))

    assert predicted_estimate(fit, fit, seed=0, resamples=50).value == pytest.approx(50)


def test_predicted_win_rate_holds_the_official_figure_within_its_interval(reference: Reference) -> None:
    strong, weak = (_fit(reference.design(model)) for model in ("FuseChat-Qwen-2.5-7B-Instruct", "claude-2"))

    found = predicted_estimate(strong, weak, seed=0, resamples=300)

    assert found.value > 75
    assert found.interval.low < found.value < found.interval.high


def test_paired_figures_refuse_different_prompts() -> None:
    one, other = (_fit(design_for("equal_length", _made_up(rows))) for rows in (40, 41))

    with pytest.raises(ValueError, match="same prompts"):
        predicted_estimate(one, other, seed=0)


def _made_up(rows: int, missing: int = 0) -> Judged:
    rng = np.random.default_rng(11)
    difficulty, shorter_by = rng.normal(size=rows), rng.normal(size=rows) * 400
    preference = 1 / (1 + np.exp(-0.3 + np.tanh(shorter_by / 400) - 0.5 * difficulty - rng.normal(size=rows)))
    preference[:missing] = np.nan
    return Judged(preference=preference, shorter_by=shorter_by, difficulty=difficulty)
