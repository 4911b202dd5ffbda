"""How much of a judge's verdicts is about the outputs, and not about their order or about nothing at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from moa.evaluation._statistics.array_types import Bools, Floats

MIN_PAIRS = 20
"""Fewest pairs shown in both orders from which a share is estimated."""

USUAL_TIES = 0.25
"""Share of ties, 0-1, up to which a tie is taken as a finding. Beyond it a tie counts as "can't tell": people who
compare two answers call about a quarter of the pairs a tie (Zheng et al. 2023, arXiv 2306.05685, table 5 and its
data)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PositionConsistency:
    """How many pairs a judge tells apart beyond what chance or a habit would give.

    Attributes:
        values: One for each pair, 1 or less; their mean is `share`, their spread its sampling error. NaN for a pair
            that was not shown in both orders.
        share: Share of the pairs, 0-1, on which the judge keeps its side beyond chance.
        flips: Share of the pairs, 0-1, on which it preferred the other output when they changed places.
        pairs: How many pairs were shown in both orders.
        same: Share of these pairs, 0-1, whose outputs are the same text: about them nothing was asked.
    """

    values: Floats
    share: float
    flips: float
    pairs: int
    same: float = 0.0

    @property
    def of_different(self) -> float:
        """The share among the pairs whose outputs differ, 0-1; 1 where none does."""
        return max(0.0, self.share - self.same) / (1.0 - self.same) if self.same < 1.0 else 1.0

    @classmethod
    def all_of(cls, pairs: int) -> Self:
        """Return what holds where an order can't matter: every side is kept."""
        return cls(values=np.ones(pairs), share=1.0, flips=0.0, pairs=pairs)


def position_consistency(baseline_first: Floats, system_first: Floats, same: Bools) -> PositionConsistency | None:
    """Return on which share of pairs a judge keeps its side; None for fewer than `MIN_PAIRS` pairs.

    A judge that decides a share of the pairs by a habit or a coin flips on some of them and keeps its side on the
    others by luck. If it prefers what is shown first with probability b there, it prefers the first twice on b^2 of
    these pairs and the second twice on (1 - b)^2: the share is the square of the sum of the roots of the two flip
    rates. It is counted off, and so are ties beyond `USUAL_TIES`.

    Args:
        baseline_first: Probability 0-1 that the system wins, the baseline's output being shown first; NaN if not tried.
        system_first: The same in the other order.
        same: Whether the two outputs are the same text: then a draw is the truth, and nothing was asked.
    """
    tried = same | ~(np.isnan(baseline_first) | np.isnan(system_first))
    if np.count_nonzero(tried) < MIN_PAIRS:
        return None
    one, other = np.where(same, 0.5, baseline_first)[tried], np.where(same, 0.5, system_first)[tried]
    first = ((one < 0.5) & (other > 0.5)).astype(np.float64)
    second = ((one > 0.5) & (other < 0.5)).astype(np.float64)
    decided = np.where(same[tried], 1.0, np.where(first + second > 0, 0.0, np.abs(one + other - 1.0)))
    roots = np.sqrt([first.mean(), second.mean()])
    slope = roots[::-1] / np.where(roots > 0, roots, np.inf)
    lucky = roots.prod() + 0.5 * (slope[0] * (first - first.mean()) + slope[1] * (second - second.mean()))
    by_order = 1.0 - first - second - 2.0 * lucky
    by_ties = (decided - 2.0 * lucky) / (1.0 - USUAL_TIES)
    chosen = min((by_order, by_ties), key=lambda values: float(values.mean()))
    values = np.full(len(same), np.nan)
    values[tried] = chosen
    return PositionConsistency(
        values=values,
        share=float(np.clip(chosen.mean(), 0.0, 1.0)),
        flips=float((first + second).mean()),
        pairs=int(np.count_nonzero(tried)),
        same=float(same[tried].mean()),
    )


def least(found: Sequence[PositionConsistency | None]) -> PositionConsistency | None:
    """Return the one with the least share, as a difference is blunted by either side; None if one is unknown."""
    known = [one for one in found if one is not None]
    return min(known, key=lambda one: one.share) if known and len(known) == len(found) else None
