import math

import numpy as np
import pytest

from moa.evaluation._statistics.estimates import Estimate, Interval, student_estimate, student_quantile
from moa.evaluation._statistics.non_inferiority import (
    Verdict,
    by_category,
    holm,
    mean_estimate,
    non_inferiority,
    paired_difference,
    prompts_to_settle,
)


def _estimate(low: float, high: float, n: int = 100) -> Estimate:
    value = (low + high) / 2
    error = (high - low) / 2 / 1.96
    return Estimate(value=value, standard_error=error, interval=Interval(low=low, high=high), n=n)


def test_mean_estimate_is_the_textbook_one() -> None:
    found = mean_estimate(np.array([1.0, 2.0, 3.0, 4.0, 5.0, np.nan]))

    assert found is not None
    assert (found.value, found.n) == (3.0, 5)
    assert found.standard_error == pytest.approx(math.sqrt(2.5 / 5))
    assert found.interval.high == pytest.approx(3.0 + 2.776445 * found.standard_error)


def test_repeating_each_prompt_adds_no_certainty_when_clustered() -> None:
    values = np.random.default_rng(0).normal(size=30)

    once = mean_estimate(values)
    clustered = mean_estimate(np.repeat(values, 4), [number // 4 for number in range(120)])
    naive = mean_estimate(np.repeat(values, 4))

    assert once is not None
    assert clustered is not None
    assert naive is not None
    assert clustered.n == 30
    assert clustered.standard_error == pytest.approx(once.standard_error)
    assert naive.standard_error < 0.6 * once.standard_error


@pytest.mark.parametrize("values", [[], [1.0, 2.0, 3.0, 4.0], [0.7] * 50, [np.nan] * 50])
def test_too_little_data_or_variation_gives_none(values: list[float]) -> None:
    assert mean_estimate(np.array(values)) is None


def test_paired_difference_uses_the_pairs() -> None:
    rng = np.random.default_rng(2)
    difficulty = rng.normal(size=200) * 10
    first, second = difficulty + 1 + rng.normal(size=200), difficulty + rng.normal(size=200)

    found = paired_difference(first, second)

    assert found is not None
    assert found.interval.low > 0
    assert found.standard_error < 0.2
    with pytest.raises(ValueError, match="same shape"):
        paired_difference(first, second[:5])


def test_clusters_have_one_entry_for_each_value() -> None:
    with pytest.raises(ValueError, match="6 values but 2 clusters"):
        mean_estimate(np.arange(6.0), ["a", "b"])


def test_power_is_the_known_figure() -> None:
    assert prompts_to_settle(0.5, 1.0) == math.ceil((1.959964 + 0.841621) ** 2 / 0.25)
    with pytest.raises(ValueError, match="difference of 0"):
        prompts_to_settle(0.0, 1.0)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (50.1, 56, Verdict.WIN),
        (47.1, 56, Verdict.WITHIN),
        (47.1, 49, Verdict.WITHIN),
        (40, 49.9, Verdict.LOSE),
        (46, 52, Verdict.UNDECIDED),
    ],
)
def test_non_inferiority_reads_the_interval(low: float, high: float, verdict: Verdict) -> None:
    found = non_inferiority(_estimate(low, high))

    assert found.verdict is verdict
    assert (found.more_prompts is not None) == (verdict is Verdict.UNDECIDED)


def test_undecided_says_how_many_more_prompts_would_settle_it() -> None:
    found = non_inferiority(_estimate(-5.0, 5.0, n=100), margin=3.0, reference=0.0)

    deviation = 5.0 / 1.96 * 10
    assert found.more_prompts == math.ceil(((1.959964 + 0.841621) * deviation / 3.0) ** 2) - 100
    with pytest.raises(ValueError, match="above 0"):
        non_inferiority(_estimate(1, 2), margin=0)


def test_categories_count_their_number() -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(70, 10, 50), rng.normal(50, 10, 50), [60.0, 61.0]])
    names = ["code"] * 50 + ["chat"] * 50 + ["rare"] * 2

    found = by_category(values, names)
    alone = mean_estimate(values[:50])

    assert found.estimates["rare"] is None
    code = found.estimates["code"]
    assert code is not None
    assert alone is not None
    assert code.interval.low < alone.interval.low
    assert list(found.p_values) == ["code", "chat"]
    assert found.p_values["code"] < 0.001
    assert "3 categories" in found.multiplicity
    assert "Holm" in found.multiplicity


def test_holm_is_the_step_down_rule() -> None:
    assert holm({"c": 0.03, "a": 0.01, "b": 0.04}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"x": 0.9, "y": 0.8}) == {"y": 1.0, "x": 1.0}


def test_student_intervals_refuse_what_makes_no_interval() -> None:
    assert student_quantile(0.95, 805) == pytest.approx(1.9629, abs=1e-4)
    with pytest.raises(ValueError, match="between 0 and 1"):
        student_quantile(95, 10)
    with pytest.raises(ValueError, match="at least 2"):
        student_estimate(0.0, 1.0, 1)
