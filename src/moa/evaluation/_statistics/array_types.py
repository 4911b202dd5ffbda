"""Names for the arrays that the numeric modules pass around, and the logistic function they share."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Objects = NDArray[np.object_]


def sigmoid(logits: Floats) -> Floats:
    """Return 1 / (1 + exp(-logits)) without overflow."""
    # The hyperbolic form is the same function, and one vectorised call instead of two masked branches.
    half: Floats = np.tanh(0.5 * logits)
    return 0.5 * (1.0 + half)


def cross_entropy(logits: Floats, target: Floats) -> Floats:
    """Return -target log(p) - (1 - target) log(1 - p), p being the sigmoid of the logits.

    Written so that nothing cancels where the logits are large and right.
    """
    tail: Floats = np.log1p(np.exp(-np.abs(logits)))
    return tail + (1.0 - target) * np.maximum(logits, 0.0) + target * np.maximum(-logits, 0.0)
