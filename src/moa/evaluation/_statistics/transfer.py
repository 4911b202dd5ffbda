"""From one judge's figure to another's: a line through systems that both have rated, and what it says of one more."""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from moa.evaluation._statistics.array_types import Floats
from moa.evaluation._statistics.estimates import LEVEL, Interval, student_quantile

MIN_SYSTEMS = 6
"""Fewest systems for a line: `bench.calibrate` shows that its intervals hold from here on."""

MIN_RELIABILITY = 0.6
"""Least share of the figures' variance that is between systems and not sampling error."""

_NOTHING = 1e-9  # points squared: figures that are equal but for rounding


class NoLine(StrEnum):
    """Why figures of two judges make no line."""

    FEW = f"fewer than {MIN_SYSTEMS} systems have a figure by both judges"
    ALIKE = "this judge rates all systems alike: it can't tell them apart, and more pairs won't change that"
    NOISE = (
        "the systems' figures by this judge differ no more than sampling errors explain: judge more pairs of each "
        "(--pairs), and if that doesn't help, the judge can't tell them apart"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a figure of the one judge says of the other's; all in the figures' unit.

    Attributes:
        value: The other's figure, expected.
        interval: Where it lies: the line's error, the judges' differing tastes and the figure's own error.
        inside: Whether the figure lies between those of the systems that the line goes through.
    """

    value: float
    interval: Interval
    inside: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """The line `other = level + slope * (one - center)` through systems that both judges rated.

    Attributes:
        slope: Points of the other judge's figure for a point of the one's, sampling errors taken out.
        slope_error: Its standard error.
        center: Mean of the one's figures.
        level: Mean of the other's.
        scatter: Variance around the line: tastes that differ, and sampling errors.
        noise: Mean sampling variance of the one's figures.
        lowest: The least of the one's figures; `highest` the greatest.
        n: Number of systems.
    """

    slope: float
    slope_error: float
    center: float
    level: float
    scatter: float
    noise: float
    lowest: float
    highest: float
    n: int

    def read(self, figure: float, error: float) -> Reading:
        """Return what a figure of the one judge says of the other's.

        Args:
            figure: Of a system that is not in the line, percent 0-100.
            error: Its standard error for the prompts that the other's figure would be of, in points.
        """
        away = figure - self.center
        # The scatter holds a sampling error already: only what this figure has more of is added.
        own = self.scatter + self.slope**2 * max(error**2 - self.noise, 0.0)
        variance = own + self.scatter / self.n + (self.slope_error * away) ** 2
        reach = student_quantile(LEVEL, self.n - 1) * math.sqrt(variance)
        value = self.level + self.slope * away
        return Reading(
            value=min(max(value, 0.0), 100.0),
            interval=Interval(low=max(value - reach, 0.0), high=min(value + reach, 100.0)),
            inside=self.lowest <= figure <= self.highest,
        )

    def slope_interval(self) -> Interval:
        """Return the slope's interval by Student's t."""
        reach = student_quantile(LEVEL, self.n - 1) * self.slope_error
        return Interval(low=self.slope - reach, high=self.slope + reach)


def transfer(one: Floats, errors: Floats, other: Floats) -> Transfer | NoLine:
    """Return the line from one judge's figures to another's, by the method of moments with known sampling errors.

    Args:
        one: The one judge's figures of some systems, percent 0-100.
        errors: Their standard errors in points, for the prompts that the other's figures are of.
        other: The other judge's figures of the same systems, as they would be repeated: without sampling error.

    Returns:
        The line, or why there is none.

    Raises:
        ValueError: The shapes differ.

    Source:
        Fuller 1987, Measurement Error Models, section 1.2 (measurement variance known).
    """
    if not one.shape == errors.shape == other.shape:
        raise ValueError("figures, errors and the other's figures are of the same systems")
    n = len(one)
    if n < MIN_SYSTEMS:
        return NoLine.FEW
    noise = float(np.mean(errors**2))
    observed = float(np.var(one, ddof=1))
    true = observed - noise
    if observed <= _NOTHING:
        return NoLine.ALIKE
    if true < MIN_RELIABILITY * observed:
        return NoLine.NOISE
    center, level = float(one.mean()), float(other.mean())
    slope = float((one - center) @ (other - level)) / (n - 1) / true
    scatter = float(np.sum((other - level - slope * (one - center)) ** 2)) / (n - 2)
    spread = scatter / true + (noise * scatter + (slope * noise) ** 2) / true**2
    return Transfer(
        slope=slope,
        slope_error=math.sqrt(spread / (n - 1)),
        center=center,
        level=level,
        scatter=scatter,
        noise=noise,
        lowest=float(one.min()),
        highest=float(one.max()),
        n=n,
    )
