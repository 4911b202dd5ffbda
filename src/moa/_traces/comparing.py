"""Compares the results of two runs: answer, order and ledger; times and run names are ignored."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

_SUMS = ("cost_usd", "priced_usd", "estimated_usd", "charged_usd")
_WHOLE = ("status", "text", "usage", "estimated_usage", "unpriced", "unseeded", "seed", "partial_text", "error")
_OF_PROPOSALS = ("agent", "model", "status", "text", "escaped", "finish_reason")
_OF_ANSWERS = ("agent", "model", "text", "selected", "tool_calls", "finish_reason")
_OF_CALLS = ("id", "agent", "model", "purpose", "layer", "usage")
_OF_ATTEMPTS = ("status", "usage", "usage_source", "cached", "hedge", "finish_reason", "error")


def differences(recorded: Mapping[str, Any], replayed: Mapping[str, Any]) -> tuple[str, ...]:
    """Return in what two results differ, one sentence each; both as `moa ask --json` prints them."""
    return tuple(_differences(recorded, replayed))


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    yield from _fields("the run", one, other, _WHOLE)
    for name in _SUMS:
        if not _same_amount(one.get(name), other.get(name)):
            yield _sentence("the run", name, one.get(name), other.get(name))
    yield from _rows("proposals", _proposals(one), _proposals(other), _OF_PROPOSALS)
    yield from _fields("the answer", one.get("answer", {}), other.get("answer", {}), _OF_ANSWERS)
    yield from _rows("calls", one["calls"], other["calls"], _OF_CALLS)
    yield from _rows("attempts", _attempts(one), _attempts(other), _OF_ATTEMPTS)


def _rows(what: str, one: list[Any], other: list[Any], names: tuple[str, ...]) -> Iterator[str]:
    if len(one) != len(other):
        yield f"{what}: {len(one)} were recorded, the replay has {len(other)}"
        return
    for number, (left, right) in enumerate(zip(one, other, strict=True), 1):
        yield from _fields(f"{what} {number}", left, right, names)


def _fields(what: str, one: Mapping[str, Any], other: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        if one.get(name) != other.get(name):
            yield _sentence(what, name, one.get(name), other.get(name))


def _sentence(what: str, name: str, one: object, other: object) -> str:
    return f"{what}: {name} was {one!r:.80}, now it is {other!r:.80}"


def _same_amount(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-15)


def _proposals(result: Mapping[str, Any]) -> list[Any]:
    return [proposal for layer in result.get("layers", ()) for proposal in layer["proposals"]]


def _attempts(result: Mapping[str, Any]) -> list[Any]:
    return [attempt for call in result["calls"] for attempt in call["attempts"]]
