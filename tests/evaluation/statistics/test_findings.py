"""What verdicts show: intervals, the margin, and forecasts."""

import numpy as np
import pytest

from moa.evaluation._statistics.array_types import Floats
from moa.evaluation._statistics.estimates import asymptotic_reach
from moa.evaluation._statistics.findings import Finding, assess, effective_number, either, withstands
from moa.evaluation._statistics.position_consistency import PositionConsistency
from moa.evaluation._statistics.sample_means import mean_with_interval

SERIES = 2_000


def sharp(prompts: int) -> PositionConsistency:
    """A judge that keeps its side on every pair."""
    return PositionConsistency(values=np.ones(prompts), share=1.0, flips=0.0, pairs=prompts)


def around(mean: float, prompts: int = 400, spread: float = 10.0) -> Floats:
    values: Floats = np.linspace(-spread, spread, prompts)
    return values + (mean - values.mean())


@pytest.mark.parametrize(
    ("mean", "finding"),
    [
        (2.0, Finding.BETTER),
        (0.0, Finding.GOOD_ENOUGH),
        (-1.5, Finding.SLIGHTLY_WORSE),
        (-3.0, Finding.UNDECIDED),
        (-5.0, Finding.WORSE),
    ],
)
def test_the_interval_against_equality_and_the_margin_is_the_finding(mean: float, finding: Finding) -> None:
    assert assess(around(mean), sharp(400)).finding is finding


def test_the_margin_counts_only_where_the_judge_keeps_its_side() -> None:
    blunt = PositionConsistency(values=np.full(400, 0.2), share=0.2, flips=0.8, pairs=400)

    assert assess(around(-0.5), sharp(400)).finding is Finding.GOOD_ENOUGH
    assert assess(around(-0.5), blunt).finding is Finding.UNDECIDED
    assert assess(around(-2.5), blunt).finding is Finding.WORSE, "a fifth of the pairs made all of that"


def test_without_that_share_nothing_is_good_enough_but_better_and_worse_stand() -> None:
    found = [assess(around(mean), None).finding for mean in (2.0, 0.0, -1.5, -5.0)]

    assert found == [Finding.BETTER, Finding.UNDECIDED, Finding.UNDECIDED, Finding.WORSE]


def test_a_share_from_a_part_of_the_pairs_widens_what_rests_on_it() -> None:
    values = np.where(np.arange(400) < 60, np.arange(400) % 2, np.nan)
    partly = PositionConsistency(values=values, share=0.5, flips=0.5, pairs=60)

    whole, part = (assess(around(0.0), kept).beyond_margin for kept in (sharp(400), partly))

    assert whole is not None
    assert part is not None
    assert part.value == pytest.approx(1.5)
    assert part.interval.high - part.interval.low > 1.01 * (whole.interval.high - whole.interval.low)


def test_either_spans_both_and_shows_only_what_both_show() -> None:
    one, other = assess(around(2.0), sharp(400)), assess(around(-5.0), sharp(400))

    found = either(one, other)

    assert found.finding is Finding.UNDECIDED
    assert (found.gap.interval.low, found.gap.interval.high) == (other.gap.interval.low, one.gap.interval.high)


@pytest.mark.parametrize(("mean", "most_missing"), [(10.0, 0.15), (-10.0, 0.1), (-1.5, 0.01)])
def test_a_finding_withstands_what_is_missing_while_that_could_not_turn_it(mean: float, most_missing: float) -> None:
    found = assess(around(mean), sharp(400))

    assert withstands(found, 0.0, 50.0)
    assert withstands(found, most_missing, 50.0)
    assert not withstands(found, 0.2, 50.0)


def test_verdicts_that_never_varied_are_no_certainty() -> None:
    found = mean_with_interval(np.full(40, 50.0))

    assert found.value == 50.0
    assert found.interval.low < 45.0


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("prompts", [40, 200])
def test_intervals_hold_the_truth_as_often_as_they_say_from_forty_prompts_on(rate: float, prompts: int) -> None:
    rng = np.random.default_rng(0)
    wins = 100.0 * (rng.random((SERIES, prompts)) < rate) - 50.0

    intervals = [mean_with_interval(values).interval for values in wins]

    held = np.mean([one.low <= 100 * rate - 50 <= one.high for one in intervals])
    assert held >= 0.95 - 3 * (0.95 * 0.05 / SERIES) ** 0.5


def test_a_sequence_holds_at_all_looks_together() -> None:
    values = np.random.default_rng(0).normal(size=(400, 800))
    looks = np.arange(50, 801)

    means = np.cumsum(values, axis=1)[:, looks - 1] / looks
    reach = np.array([asymptotic_reach(int(n), planned=400) for n in looks])

    assert 0.0 < np.any(np.abs(means) > reach, axis=1).mean() <= 0.05
    fixed, looked = (mean_with_interval(values[0], looks=looks).interval for looks in (None, 800))
    assert looked.high - looked.low > 1.3 * (fixed.high - fixed.low)


def test_a_forecast_is_the_number_for_which_the_present_figures_would_do() -> None:
    found = assess(around(0.0, prompts=100, spread=80.0), sharp(100))

    assert found.finding is Finding.UNDECIDED
    deviation, more = around(0.0, prompts=100, spread=80.0).std(), 100 + float(found.more_prompts or 0)
    # The four imagined values count now as they will then.
    error = ((more * deviation**2 + 4 * 50.0**2) / more**2) ** 0.5
    assert (1.96 + 0.8416) * error == pytest.approx(3.0, rel=0.02)


def test_effective_number_counts_prompts_that_matter() -> None:
    assert effective_number(np.array([1.0, -1.0, 1.0, -1.0])) == 4.0
    assert effective_number(np.array([1000.0, *[0.0] * 999])) == pytest.approx(1.0, abs=0.01)
    assert effective_number(np.zeros(4)) == 0.0


def test_a_margin_is_above_zero() -> None:
    with pytest.raises(ValueError, match="above 0"):
        assess(around(0.0), None, margin=0.0)
