from importlib.util import find_spec

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from moa.evaluation._statistics.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha, spearman


def test_cohen_kappa_is_the_textbook_figure() -> None:
    # 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: 0.7 observed, 0.5 by chance.
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15

    assert cohen_kappa(first, second) == pytest.approx(0.4)


def test_cohen_kappa_is_one_in_agreement_and_none_where_chance_explains_all() -> None:
    assert cohen_kappa("ABAB", "ABAB") == pytest.approx(1.0)
    assert cohen_kappa("AAAA", "AAAA") is None
    assert cohen_kappa([], []) is None
    with pytest.raises(ValueError, match="not 1 and 2"):
        cohen_kappa("A", "AB")


def test_fleiss_kappa_is_the_published_example() -> None:
    # Fleiss's layout: 10 items, 14 judges, 5 labels; kappa 0.210.
    counts = [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]

    assert fleiss_kappa(np.array(counts)) == pytest.approx(0.210, abs=5e-4)


def test_fleiss_kappa_needs_a_steady_panel() -> None:
    assert fleiss_kappa(np.array([[3, 0], [3, 0]])) is None
    assert fleiss_kappa(np.empty((0, 2), dtype=np.int64)) is None
    with pytest.raises(ValueError, match="same number of judges"):
        fleiss_kappa(np.array([[3, 0], [1, 1]]))


def test_spearman_sees_only_the_order() -> None:
    scores = np.array([0.1, 0.5, 0.7, 2.0, 9.0, 11.0])

    same, mirrored = spearman(scores, np.exp(scores), seed=0), spearman(scores, -scores, seed=0)

    assert same is not None
    assert mirrored is not None
    assert same.value == pytest.approx(1.0)
    assert mirrored.value == pytest.approx(-1.0)


def test_spearman_handles_ties_and_gives_an_interval_around_it() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(5, size=60).astype(float)
    second = first + rng.normal(size=60)

    found = spearman(first, second, seed=1)

    assert found is not None
    assert found.interval.low < found.value < found.interval.high
    assert found == spearman(first, second, seed=1)


def test_spearman_says_nothing_of_too_little() -> None:
    scores = np.arange(10.0)

    assert spearman(scores[:4], scores[:4], seed=0) is None
    assert spearman(scores, np.ones(10), seed=0) is None
    with pytest.raises(ValueError, match="same shape"):
        spearman(scores, scores[:5], seed=0)


def test_agreement_is_that_of_independent_implementations() -> None:
    rng = np.random.default_rng(4)
    reference = pytest.importorskip("krippendorff") if find_spec("krippendorff") else None
    for _ in range(20):
        first = rng.integers(0, 3, 60)
        second = np.where(rng.random(60) < 0.6, first, rng.integers(0, 3, 60))
        assert cohen_kappa(first.tolist(), second.tolist()) == pytest.approx(cohen_kappa_score(first, second))
        ratings = np.stack([first, second, rng.integers(0, 3, 60)]).astype(float)
        ratings[rng.random(ratings.shape) < 0.2] = np.nan
        given = [[None if np.isnan(one) else one for one in row] for row in ratings.T.tolist()]
        if reference is not None:
            theirs = reference.alpha(reliability_data=ratings, level_of_measurement="nominal")
            assert krippendorff_alpha(given) == pytest.approx(theirs)
