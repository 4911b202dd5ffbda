"""The values that every statistic here comes back as, and the quantiles behind their intervals."""

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
