"""Ledgers and their attempts out of the JSON that they were written as."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, get_args

from moa._ledger import Attempt, AttemptStatus, Call, ErrorInfo, Ledger
from moa._usage import UsageSource
from moa.providers._reply_serialization import usage_from


def ledger_from(calls: Any) -> Ledger:
    """Return the ledger whose calls these mappings are.

    Raises:
        ValueError: One of them is no call.
    """
    if not isinstance(calls, list):
        raise ValueError("calls must be a list")
    return Ledger(calls=tuple(_call(call) for call in calls))


def _call(data: Any) -> Call:
    match data:
        case {
            "id": int(number),
            "agent": str(agent),
            "model": str(model),
            "purpose": str(purpose),
            "layer": int(layer),
            "attempts": [*attempts],
        }:
            tried = tuple(attempt_from(attempt) for attempt in attempts)
            return Call(id=number, agent=agent, model=model, purpose=purpose, layer=layer, attempts=tried)
    raise ValueError("a call lacks some of its fields")


def attempt_from(data: Any) -> Attempt:
    """Return the attempt that a mapping of `Attempt.as_dict` stands for.

    Raises:
        ValueError: It stands for none.
    """
    try:
        return Attempt(
            status=_one_of(data["status"], get_args(AttemptStatus)),
            started_s=_seconds(data["started_s"]),
            queue_s=_seconds(data["queue_s"]),
            first_token_s=None if data["first_token_s"] is None else _seconds(data["first_token_s"]),
            duration_s=_seconds(data["duration_s"]),
            usage=None if data["usage"] is None else usage_from(data["usage"]),
            usage_source=_one_of(data["usage_source"], get_args(UsageSource)),
            cost_usd=None if data["cost_usd"] is None else Decimal(str(_seconds(data["cost_usd"]))),
            cached=data["cached"] is True,
            hedge=data["hedge"] is True,
            finish_reason=data["finish_reason"],
            served_by=data["served_by"],
            error=_error(data["error"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"an attempt is incomplete: {error}") from error


def _error(data: Mapping[str, Any] | None) -> ErrorInfo | None:
    return None if data is None else ErrorInfo(code=str(data["code"]), message=str(data["message"]))


def _one_of(value: Any, known: tuple[Any, ...]) -> Any:
    if value not in known:
        raise ValueError(f"{value!r} is none of {', '.join(known)}")
    return value


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected a number, got {value!r:.40}")
    return float(value)
