"""The values that every statistic here comes back as."""

from dataclasses import dataclass
from statistics import NormalDist

LEVEL = 0.95
"""Default confidence level: two-sided 5 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Where a quantity lies with the stated confidence; ends in the quantity's own unit."""

    low: float
    high: float
    level: float = LEVEL


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


def normal_quantile(level: float) -> float:
    """Return how many standard errors a two-sided normal interval extends.

    Args:
        level: Confidence, between 0 and 1.

    Returns:
        1.96 for 0.95.

    Raises:
        ValueError: The level is not between 0 and 1.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"a confidence level lies between 0 and 1, not at {level}")
    return NormalDist().inv_cdf(0.5 + level / 2.0)


def normal_estimate(value: float, standard_error: float, n: int, level: float = LEVEL) -> Estimate:
    """Return the estimate with a normal interval around its value.

    Args:
        value: The figure.
        standard_error: In the figure's unit.
        n: How many independent prompts it rests on.
        level: Confidence, between 0 and 1.

    Returns:
        The estimate.

    Raises:
        ValueError: The level is not between 0 and 1.
    """
    reach = normal_quantile(level) * standard_error
    interval = Interval(low=value - reach, high=value + reach, level=level)
    return Estimate(value=value, standard_error=standard_error, interval=interval, n=n)
