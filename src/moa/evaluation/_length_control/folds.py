"""Which cross-validation fold each row falls into: the official split in its documented orders, and shuffles.

Every group of the official `GroupKFold` holds the same two rows, so "largest group first" is a tie everywhere
and the folds are whatever order an argsort leaves equal keys in. NumPy's default argsort is unstable and
differs between processors, hence the named orders.
"""

from typing import Literal

import numpy as np

from moa.evaluation._statistics.array_types import Ints

FOLDS = 5
FoldOrder = Literal["published", "stable"]

_INSERTION_SORT_SPAN = 15  # NumPy's SMALL_QUICKSORT: spans no longer than this are insertion-sorted, ties stay


def fold_of_rows(n_rows: int, order: FoldOrder | int = "published") -> Ints:
    """Return the fold of each row as the official code splits them, or of a random split into folds of equal size.

    Args:
        n_rows: How many rows are fitted: the gamed baselines' first, then the system's.
        order: `published`, NumPy's introsort without SIMD, is the order behind the leaderboard's figures;
            `stable` is that of scikit-learn releases that ask for a stable sort. A number is the seed of a shuffle.

    Returns:
        Fold numbers 0 to 4, one per row.

    Raises:
        ValueError: There are fewer rows than folds.

    Source:
        scikit-learn, `sklearn.model_selection.GroupKFold`: groups in descending order of size go, one by one,
        to the lightest fold; with equal sizes that is round robin.
    """
    if n_rows < FOLDS:
        raise ValueError(f"{n_rows} rows cannot be split into {FOLDS} folds")
    if isinstance(order, int):
        ranking = np.random.default_rng(order).permutation(n_rows)
    else:
        ranking = (introsort_of_equal_keys(n_rows) if order == "published" else np.arange(n_rows))[::-1]
    folds = np.empty(n_rows, dtype=np.int64)
    folds[ranking] = np.arange(n_rows) % FOLDS
    return folds


def introsort_of_equal_keys(n_keys: int) -> Ints:
    """Return the permutation in which NumPy's introsort, without SIMD, leaves `n_keys` equal keys.

    With equal keys a quicksort becomes a fixed series of swaps: both scans stop at once on every element, so
    each partition swaps the pivot aside, exchanges mirrored pairs, and puts the pivot back in the middle. The
    partitions are balanced, so the depth limit that would call heapsort is never reached.

    Source:
        NumPy, `numpy/_core/src/npysort/quicksort.cpp`, the argsort for types without SIMD dispatch.
    """
    order = list(range(n_keys))
    spans = [(0, n_keys - 1)]
    while spans:
        low, high = spans.pop()
        if high - low <= _INSERTION_SORT_SPAN:
            continue
        pivot = low + (high - low) // 2
        order[pivot], order[high - 1] = order[high - 1], order[pivot]
        left, right = low + 1, high - 2
        while left < right:
            order[left], order[right] = order[right], order[left]
            left, right = left + 1, right - 1
        order[left], order[high - 1] = order[high - 1], order[left]
        spans += [(low, left - 1), (left + 1, high)]
    return np.array(order, dtype=np.int64)
