"""Money, durations and counts for people."""

from decimal import Decimal

from moa._usage import Spend

_SMALLEST_SHOWN_USD = Decimal("0.000001")
_CENT = Decimal("0.01")


def usd(amount: Decimal | float) -> str:
    """Return US dollars: cents from ten cents on, two significant digits below, never rounded to nothing."""
    amount = Decimal(repr(amount)) if isinstance(amount, float) else Decimal(amount)
    if amount == 0:
        return "$0"
    if abs(amount) < _SMALLEST_SHOWN_USD:
        return f"<${_SMALLEST_SHOWN_USD:f}"
    if abs(amount) >= 10 * _CENT:
        return f"${amount:,.2f}"
    return f"${amount:.{1 - amount.adjusted()}f}"


def seconds(duration_s: float) -> str:
    """Return seconds with two significant digits or whole seconds: `85 ms`, `2.4 s`, `73 s`, `12 min 5 s`."""
    if duration_s < 0.9995:
        return f"{duration_s * 1000:.0f} ms"
    if duration_s < 9.95:
        return f"{duration_s:.1f} s"
    if duration_s < 119.5:
        return f"{duration_s:.0f} s"
    minutes, rest = divmod(round(duration_s), 60)
    return f"{minutes} min {rest} s"


def count(number: int, noun: str) -> str:
    """Return a number with its noun in singular or plural: `1 call`, `1,200 calls`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def factor(times: float) -> str:
    """Return how many times as much, of 1 or more: two digits, a third where two would say 1: `1.04`, `5.3`, `140`."""
    if times < 1.05:
        return f"{times:.3g}"
    return f"{times:.2g}" if times < 99.5 else f"{times:.0f}"


def spent(spend: Spend) -> str:
    """Return what was spent; estimates are marked, and calls without a known price are counted, not added as zero."""
    parts = []
    if spend.priced_usd or not spend.unpriced_calls:
        parts.append(usd(spend.priced_usd))
    if spend.estimated_usd:
        parts.append(f"about {usd(spend.estimated_usd)} estimated")
    if spend.unpriced_calls:
        parts.append(f"price unknown for {count(spend.unpriced_calls, 'call')}")
    return " + ".join(parts)
