"""A trace as a value: what ran, what every call received, how it ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from moa._engine.plan import RunOptions
from moa._ledger import Attempt, Call, Ledger
from moa._messages import Conversation
from moa._mixture.schema import Mixture
from moa._traces.lines import RecordedEndpoint
from moa.errors import ProviderError
from moa.providers._base import ReplyEvent

OutcomeKind = Literal["answer", "error", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCall:
    """One call and all that it received. Times are seconds after the run's start.

    Attributes:
        id: Its number in the run.
        asked: Digest of what was asked; None if it had none.
        started_s: When it was asked.
        reply: Its pieces, and when each arrived.
        ended_s: When it was over; None if it was not when the trace ends.
        outcome: How it ended; None as long as it had not.
        error: What was raised; None if nothing was.
        attempts: As the ledger had them then, without prices.
    """

    id: int
    agent: str
    model: str
    purpose: str
    layer: int
    asked: str | None
    started_s: float
    reply: tuple[tuple[float, ReplyEvent], ...] = ()
    ended_s: float | None = None
    outcome: Literal["ok", "failed", "cancelled"] | None = None
    error: ProviderError | None = None
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended.

    Attributes:
        kind: `answer`, `error` or `cancelled`.
        result: What `moa ask --json` prints.
        ledger: Every call.
    """

    kind: OutcomeKind
    result: Mapping[str, Any]
    ledger: Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One recorded run.

    Attributes:
        path: The file.
        package: Version of the package that recorded it.
        recorded_at: When.
        endpoints: Those that the mixture names, by name.
        unseeded: References of models whose service took no seed although the run had one.
        events: The run's events, as `event_json` writes them, and when (seconds after the run's start).
        calls: In the order of starting.
        reused: The proposals that the run used again, in the shape in which they were kept; None if it made its own.
        ended_s: Time of the last line, in seconds after the run's start.
        outcome: None if the file breaks off: the run crashed, or is still running.
    """

    path: Path
    package: str
    recorded_at: datetime
    mixture: Mixture
    conversation: Conversation
    options: RunOptions
    endpoints: Mapping[str, RecordedEndpoint]
    unseeded: frozenset[str]
    events: tuple[tuple[float, Mapping[str, Any]], ...]
    calls: tuple[RecordedCall, ...]
    ended_s: float
    outcome: Outcome | None
    reused: Mapping[str, Any] | None = None

    @property
    def ledger(self) -> Ledger:
        """The run's ledger; of a run without an end, as far as it is known."""
        return self.outcome.ledger if self.outcome else unfinished_ledger(self.calls, self.ended_s)


def unfinished_ledger(calls: tuple[RecordedCall, ...], now_s: float) -> Ledger:
    """Return the ledger of a run that has no end, as of `now_s`; calls that had not ended are still running."""
    return Ledger(
        calls=tuple(
            Call(
                id=call.id,
                agent=call.agent,
                model=call.model,
                purpose=call.purpose,
                layer=call.layer,
                attempts=call.attempts if call.ended_s is not None else (_running(call, now_s),),
            )
            for call in calls
        )
    )


def _running(call: RecordedCall, now_s: float) -> Attempt:
    return Attempt(status="running", started_s=call.started_s, duration_s=max(0.0, now_s - call.started_s))
