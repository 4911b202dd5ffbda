"""Figures of a report as a person reads them; what is unknown is a dash, and says so."""

from moa._render.format import seconds, usd
from moa.evaluation._analysis.cost_latency import Cost, Percentiles
from moa.evaluation._statistics.estimates import Estimate, Interval

UNKNOWN = "unknown"
NONE = "–"


def percent(value: float | None, digits: int = 1) -> str:
    """Return a percentage, e.g. `57.3%`."""
    return NONE if value is None else f"{value:.{digits}f}%"


def share(count: int | None, of: int) -> str:
    """Return a count with its share, e.g. `12 (1.5%)`; none is `0`."""
    if count is None:
        return UNKNOWN
    return f"{count} ({100 * count / of:.1f}%)" if count and of else str(count)


def interval(found: Interval | None) -> str:
    """Return an interval's ends."""
    return NONE if found is None else f"{found:.1f}"


def score(found: Estimate | None) -> tuple[str, str]:
    """Return a rate in percent, and its interval's ends."""
    return (NONE, NONE) if found is None else (f"{found.value:.1f}%", f"{found.interval:.1f}")


def difference(found: Estimate | None) -> tuple[str, str]:
    """Return a difference in points and its interval's ends, with their signs."""
    return (NONE, NONE) if found is None else (f"{found.value:+.1f}", f"{found.interval:+.1f}")


def money(amount: float | None) -> str:
    """Return US dollars."""
    return UNKNOWN if amount is None else usd(amount)


def cost(found: Cost | None) -> str:
    """Return US dollars; what is known only as an estimate begins with `about`."""
    if found is not None and found.usd is None and found.about_usd is not None:
        return f"about {money(found.about_usd)}"
    return money(None if found is None else found.usd)


def time(value: float | None) -> str:
    """Return seconds."""
    return UNKNOWN if value is None else seconds(value)


def middle_and_tail(found: Percentiles | None) -> tuple[str, str]:
    """Return the median and the 95th percentile."""
    return (UNKNOWN, UNKNOWN) if found is None else (seconds(found.p50), seconds(found.p95))
