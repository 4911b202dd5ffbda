import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moa.evaluation._statistics.array_types import Floats
from moa.evaluation._statistics.estimates import Interval
from moa.evaluation._statistics.non_inferiority import Verdict, non_inferiority
from moa.evaluation._statistics.sequential import (
    Decision,
    SequentialResult,
    as_estimate,
    cautious_difference,
    cautious_estimate,
    confidence_interval,
    decide,
    exceeds,
    log_wealth,
    sequential_test,
    sequential_test_many,
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

    decisions, times = sequential_test_many(_shuffles(values, replace=False), population=len(values))

    assert np.mean([decision is Decision.WIN for decision in decisions]) >= 0.95
    assert times.mean() < 0.2 * len(values)


def test_a_census_settles_a_near_tie_that_a_sample_leaves_open(reference: Reference) -> None:
    values = reference.judged(NEAR_TIE).preference

    sample, census = sequential_test(values), sequential_test(values, population=len(values))

    assert sample.decision is Decision.CONTINUE
    assert sample.settled_after is None
    assert census.decision is Decision.WITHIN
    assert census.settled_after is not None
    assert 47 < census.interval.low < census.interval.high < 53
    assert "exactly these 805 prompts" in census.target
    whole = confidence_interval(values, population=len(values))
    assert whole.low == pytest.approx(100 * values.mean(), abs=1e-4)
    assert whole.high == pytest.approx(100 * values.mean(), abs=1e-4)


def test_settling_stops_at_the_first_decision_whatever_comes_after() -> None:
    wins = np.ones(20)

    early, late = sequential_test(wins), sequential_test(np.concatenate([wins, np.zeros(50)]))

    assert early.decision is late.decision is Decision.WIN
    assert early.settled_after == late.settled_after
    assert late.judged == 70


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    mean=st.sampled_from([0.3, 0.46, 0.5, 0.53, 0.7]),
    size=st.integers(1, 400),
    population=st.sampled_from([None, 400]),
    margin=st.sampled_from([3.0, 8.0]),
)
def test_interval_says_what_was_decided_by_the_rule_of_the_verdict(
    seed: int, mean: float, size: int, population: int | None, margin: float
) -> None:
    values = np.random.default_rng(seed).binomial(1, mean, size=size).astype(float)

    found = sequential_test(values, margin=margin, population=population)

    estimate = as_estimate(found.estimate, found.interval, found.rests_on)
    verdict = non_inferiority(estimate, margin=margin).verdict
    # Not settled, as it may still turn out to be better: comparable all the same, if it is not worse by the margin.
    allowed = {Verdict.WITHIN, Verdict.UNDECIDED} if found.decision is Decision.CONTINUE else {found.decision}
    assert verdict in allowed


def test_what_came_after_the_decision_does_not_take_it_back() -> None:
    wins, after = np.ones(30), np.zeros(30)

    found = sequential_test(np.concatenate([wins, after]))

    assert found.decision is Decision.WIN
    assert found.judged == 60
    assert found.interval == sequential_test(wins[: found.settled_after]).interval
    assert found.interval.low > 50


def test_what_one_look_has_ruled_out_stays_ruled_out() -> None:
    wins, after = np.ones(30), np.full(30, 0.5)

    early, late = confidence_interval(wins), confidence_interval(np.concatenate([wins, after]))

    assert late.low >= early.low - 1e-6


def test_looks_that_contradict_each_other_leave_all_between_them_open() -> None:
    contradicting = np.concatenate([np.ones(40), np.zeros(400)])

    found = confidence_interval(contradicting)

    assert found.low < found.high


def test_equal_verdicts_have_an_interval_and_so_have_equal_differences() -> None:
    draws = np.full(805, 0.5)

    rate, difference = cautious_estimate(draws), cautious_difference(draws, draws)

    assert rate is not None
    assert difference is not None
    assert 47 < rate.interval.low < 50 < rate.interval.high < 53
    assert -3 < difference.interval.low < 0 < difference.interval.high < 3
    assert cautious_estimate(draws[:4]) is None
    assert cautious_difference(draws[:4], draws[:4]) is None


def test_a_settlement_survives_being_written_down() -> None:
    found = sequential_test(np.ones(20))

    assert SequentialResult.of(json.loads(json.dumps(found.as_dict()))) == found


def test_swapping_the_sides_mirrors_decision_and_interval() -> None:
    values = np.random.default_rng(3).random(60) ** 3

    one, other = sequential_test(values), sequential_test(1 - values)

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
        sequential_test(np.array(values), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("low", "high", "decision"),
    [
        (50.5, 60, Decision.WIN),
        (40, 49.5, Decision.LOSE),
        (48, 52, Decision.WITHIN),
        (48, 55, Decision.CONTINUE),
        (47.5, 49.5, Decision.WITHIN),
        (30, 70, Decision.CONTINUE),
    ],
)
def test_decision_needs_both_sides_for_no_difference(low: float, high: float, decision: Decision) -> None:
    assert decide(Interval(low=low, high=high)) is decision
