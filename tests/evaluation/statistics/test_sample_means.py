import math

import numpy as np
import pytest

from moa.evaluation._statistics.estimates import student_estimate, student_quantile
from moa.evaluation._statistics.sample_means import (
    by_category,
    holm,
    mean_estimate,
    prompts_to_settle,
)


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


def test_clusters_have_one_entry_for_each_value() -> None:
    with pytest.raises(ValueError, match="6 values but 2 clusters"):
        mean_estimate(np.arange(6.0), ["a", "b"])


def test_power_is_the_known_figure() -> None:
    assert prompts_to_settle(0.5, 1.0) == math.ceil((1.959964 + 0.841621) ** 2 / 0.25)
    with pytest.raises(ValueError, match="difference of 0"):
        prompts_to_settle(0.0, 1.0)


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
