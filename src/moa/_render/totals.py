"""A run in one line: time, tokens and cost; and its degradations."""

from collections.abc import Sequence

from moa._ledger import Ledger
from moa._render.format import count, seconds, spent, usd
from moa._render.sanitize import one_line
from moa._render.symbols import Symbols
from moa._results import Answer, Degradation

_REASON_LIMIT = 300


def totals_line(answer: Answer, signs: Symbols) -> str:
    """Return the totals of a run with an answer."""
    parts = [seconds(answer.latency.total_s)]
    if answer.latency.first_token_s is not None:
        parts.append(f"first token {seconds(answer.latency.first_token_s)}")
    return f" {signs.dot} ".join([*parts, *_ledger_parts(answer.ledger)])


def ledger_line(ledger: Ledger, signs: Symbols) -> str:
    """Return the totals of a ledger, e.g. of a run that failed or was cancelled."""
    return f" {signs.dot} ".join(_ledger_parts(ledger))


def degraded_lines(reasons: Sequence[Degradation]) -> tuple[str, ...]:
    """Return one line for each degradation."""
    return tuple(one_line(f"{reason.agent}: {reason.message}", limit=_REASON_LIMIT) for reason in reasons)


def _ledger_parts(ledger: Ledger) -> list[str]:
    usage, estimated = ledger.usage, ledger.estimated_usage
    parts = [count(len(ledger.calls), "call"), f"{usage.input_tokens:,} in + {usage.output_tokens:,} out tokens"]
    if usage.cached_input_tokens:
        saved = f", saved {usd(ledger.spend.saved_usd)}" if ledger.spend.saved_usd > 0 else ""
        parts.append(f"cached {usage.cached_input_tokens / usage.input_tokens:.0%} of input{saved}")
    if estimated.total_tokens:
        parts.append(f"about {count(estimated.total_tokens, 'token')} in calls that were cut off")
    return [*parts, spent(ledger.spend)]
