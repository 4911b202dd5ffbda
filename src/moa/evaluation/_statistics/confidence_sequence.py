"""Confidence sequences: intervals that hold at every look, so that judging may stop as soon as they decide.

They are asymptotic: their error rate holds for large numbers.
"""

import math

from moa.evaluation._statistics.estimates import LEVEL


def asymptotic_reach(n: int, *, planned: int, level: float = LEVEL) -> float:
    """Return how many standard deviations of one value an asymptotic confidence sequence extends after `n`.

    Args:
        n: Values so far, at least 1.
        planned: At how many values the sequence should be tightest.
        level: Probability 0-1 that the interval holds at all looks together.

    Returns:
        A number of standard deviations; it falls about as sqrt(log n / n).

    Source:
        arXiv 2103.06476, theorem 2.2, equation 7, and appendix B.2 for rho.
    """
    miss = 1.0 - level
    rho2 = (-2.0 * math.log(miss) + math.log(-2.0 * math.log(miss) + 1.0)) / planned
    growth = n * rho2 + 1.0
    return math.sqrt(2.0 * growth / (n * n * rho2) * math.log(math.sqrt(growth) / miss))
