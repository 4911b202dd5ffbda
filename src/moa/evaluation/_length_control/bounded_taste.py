"""The win rate at equal length under a taste for length that is stated, where verdicts can't say how strong it is."""

import numpy as np

from moa.evaluation._length_control.models import LONGEST_RATIO, Judged
from moa.evaluation._statistics.array_types import Floats, sigmoid

STEEPEST = 1.25
"""Logits by which a doubled length moves a judge at most: from 50% to 78%. The leaderboard's judge moves by 1.4 between
its baseline's ordinary and its concise answers, which also leave things out."""

_STEPS = 60


def with_taste(judged: Judged, slope: float) -> Floats:
    """Return a pseudo-value of the win rate at equal length for each row, for a judge with the given taste for length.

    Args:
        judged: Verdicts without a gap, and the ratio of lengths.
        slope: Logits by which the judge's preference rises for each doubling of the system's length.

    Returns:
        Percent; the mean is the win rate, the spread its sampling error.
    """
    ratio = np.zeros(len(judged)) if judged.doublings is None else judged.doublings
    taste = -slope * np.clip(ratio, -LONGEST_RATIO, LONGEST_RATIO)
    low, high = -30.0, 30.0
    for _ in range(_STEPS):  # the mean of the fitted probabilities rises with the constant
        middle = 0.5 * (low + high)
        low, high = (middle, high) if sigmoid(middle + taste).mean() < judged.preference.mean() else (low, middle)
    fitted, rate = sigmoid(middle + taste), float(sigmoid(np.array(middle)))
    bend = max(float(np.mean(fitted * (1.0 - fitted))), np.finfo(np.float64).tiny)
    pull: Floats = 100.0 * (rate + rate * (1.0 - rate) * (judged.preference - fitted) / bend)
    return pull
