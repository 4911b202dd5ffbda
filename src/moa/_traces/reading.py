"""Reading a trace: every line is checked before anything is made of it."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from moa._traces.lines import (
    FORMAT,
    CallEndedLine,
    CallLine,
    EndLine,
    EventLine,
    RecordedError,
    ReplyLine,
    ReusedLine,
    header_from,
    ledger_from,
    line_from,
)
from moa._traces.trace import Outcome, RecordedCall, Trace
from moa._validation.file_errors import os_reason
from moa._validation.strict_model import first_finding
from moa.errors import MoaError, ProviderError, ProviderFault, TraceError
from moa.providers._base import ReplyEvent

MAX_BYTES = 1_000_000_000
"""Largest file that is read; runs have a few hundred kilobytes."""

_FAULTS = (KeyError, TypeError, ValueError, ArithmeticError, MoaError)
"""What the code below raises for values that are not as they should be."""


def read_trace(path: str | Path) -> Trace:
    """Return a recorded run. A file that breaks off (its run crashed) is a trace without an outcome.

    Raises:
        TraceError: The file can't be read, is not a trace, or was changed after it was written; it names the line.
    """
    path = Path(path)
    reader, digest = None, hashlib.sha256()
    try:
        if path.stat().st_size > MAX_BYTES:
            raise TraceError("the file is too large to be a trace", path=path)
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise TraceError(f"the trace can't be read: {os_reason(error)}", path=path) from error
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n") and number > 1:
            break  # written only in part when the run crashed
        data = _parsed(line, path, number)
        if reader is None:
            reader = _Reader(path, data)
        else:
            reader.add(data, number, digest.hexdigest())
        digest.update(line)
    if reader is None:
        raise TraceError("this is not a trace: the file is empty", path=path)
    return reader.trace()


def _parsed(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        what = "this is not a trace" if number == 1 else "the trace is damaged"
        raise TraceError(f"{what}: the line is not JSON", path=path, line=number) from error
    if not isinstance(data, dict) or (number == 1 and data.get("type") != "trace"):
        raise TraceError("this is not a trace: `moa ask --trace FILE` writes one", path=path, line=number)
    return data


class _Reader:
    """Collects the lines of one trace."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self._path = path
        if header.get("version") != FORMAT:
            raise TraceError(f"its format is version {header.get('version')!r}, this program reads {FORMAT}", path=path)
        with self._translated_errors(1):
            self._header = header_from(header)
        self._events: list[tuple[float, Mapping[str, Any]]] = []
        self._calls: dict[int, RecordedCall] = {}
        self._replies: dict[int, list[tuple[float, ReplyEvent]]] = {}
        self._reused: Mapping[str, Any] | None = None
        self._outcome: Outcome | None = None
        self._ended_s = 0.0

    def add(self, data: Mapping[str, Any], number: int, digest: str) -> None:
        """Add a line; `digest` is that of all lines before it."""
        if self._outcome is not None:
            raise TraceError("a line follows the end of the run", path=self._path, line=number)
        with self._translated_errors(number):
            line = line_from(data)
            if isinstance(line, EndLine) and line.digest != digest:
                raise TraceError("the trace was changed after it was written", path=self._path, line=number)
            self._ended_s = line.at_s
            match line:
                case EventLine():
                    self._events.append((line.at_s, line.event))
                case CallLine():
                    self._calls[line.call], self._replies[line.call] = _call(line), []
                case ReplyLine():
                    self._replies[line.call].append((line.at_s, line.event))
                case CallEndedLine():
                    self._calls[line.call] = replace(
                        self._calls[line.call],
                        ended_s=line.at_s,
                        outcome=line.outcome,
                        error=None if line.error is None else _error(line.error),
                        attempts=line.attempts,
                    )
                case ReusedLine():
                    self._reused = line.proposals
                case EndLine():
                    ledger = ledger_from(line.result["calls"])
                    self._outcome = Outcome(kind=line.type, result=line.result, ledger=ledger)

    @contextmanager
    def _translated_errors(self, number: int) -> Iterator[None]:
        try:
            yield
        except TraceError:
            raise
        except ValidationError as error:
            raise TraceError(f"the trace is damaged: {first_finding(error)}", path=self._path, line=number) from error
        except _FAULTS as error:
            raise TraceError(f"the trace is damaged: {error!r}", path=self._path, line=number) from error

    def trace(self) -> Trace:
        """Everything that was added."""
        header = self._header
        return Trace(
            path=self._path,
            package=header.package,
            recorded_at=header.recorded_at,
            mixture=header.mixture,
            conversation=header.messages,
            options=header.options,
            endpoints=header.endpoints,
            unseeded=frozenset(header.unseeded),
            events=tuple(self._events),
            calls=tuple(replace(call, reply=tuple(self._replies[number])) for number, call in self._calls.items()),
            ended_s=self._ended_s,
            outcome=self._outcome,
            reused=self._reused,
        )


def _call(line: CallLine) -> RecordedCall:
    return RecordedCall(
        id=line.call,
        agent=line.agent,
        model=line.model,
        purpose=line.purpose,
        layer=line.layer,
        asked=line.asked,
        started_s=line.at_s,
    )


def _error(recorded: RecordedError) -> ProviderError:
    known = {kind.code: kind for kind in _with_subclasses(ProviderError)}
    kind = known.get(recorded.code, ProviderFault)
    return kind(recorded.message, model=recorded.model, status=recorded.status, retry_after_s=recorded.retry_after_s)


def _with_subclasses(kind: type[ProviderError]) -> Iterator[type[ProviderError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _with_subclasses(child)
