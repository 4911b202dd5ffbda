"""Scorers and statistics against other people's implementations of them.

Those that are not among the development packages are asked for: `uv run --with krippendorff,lm-eval,ppi-python pytest
tests/evaluation/test_against_references.py`. Packages that aren't there are skipped.
"""

import random
from itertools import product

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from moa.evaluation._measures.base import Case
from moa.evaluation._measures.registry import load_measure
from moa.evaluation._statistics.agreement import cohen_kappa, krippendorff_alpha
from moa.evaluation._statistics.prediction_powered import corrected_win_rate
from tests.support.engines import engine_of, scripted


def test_cohens_kappa_is_scikit_learns() -> None:
    rng = random.Random(0)
    for size in (3, 10, 200):
        first = rng.choices("ABC", k=size)
        second = [one if rng.random() < 0.6 else rng.choice("ABC") for one in first]
        assert cohen_kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))


def test_krippendorffs_alpha_is_that_of_its_package() -> None:
    krippendorff = pytest.importorskip("krippendorff")
    rng = np.random.default_rng(0)
    for raters, missing in ((2, 0.0), (3, 0.3), (5, 0.6)):
        truth = rng.integers(3, size=(80, 1))
        ratings = np.where(rng.random((80, raters)) < 0.7, truth, rng.integers(3, size=(80, raters))).astype(float)
        ratings[rng.random((80, raters)) < missing] = np.nan
        rows = [[None if np.isnan(one) else int(one) for one in row] for row in ratings]
        theirs = krippendorff.alpha(reliability_data=ratings.T, level_of_measurement="nominal")
        assert krippendorff_alpha(rows) == pytest.approx(theirs)


def test_a_win_rate_corrected_by_labels_is_that_of_ppi_python() -> None:
    """It takes labelled and other pairs as two samples, and we all pairs as one: the same for few labels of many."""
    ppi_py = pytest.importorskip("ppi_py")
    rng = np.random.default_rng(0)
    wins = rng.random(20_000)
    truth = (rng.random(20_000) < wins).astype(float)
    judged = np.clip(wins + rng.normal(0.1, 0.2, 20_000), 0.0, 1.0)
    for labels in (100, 400):
        drawn = np.arange(20_000) < labels
        found = corrected_win_rate(judged, np.where(drawn, truth, np.nan))
        assert found is not None
        theirs = ppi_py.ppi_mean_pointestimate(truth[drawn], judged[drawn], judged[~drawn])[0]
        low, high = (end[0] for end in ppi_py.ppi_mean_ci(truth[drawn], judged[drawn], judged[~drawn], alpha=0.05))
        error = found.estimate.standard_error
        assert found.estimate.value == pytest.approx(100 * theirs, abs=0.1 * error)
        # Ours are Student's intervals, and a little wider.
        interval = found.estimate.interval
        assert 1.0 <= (interval.high - interval.low) / (100 * (high - low)) < 1.04


async def test_exact_match_is_lm_evals() -> None:
    metrics = pytest.importorskip("lm_eval.api.metrics")
    texts = ["Paris", "paris", "Paris.", "U.S.", "US", "us", "it's", "its", "$5", "5", "a-b", "ab", "42", "4 2"]
    for option, flags in {
        "exact": {},
        "exact:ignore_case": {"ignore_case": True},
        "exact:ignore_punctuation": {"ignore_punctuation": True},
        "exact:ignore_case,ignore_punctuation": {"ignore_case": True, "ignore_punctuation": True},
    }.items():
        measure = load_measure(option)
        for output, reference in product(texts, texts):
            async with engine_of(scripted({})) as engine:
                ours = await measure.score(engine, Case(prompt="q", output=output, row={"reference": reference}))
            theirs = metrics.exact_match_hf_evaluate(predictions=[output], references=[reference], **flags)
            assert ours.value == theirs["exact_match"], (option, output, reference)
