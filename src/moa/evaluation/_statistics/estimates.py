"""The values that every statistic here comes back as, and the quantiles behind their intervals."""

import math
from dataclasses import dataclass

from scipy.special import stdtrit

LEVEL = 0.95
"""Default confidence level: two-sided 5%."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Where a quantity lies with the stated confidence; ends in the quantity's own unit.

    Its ends are formatted together: `f"{interval:+.1f}"` is `-1.2 to +3.4`.
    """

    low: float
    high: float
    level: float = LEVEL

    @property
    def ends(self) -> list[float]:
        """Both, as JSON has them."""
        return [self.low, self.high]

    def __format__(self, spec: str) -> str:
        """Format both ends alike."""
        return f"{self.low:{spec}} to {self.high:{spec}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure with its sampling error.

    Attributes:
        value: The figure, in its own unit.
        standard_error: In the same unit.
        interval: In the same unit.
        n: How many independent prompts (clusters) it rests on.
    """

    value: float
    standard_error: float
    interval: Interval
    n: int


def student_quantile(level: float, n: int) -> float:
    """Return how many standard errors a two-sided interval extends with `n` independent values.

    Args:
        level: Confidence, between 0 and 1.
        n: Number of independent values, at least 2.

    Returns:
        1.963 for 0.95 and 805.

    Raises:
        ValueError: The level or the number makes no interval.

    Source:
        Student's t with n - 1 degrees of freedom.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"a confidence level lies between 0 and 1, not at {level}")
    if n < 2:
        raise ValueError(f"an interval needs at least 2 independent values, not {n}")
    return float(stdtrit(n - 1, 0.5 + level / 2.0))


def asymptotic_reach(n: int, *, planned: int, level: float = LEVEL) -> float:
    """Return how many standard deviations of one value an asymptotic confidence sequence extends after `n`.

    Its intervals hold at every look, so that judging may stop as soon as they decide, at an error rate for large n.

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
