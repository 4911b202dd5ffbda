import numpy as np
import pytest

from moa.evaluation._statistics.agreement import krippendorff_alpha
from moa.evaluation._statistics.prediction_powered import corrected_win_rate, exact_win_rate

TRUTH = 55.0


def world(size: int, source: np.random.Generator, *, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """What people say of every pair (55% of wins), and a judge that is biased by 10 points and often guesses."""
    people = (source.random(size) < source.uniform(0.15, 0.95, size)).astype(float)
    judge = np.where(source.random(size) < noise, source.random(size), 0.7 * people + 0.25)
    return people, np.clip(judge, 0.0, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize(("labels", "noise"), [(30, 0.3), (50, 0.3), (50, 0.9), (100, 0.3), (200, 0.9)])
def test_the_interval_holds_the_truth_about_95_times_in_100(labels: int, noise: float) -> None:
    source, held, runs = np.random.default_rng(labels), 0, 1000
    for _ in range(runs):
        people, judge = world(805, source, noise=noise)
        given = np.full(805, np.nan)
        drawn = source.choice(805, labels, replace=False)
        given[drawn] = people[drawn]
        found = corrected_win_rate(judge, given)
        assert found is not None
        held += found.estimate.interval.low <= TRUTH <= found.estimate.interval.high

    # Two standard errors of the simulation are 1.4 points; exact intervals of few labels hold more often.
    assert held / runs >= 0.93
    assert labels < 50 or held / runs <= 0.97


@pytest.mark.slow
def test_unequal_probabilities_are_weighed_by_their_inverse() -> None:
    source, held, runs = np.random.default_rng(7), 0, 1000
    for _ in range(runs):
        people, judge = world(805, source, noise=0.3)
        chances = np.where(np.abs(judge - 0.5) < 0.25, 0.3, 0.1)
        given = np.where(source.random(805) < chances, people, np.nan)
        found = corrected_win_rate(judge, given, chances)
        assert found is not None
        held += found.estimate.interval.low <= TRUTH <= found.estimate.interval.high

    assert 0.93 <= held / runs <= 0.97


def test_a_judge_that_agrees_makes_the_interval_narrower_and_one_that_guesses_does_not_harm() -> None:
    source = np.random.default_rng(3)
    people, judge = world(805, source, noise=0.0)
    given = np.where(np.arange(805) < 100, people, np.nan)
    alone = corrected_win_rate(np.full(805, 0.5), given)

    good, guessing = corrected_win_rate(judge, given), corrected_win_rate(source.random(805), given)

    assert alone is not None
    assert good is not None
    assert guessing is not None
    assert good.power > 0.8
    assert guessing.power < 0.2
    assert good.estimate.standard_error < 0.5 * alone.estimate.standard_error
    assert guessing.estimate.standard_error < 1.02 * alone.estimate.standard_error


def test_few_labels_have_the_exact_interval_of_themselves() -> None:
    found = corrected_win_rate(np.ones(100), np.where(np.arange(100) < 20, 1.0 * (np.arange(100) < 12), np.nan))

    assert found is not None
    # Clopper and Pearson's for 12 of 20.
    assert (found.power, found.n, found.estimate.value) == (0.0, 20, pytest.approx(60.0))
    assert found.estimate.interval.low == pytest.approx(36.05, abs=0.01)
    assert found.estimate.interval.high == pytest.approx(80.88, abs=0.01)


@pytest.mark.slow
def test_an_exact_interval_with_draws_holds_for_any_share_of_them() -> None:
    source, held = np.random.default_rng(5), 0
    for _ in range(500):
        labels = source.choice([0.0, 0.5, 1.0], 25, p=[0.3, 0.4, 0.3])
        interval = exact_win_rate(labels).interval
        held += interval.low <= 50.0 <= interval.high

    assert held / 500 >= 0.95


def test_labels_that_are_all_the_same_are_no_certainty() -> None:
    found = corrected_win_rate(np.ones(200), np.where(np.arange(200) < 60, 1.0, np.nan))

    assert found is not None
    assert found.estimate.interval.low == pytest.approx(94.04, abs=0.01)


def test_figures_are_those_of_the_published_package() -> None:
    """`uv run --with ppi-python pytest …`: the package keeps the unlabelled pairs apart, and takes normal quantiles."""
    ppi = pytest.importorskip("ppi_py")
    source, apart = np.random.default_rng(6), []
    for labels in (50, 100, 200):
        for _ in range(20):
            people, judge = world(805, source, noise=0.3)
            drawn = np.isin(np.arange(805), source.choice(805, labels, replace=False))
            found = corrected_win_rate(judge, np.where(drawn, people, np.nan))
            assert found is not None
            sides = (people[drawn], judge[drawn], judge[~drawn])
            apart.append(found.estimate.value - 100 * float(np.ravel(ppi.ppi_mean_pointestimate(*sides))[0]))
            low, high = (100 * float(np.ravel(end)[0]) for end in ppi.ppi_mean_ci(*sides, alpha=0.05))
            width = found.estimate.interval.high - found.estimate.interval.low
            assert 1.0 < width / (high - low) < 1.1

    assert abs(np.mean(apart)) < 0.1
    assert np.abs(apart).max() < 1.5


def test_no_label_is_no_figure() -> None:
    assert corrected_win_rate(np.ones(3), np.full(3, np.nan)) is None
    with pytest.raises(ValueError, match="same shape"):
        corrected_win_rate(np.ones(3), np.ones(2))


def test_alpha_is_that_of_the_literature() -> None:
    # Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", C: nominal data, 4 observers, 12 units: 0.743.
    units = [
        [1, 1, None, 1],
        [2, 2, 3, 2],
        [3, 3, 3, 3],
        [3, 3, 3, 3],
        [2, 2, 2, 2],
        [1, 2, 3, 4],
        [4, 4, 4, 4],
        [1, 1, 2, 1],
        [2, 2, 2, 2],
        [None, 5, 5, 5],
        [None, None, 1, 1],
        [None, None, 3, None],
    ]

    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=0.001)
    assert krippendorff_alpha([["a", None], ["b", None]]) is None
    assert krippendorff_alpha([["a", "a"], ["a", "a"]]) is None
