"""A failed run, as lines for a person and as JSON for a program."""

from typing import Any

from moa._ledger import ErrorInfo, Ledger
from moa._render.sanitize import safe
from moa._usage import json_usd
from moa.errors import AnswerInterrupted, DeadlineExceeded, EngineError, MoaError


def failure_lines(error: MoaError) -> tuple[str, ...]:
    """Return an error as lines without control characters: what failed, then each real cause once."""
    if isinstance(error, EngineError):
        # Agents of one endpoint often fail for one reason: it is told once.
        causes = dict.fromkeys(safe(str(cause)) for cause in error.failures)
        return (safe(str(error.args[0])), *(f"  {cause}" for cause in causes))
    return tuple(safe(str(error)).splitlines())


def failure_ledger(error: MoaError) -> Ledger:
    """Return what a failed run used; nothing if it failed before any call."""
    return error.ledger if isinstance(error, EngineError) else Ledger()


def failure_dict(error: MoaError) -> dict[str, Any]:
    """Return an error with the ledger of its run, JSON-ready."""
    partial = error.partial_text if isinstance(error, AnswerInterrupted | DeadlineExceeded) else ""
    causes = error.failures if isinstance(error, EngineError) else ()
    failures = [{"model": cause.model, **cause.info.as_dict()} for cause in causes]
    return {**unfinished_dict(error.info, failure_ledger(error), partial_text=partial), "failures": failures}


def unfinished_dict(info: ErrorInfo, ledger: Ledger, *, partial_text: str = "") -> dict[str, Any]:
    """Return a run without an answer, JSON-ready: why there is none, and what it used all the same."""
    spend = ledger.spend
    return {
        "error": info.as_dict(),
        "partial_text": partial_text,
        "usage": ledger.usage.as_dict(),
        "estimated_usage": ledger.estimated_usage.as_dict(),
        "cost_usd": json_usd(spend.cost_usd),
        "priced_usd": json_usd(spend.priced_usd),
        "estimated_usd": json_usd(spend.estimated_usd),
        "charged_usd": json_usd(spend.charged_usd),
        "unpriced": list(ledger.unpriced),
        "calls": [call.as_dict() for call in ledger.calls],
    }
