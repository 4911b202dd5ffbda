"""Names for the arrays that the numeric modules pass around, and the logistic function they share."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def sigmoid(logits: Floats) -> Floats:
    """Return 1 / (1 + exp(-logits)) without overflow."""
    # The hyperbolic form is the same function, and one vectorised call instead of two masked branches.
    half: Floats = np.tanh(0.5 * logits)
    return 0.5 * (1.0 + half)


def log1p_exp(logits: Floats) -> Floats:
    """Return log(1 + exp(logits)) without overflow."""
    tail: Floats = np.log1p(np.exp(-np.abs(logits)))
    return np.maximum(logits, 0.0) + tail
