import math

import numpy as np
import pytest

from moa.evaluation._analysis.measured import Scores
from moa.evaluation._metrics.verdicts import Annotations
from moa.evaluation._statistics.estimates import student_quantile
from moa.evaluation._statistics.sample_means import (
    by_category,
    holm,
    mean_with_interval,
    prompts_to_settle,
    rows_with_interval,
)

SERIES = 2_000


def test_the_interval_is_that_of_the_mean_with_two_imagined_values_at_either_end() -> None:
    # Agresti and Coull 1998: 15 of 20, with two more of each.
    found = mean_with_interval(np.repeat([100.0, 0.0], [15, 5]), center=50.0)

    assert (found.value, found.n) == (75.0, 20)
    middle, error = 100 * 17 / 24, 100 * math.sqrt(17 / 24 * 7 / 24 / 23)
    assert found.standard_error == pytest.approx(error)
    assert found.interval.low == pytest.approx(middle - 2.068658 * error)
    assert found.interval.high == pytest.approx(middle + 2.068658 * error)


@pytest.mark.parametrize("score", [0.0, 100.0])
def test_scores_that_are_all_the_same_have_an_interval_that_shrinks_with_their_number(score: float) -> None:
    """Other harnesses report an error of exactly 0 here (EleutherAI/lm-evaluation-harness, issue 4070)."""
    few, many = (mean_with_interval(np.full(n, score), center=50.0).interval for n in (25, 5_000))

    # The exact (Clopper and Pearson's) intervals are 13.7 and 0.07 points wide.
    assert 13.7 < few.high - few.low < 17.0
    assert 0.07 < many.high - many.low < 0.1
    assert score in ((few.low, many.low) if score == 0.0 else (few.high, many.high))


def test_repeating_each_prompt_adds_no_certainty() -> None:
    values = np.random.default_rng(0).normal(size=30)

    once = rows_with_interval(values, range(30))
    repeated = rows_with_interval(np.repeat(values, 4), [number // 4 for number in range(120)])
    apart = rows_with_interval(np.repeat(values, 4), range(120))

    assert once is not None
    assert apart is not None
    assert repeated is not None
    assert (repeated.n, repeated.standard_error) == (30, pytest.approx(once.standard_error))
    assert apart.standard_error < 0.6 * once.standard_error


def test_rows_without_a_value_are_left_out() -> None:
    some = rows_with_interval(np.array([1.0, np.nan, 3.0]), "abc")

    assert some is not None
    assert (some.value, some.n) == (2.0, 2)
    assert rows_with_interval(np.full(3, np.nan), "abc") is None


@pytest.mark.slow
@pytest.mark.parametrize("prompts", [10, 64, 805])
@pytest.mark.parametrize("share", [0.0, 0.005, 0.03, 0.5])
def test_intervals_of_scores_and_of_paired_differences_hold_the_truth_near_either_end(
    prompts: int, share: float
) -> None:
    """Planted 0/1 scores by a measure; the other system is right on exactly the same prompts but for that share."""
    rng, held, differs, close = np.random.default_rng([prompts, int(1000 * share)]), 0, 0, 0
    order = np.arange(prompts)
    for _ in range(SERIES):
        fails = rng.random(prompts) < share
        known = {"systems": (), "opponents": (), "index": order, "instruction": order.astype(str), "category": order}
        columns = {"good": np.ones(prompts), "other": np.where(fails, 0.0, 1.0)}
        found = {name: Annotations.empty(prompts, **known, won=won) for name, won in columns.items()}
        scores = Scores(measure="exact", found=found)
        _, other = scores.measured("good")
        assert other.estimate is not None
        assert other.difference is not None
        held += other.estimate.interval.low <= 100 * (1 - share) <= other.estimate.interval.high
        differs += other.difference.interval.low <= -100 * share <= other.difference.interval.high
        close += other.difference.interval.low > -3.0

    assert min(held, differs) / SERIES >= 0.94 - 3 * (0.94 * 0.06 / SERIES) ** 0.5
    if share == 0.03:  # worse by the margin: at most one in forty may be called good enough, or few more
        assert close / SERIES <= 0.03 + 3 * (0.03 * 0.97 / SERIES) ** 0.5


def test_power_is_the_known_figure() -> None:
    assert prompts_to_settle(0.5, 1.0) == math.ceil((1.959964 + 0.841621) ** 2 / 0.25)
    # Where nothing varied so far, the imagined values are all that is left: their share falls with the number.
    assert prompts_to_settle(3.0, 0.0, most=100.0) == math.ceil((1.959964 + 0.841621) * 200 / 3)
    with pytest.raises(ValueError, match="difference of 0"):
        prompts_to_settle(0.0, 1.0)


def test_categories_count_their_number() -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(70, 10, 50), rng.normal(50, 10, 50), np.zeros(20), [60.0, 61.0]])
    names = ["code"] * 50 + ["chat"] * 50 + ["hard"] * 20 + ["rare"] * 2

    found = by_category(values, names, range(122))
    repeated = by_category(np.repeat(values, 3), np.repeat(names, 3).tolist(), np.repeat(range(122), 3).tolist())
    alone = mean_with_interval(values[:50], center=50.0)

    assert found.estimates["rare"] is None
    code, hard = found.estimates["code"], found.estimates["hard"]
    assert code is not None
    assert code.interval.low < alone.interval.low
    assert list(found.p_values) == ["code", "hard", "chat"]
    assert found.p_values["code"] < 0.001
    assert hard is not None
    assert hard.interval.high < 25.0, "all lost: that is a figure, too"
    again = repeated.estimates["code"]
    assert again is not None
    assert (again.n, again.standard_error) == (50, pytest.approx(code.standard_error))
    assert "4 categories" in found.multiplicity
    assert "Holm" in found.multiplicity


def test_holm_is_the_step_down_rule() -> None:
    assert holm({"c": 0.03, "a": 0.01, "b": 0.04}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"x": 0.9, "y": 0.8}) == {"y": 1.0, "x": 1.0}


def test_student_intervals_refuse_what_makes_no_interval() -> None:
    assert student_quantile(0.95, 805) == pytest.approx(1.9629, abs=1e-4)
    with pytest.raises(ValueError, match="between 0 and 1"):
        student_quantile(95, 10)
    with pytest.raises(ValueError, match="at least 2"):
        student_quantile(0.95, 1)
