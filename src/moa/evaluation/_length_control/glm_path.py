"""The official fit: L1 logistic regression by liblinear, its strength chosen by grouped cross-validation."""

import threading
import warnings
from dataclasses import dataclass

import numpy as np

from moa.evaluation._length_control.folds import FOLDS
from moa.evaluation._length_control.l1_logistic import fit_exactly
from moa.evaluation._statistics.array_types import Bools, Floats, Ints, cross_entropy

STRENGTHS = np.logspace(-4, 4, 10)
"""The official grid of C, scikit-learn's `Cs=10`."""

_SEED = 123
_LARGEST_LOGIT = float(np.log(1e15))  # probabilities from 1e-15 to 1 - 1e-15
_liblinear = threading.Lock()  # liblinear keeps its random generator in a C global


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """What one logistic regression with probabilities as targets is fitted to.

    Attributes:
        features: Shape (rows, features).
        target: Probability 0-1 of each row.
        weight: Weight of each row, at least 0.
    """

    features: Floats
    target: Floats
    weight: Floats

    def __len__(self) -> int:
        return len(self.target)

    def at(self, chosen: Bools) -> "Rows":
        """Return some of the rows."""
        return Rows(features=self.features[chosen], target=self.target[chosen], weight=self.weight[chosen])


def fit_by_cross_validation(rows: Rows, folds: Ints) -> tuple[Floats, float]:
    """Return the weights that the official code would publish for these rows and folds, and the strength C behind them.

    Args:
        rows: The rows, in the official order: liblinear stops early, so the order can be seen in the result.
        folds: Fold number of each row.

    Returns:
        The fit to all rows at the strength with the best mean score over folds.

    Source:
        alpaca_eval, `metrics/glm_winrate.py` (`fit_LogisticRegressionCV`): liblinear, L1, no intercept,
        seed 123; scikit-learn's `LogisticRegressionCV` with its own grid of ten strengths. Equal scores go to
        the smallest strength, as `argmax` does.
    """
    with _liblinear:
        losses = np.zeros(len(STRENGTHS))
        for fold in range(FOLDS):
            train, test = rows.at(folds != fold), rows.at(folds == fold)
            # One generator for the whole path: each fit draws liblinear's seed from it.
            generator = np.random.RandomState(_SEED)
            losses += [_mean_loss(test, _fit(train, float(strength), generator)) for strength in STRENGTHS]
        chosen = float(STRENGTHS[np.argmin(losses)])
        return _fit(rows, chosen, np.random.RandomState(_SEED)), chosen


def _fit(rows: Rows, strength: float, generator: np.random.RandomState) -> Floats:
    """Fit probabilities as the official code does: each row as a win and as a loss, weighted by both."""
    if np.all(rows.target == rows.target[0]) and rows.target[0] in (0.0, 1.0):
        # Nothing but wins, or losses: liblinear wants both, the optimum exists all the same.
        only: Floats = fit_exactly(rows.features.T[None], rows.target, rows.weight[None], strength)[0]
        return only
    # Imported here: it takes longer than all the rest, and most of `moa eval` fits nothing.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(
        C=strength, l1_ratio=1.0, solver="liblinear", fit_intercept=False, random_state=generator
    )
    labels = np.repeat([1, 0], len(rows))
    weight = np.concatenate([rows.target * rows.weight, (1.0 - rows.target) * rows.weight])
    with warnings.catch_warnings():
        # Where length alone decides the verdicts liblinear gives up; the official code takes what it has.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(np.vstack([rows.features, rows.features]), labels, sample_weight=weight)
    weights: Floats = model.coef_[0]
    return weights


def _mean_loss(rows: Rows, weights: Floats) -> float:
    """Return the weighted log loss, divided by the number of rows (not by the sum of weights)."""
    # The official code clips probabilities, which keeps a sure and wrong prediction finite.
    logits = np.clip(rows.features @ weights, -_LARGEST_LOGIT, _LARGEST_LOGIT)
    return float(np.mean(rows.weight * cross_entropy(logits, rows.target)))
