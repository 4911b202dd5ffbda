import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moa.evaluation.arrays import Floats
from moa.evaluation.influence import influence_values
from moa.evaluation.intervals import Interval
from moa.evaluation.length_control import fit_length_model
from moa.evaluation.sequential import (
    Decision,
    asymptotic_reach,
    confidence_interval,
    decide,
    exceeds,
    length_controlled_interval,
    log_wealth,
    settle,
    settle_many,
)
from tests.evaluation.conftest import Reference

NEAR_TIE = "FuseChat-Llama-3.2-3B-Instruct"
SHUFFLES = 400


def _shuffles(values: Floats, *, replace: bool) -> Floats:
    rng, n = np.random.default_rng(0), len(values)
    if replace:
        return values[rng.integers(n, size=(SHUFFLES, n))]
    return values[rng.permuted(np.tile(np.arange(n), (SHUFFLES, 1)), axis=1)]


@pytest.mark.parametrize("finite", [False, True])
@pytest.mark.parametrize("model", [NEAR_TIE, "claude-2.1"])
def test_interval_misses_the_truth_at_any_look_no_more_often_than_promised(
    reference: Reference, model: str, finite: bool
) -> None:
    values = reference.judged(model).preference
    truth, population = float(values.mean()), len(values) if finite else None
    series = _shuffles(values, replace=not finite)

    missed = exceeds(series, truth, population=population)[:, -1]
    missed |= exceeds(1 - series, 1 - truth, population=population)[:, -1]

    # 5 % and three standard errors of 400 shuffles.
    assert missed.mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / SHUFFLES)


def test_decisions_on_shuffled_verdicts_are_right_and_save_most_judgements(reference: Reference) -> None:
    values = reference.judged("FuseChat-Llama-3.1-8B-Instruct").preference

    decisions, times = settle_many(_shuffles(values, replace=False), population=len(values))

    assert np.mean([decision is Decision.WIN for decision in decisions]) >= 0.95
    assert times.mean() < 0.2 * len(values)


def test_a_census_settles_a_near_tie_that_a_sample_leaves_open(reference: Reference) -> None:
    values = reference.judged(NEAR_TIE).preference

    sample, census = settle(values), settle(values, population=len(values))

    assert sample.decision is Decision.CONTINUE
    assert sample.settled_after is None
    assert census.decision is Decision.WITHIN
    assert census.settled_after is not None
    assert census.interval.low == pytest.approx(100 * values.mean(), abs=1e-4)
    assert census.interval.high == pytest.approx(100 * values.mean(), abs=1e-4)
    assert "exactly these 805 prompts" in census.target


def test_settling_stops_at_the_first_decision_whatever_comes_after() -> None:
    wins = np.ones(20)

    early, late = settle(wins), settle(np.concatenate([wins, np.zeros(50)]))

    assert early.decision is late.decision is Decision.WIN
    assert early.settled_after == late.settled_after
    assert late.judged == 70


def test_swapping_the_sides_mirrors_decision_and_interval() -> None:
    values = np.random.default_rng(3).random(60) ** 3

    one, other = settle(values), settle(1 - values)

    assert (one.decision, other.decision) == (Decision.LOSE, Decision.WIN)
    assert one.settled_after == other.settled_after
    assert one.interval.low == pytest.approx(100 - other.interval.high)


@settings(max_examples=50)
@given(
    values=st.lists(st.sampled_from([0.0, 0.2, 0.5, 1.0]), min_size=1, max_size=40),
    finite=st.booleans(),
    low=st.floats(0.01, 0.98),
    step=st.floats(0.001, 0.5),
)
def test_wealth_falls_as_the_mean_rises_so_that_the_sequence_is_an_interval(
    values: list[float], finite: bool, low: float, step: float
) -> None:
    series, population = np.array(values), 50 if finite else None

    at_low = log_wealth(series, low, population=population)
    at_high = log_wealth(series, min(1.0, low + step), population=population)

    assert np.all(at_low >= at_high - 1e-9)


def test_interval_of_nothing_is_everything_and_of_few_equal_verdicts_is_wide() -> None:
    assert confidence_interval(np.empty(0)) == Interval(low=0.0, high=100.0)

    three = confidence_interval(np.ones(3))

    assert three.low < 40
    assert three.high == 100.0


def test_sum_so_far_rules_means_out_for_certain_in_a_census() -> None:
    found = confidence_interval(np.array([1.0, 1.0, 0.0]), population=4)

    assert found.low == pytest.approx(50.0, abs=1e-4)
    assert found.high == pytest.approx(75.0, abs=1e-4)


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        ([0.5, np.nan], {}, "leave missing ones out"),
        ([0.5, 1.5], {}, "from 0 to 1"),
        ([0.5, 0.5], {"population": 1}, "2 judgements of a population of 1"),
        ([0.5], {"margin": 0.0}, "above 0"),
    ],
)
def test_settling_refuses_what_it_cannot_promise(values: list[float], options: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        settle(np.array(values), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("low", "high", "decision"),
    [
        (50.5, 60, Decision.WIN),
        (40, 49.5, Decision.LOSE),
        (48, 52, Decision.WITHIN),
        (48, 55, Decision.CONTINUE),
        (30, 70, Decision.CONTINUE),
    ],
)
def test_decision_needs_both_sides_for_no_difference(low: float, high: float, decision: Decision) -> None:
    assert decide(Interval(low=low, high=high)) is decision


def test_length_controlled_sequence_holds_the_win_rate_and_is_wider_than_one_look(reference: Reference) -> None:
    fit = fit_length_model(reference.design(NEAR_TIE))
    assert fit is not None
    influence = influence_values(fit)

    found = length_controlled_interval(fit.win_rate, influence, planned=400)

    assert found is not None
    assert found.low < fit.win_rate < found.high
    assert found.high - found.low > 2 * 1.96 * influence.std() / np.sqrt(len(influence))
    assert length_controlled_interval(fit.win_rate, influence[:99], planned=400) is None


def test_asymptotic_sequence_keeps_its_error_rate_on_normal_values() -> None:
    values = np.random.default_rng(0).normal(size=(SHUFFLES, 800))
    looks = np.arange(100, 801)

    means = np.cumsum(values, axis=1)[:, looks - 1] / looks
    reach = np.array([asymptotic_reach(int(n), planned=400) for n in looks])

    missed = np.any(np.abs(means) > reach, axis=1).mean()
    assert 0.0 < missed <= 0.05
