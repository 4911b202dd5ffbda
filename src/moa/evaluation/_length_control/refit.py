"""A length model fitted again with its prompts counted differently: for resamples and for influence values.

The regulariser's rows are part of the method, not of the sample: they stay as they are in every resample, and
so does the strength that cross-validation chose, unless it is so small that the penalty decides instead of
the verdicts.
"""

import numpy as np

from moa.evaluation._length_control.l1_logistic import fit_exactly
from moa.evaluation._length_control.models import Design, LengthFit, system_features
from moa.evaluation._statistics.array_types import Floats, Ints

_CHUNK = 50  # samples solved side by side: the arrays of a chunk stay in the processor's cache
_LEAST_STRENGTH = 10.0


def inference_strength(fit: LengthFit) -> float:
    """Return the strength C at which the sampling error is measured.

    It is the chosen one, or 10 / sqrt(verdicts) if that is more: the penalty then weighs at most about a fifth
    of the sampling error of the constant's gradient, sqrt(verdicts) / 2. Below that, a system about as good as
    the baseline is pinned to exactly 50%, and every resample with it: certainty that nobody measured.

    Args:
        fit: The fitted model.

    Returns:
        C, the inverse strength of the penalty.
    """
    n = int(np.count_nonzero(fit.design.judged.present))
    return max(fit.strength, _LEAST_STRENGTH / float(np.sqrt(n)))


def refit(fit: LengthFit, counts: Ints) -> Floats:
    """Return the exact optimum, at the strength for inference, of each reweighted sample.

    Args:
        fit: The fitted model.
        counts: How often each prompt counts, shape (samples, prompts).

    Returns:
        Weights, shape (samples, features).
    """
    strength, fitted = inference_strength(fit), []
    for first in range(0, len(counts), _CHUNK):
        weight, target, features = weighted_rows(fit.design, counts[first : first + _CHUNK])
        fitted.append(fit_exactly(features, target, weight, strength, fit.weights))
    return np.concatenate(fitted)


def weighted_rows(design: Design, counts: Ints) -> tuple[Floats, Floats, Floats]:
    """Return what is fitted when prompts count differently.

    Args:
        design: The model and its rows.
        counts: How often each prompt counts, shape (samples, prompts).

    Returns:
        Weights, shape (samples, rows); targets, shape (rows,); features, shape (samples, features, rows); the
        regulariser's rows first.
    """
    present = design.judged.present
    mine = system_features(design, _spreads(design.judged.shorter_by, counts))
    prior = np.broadcast_to(design.prior_features, (len(counts), *design.prior_features.shape))
    prior_weight = np.full((len(counts), prior.shape[2]), design.gamed_weight)
    weight = np.concatenate([prior_weight, counts * present], axis=1)
    # A missing verdict has weight 0; its target must only be a number.
    observed = np.where(present, design.judged.preference, 0.0)
    target = np.concatenate([design.prior_preference, observed])
    return weight, target, np.concatenate([prior, mine], axis=2)


def _spreads(values: Floats, counts: Ints) -> Floats:
    """Return the sample standard deviation of each reweighted sample."""
    total = counts.sum(axis=1)
    centred = values - values.mean()
    mean = counts @ centred / total
    squares = np.maximum(counts @ centred**2 - total * mean**2, 0.0)
    spreads: Floats = np.sqrt(squares / (total - 1))
    return spreads
