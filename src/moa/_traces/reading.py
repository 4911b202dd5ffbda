"""Reading a trace: every line is checked before anything is made of it."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from moa._engine.plan import RunOptions
from moa._messages import ReplyOptions, Sampling, conversation
from moa._mixture.loading import load
from moa._pricing.price import Price
from moa._traces.ledger_json import attempt_from, ledger_from
from moa._traces.recording import FORMAT
from moa._traces.trace import Outcome, PriceList, RecordedCall, Trace
from moa.errors import MoaError, ProviderError, ProviderFault, TraceError
from moa.providers._base import ReplyEvent
from moa.providers._reply_serialization import event_from

MOST_BYTES = 1_000_000_000
"""Largest file that is read; runs have a few hundred kilobytes."""

_ENDS = ("answer", "error", "cancelled")
_FAULTS = (KeyError, TypeError, ValueError, ArithmeticError, AttributeError, MoaError)
"""What values that are not as they should be make the code below raise."""


def read_trace(path: str | Path) -> Trace:
    """Return a recorded run. A file that breaks off (its run crashed) is a trace without an outcome.

    Raises:
        TraceError: The file can't be read, is no trace, or was changed after it was written; it names the line.
    """
    path = Path(path)
    reader, digest = None, hashlib.sha256()
    try:
        if path.stat().st_size > MOST_BYTES:
            raise TraceError("the file is too large to be a trace", path=path)
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise TraceError(f"the trace can't be read: {error.strerror}", path=path) from error
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n") and number > 1:
            break  # written only in part when the run crashed
        data = _parsed(line, path, number)
        if reader is None:
            reader = _Reader(path, data)
        else:
            reader.take(data, number, digest.hexdigest())
        digest.update(line)
    if reader is None:
        raise TraceError("this is no trace: the file is empty", path=path)
    return reader.trace()


def _parsed(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        what = "this is no trace" if number == 1 else "the trace is damaged"
        raise TraceError(f"{what}: this is no JSON", path=path, line=number) from error
    if not isinstance(data, dict) or (number == 1 and data.get("type") != "trace"):
        raise TraceError("this is no trace: `moa ask --trace FILE` writes one", path=path, line=number)
    return data


class _Reader:
    """Takes in line by line."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self._path = path
        if header.get("version") != FORMAT:
            raise TraceError(f"its format is version {header.get('version')!r}, this program reads {FORMAT}", path=path)
        with self._translated_errors(1):
            self._header = _header(header)
        self._events: list[tuple[float, Mapping[str, Any]]] = []
        self._calls: dict[int, RecordedCall] = {}
        self._replies: dict[int, list[tuple[float, ReplyEvent]]] = {}
        self._outcome: Outcome | None = None
        self._ended_s = 0.0

    def take(self, data: Mapping[str, Any], number: int, digest: str) -> None:
        """Take in a line; `digest` is that of all lines before it."""
        if self._outcome is not None:
            raise TraceError("something stands behind the end of the run", path=self._path, line=number)
        if data.get("type") in _ENDS and data.get("digest") != digest:
            raise TraceError("the trace was changed after it was written", path=self._path, line=number)
        with self._translated_errors(number):
            self._take(data)

    @contextmanager
    def _translated_errors(self, number: int) -> Iterator[None]:
        try:
            yield
        except _FAULTS as error:
            raise TraceError(f"the trace is damaged: {error!r}", path=self._path, line=number) from error

    def _take(self, data: Mapping[str, Any]) -> None:
        at_s = self._ended_s = float(data["at_s"])
        match data["type"]:
            case "event":
                self._events.append((at_s, dict(data["event"])))
            case "call":
                self._calls[data["call"]], self._replies[data["call"]] = _call(data, at_s), []
            case "reply":
                self._replies[data["call"]].append((at_s, event_from(data["event"])))
            case "call_ended":
                self._calls[data["call"]] = _ended(self._calls[data["call"]], data, at_s)
            case "answer" | "error" | "cancelled" as kind:
                result = dict(data["result"])
                self._outcome = Outcome(kind=kind, result=result, ledger=ledger_from(result["calls"]))
            case other:
                raise ValueError(f"there are no lines of type {other!r}")

    def trace(self) -> Trace:
        """Everything that was taken in."""
        calls = tuple(replace(call, reply=tuple(self._replies[number])) for number, call in self._calls.items())
        return Trace(
            path=self._path,
            events=tuple(self._events),
            calls=calls,
            ended_s=self._ended_s,
            outcome=self._outcome,
            **self._header,
        )


def _header(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "package": str(data["package"]),
        "recorded_at": datetime.fromisoformat(data["recorded_at"]),
        "mixture": load(data["mixture"]),
        "conversation": conversation(data["messages"]),
        "options": _options(data["options"]),
        "price_lists": {str(name): _price_list(given) for name, given in data["endpoints"].items()},
        "unseeded": frozenset(map(str, data["unseeded"])),
    }


def _options(data: Mapping[str, Any]) -> RunOptions:
    budget = data["budget_usd"]
    return RunOptions(
        seed=data["seed"],
        deadline_s=data["deadline_s"],
        budget_usd=None if budget is None else Decimal(budget),
        reply=ReplyOptions(**{**data["reply"], "tools": tuple(data["reply"]["tools"])}),
        sampling=None if data["sampling"] is None else _sampling(data["sampling"]),
        proposal_deltas=bool(data["proposal_deltas"]),
        answer_deltas=bool(data["answer_deltas"]),
    )


def _sampling(data: Mapping[str, Any]) -> Sampling:
    return Sampling(**{**data, "stop": tuple(data["stop"])})


def _price_list(data: Mapping[str, Any]) -> PriceList:
    prices = {
        str(model): Price(**{name: _amount(usd) for name, usd in price.items()})
        for model, price in data["prices"].items()
    }
    return PriceList(price_provider=data["price_provider"], prices=prices)


def _amount(usd: Any) -> Any:
    return None if usd is None else Decimal(str(usd))


def _call(data: Mapping[str, Any], at_s: float) -> RecordedCall:
    return RecordedCall(
        id=int(data["call"]),
        agent=str(data["agent"]),
        model=str(data["model"]),
        purpose=str(data["purpose"]),
        layer=int(data["layer"]),
        asked=data["asked"],
        started_s=at_s,
    )


def _ended(call: RecordedCall, data: Mapping[str, Any], at_s: float) -> RecordedCall:
    outcome = data["outcome"]
    if outcome not in ("ok", "failed", "cancelled"):
        raise ValueError(f"no call ends {outcome!r}")
    return replace(
        call,
        ended_s=at_s,
        outcome=outcome,
        error=None if data["error"] is None else _error(data["error"]),
        attempts=tuple(attempt_from(attempt) for attempt in data["attempts"]),
    )


def _error(data: Mapping[str, Any]) -> ProviderError:
    known = {kind.code: kind for kind in _with_subclasses(ProviderError)}
    kind = known.get(data["code"], ProviderFault)
    return kind(str(data["message"]), model=data["model"], status=data["status"], retry_after_s=data["retry_after_s"])


def _with_subclasses(kind: type[ProviderError]) -> Iterator[type[ProviderError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _with_subclasses(child)
