"""Who was asked what, for how long and for how much: calls, their attempts, and the meter that writes them down.

A *call* is one attempt-series at one model for one agent; retries and hedges are further attempts of the same call, a
fallback model is a call of its own. The meter is the only mutable thing here. It hears of an attempt before anything
is sent, so the ledger stays correct when a run is cancelled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal

from moa._usage import NOT_REPORTED, Spend, TokenUsage, UsageSource, json_usd

Now = Callable[[], float]
"""A monotonic clock: seconds from an arbitrary start."""

Pricer = Callable[[TokenUsage], Decimal | None]
"""The price of a usage in US dollars, None if unknown."""

AttemptStatus = Literal["running", "ok", "failed", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorInfo:
    """An error as data: its stable code and its sentence."""

    code: str
    message: str

    def as_dict(self) -> dict[str, str]:
        """The two by name."""
        return {"code": self.code, "message": self.message}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request at one model: when it ran, how it ended, what it used.

    Attributes:
        status: `running` only in a ledger that was read before the run ended.
        started_s: Seconds after the run's start.
        queue_s: Seconds that it waited for a free place before it was sent.
        first_token_s: Seconds from sending to the first visible or reasoning token; None if the reply was not streamed.
        duration_s: Seconds from sending to the end.
        usage: Tokens; None if nothing is known (the service turned the request down).
        usage_source: Where `usage` comes from.
        cost_usd: Price of `usage`, None if unknown.
        saved_usd: What the service's prompt cache saved: the price of `usage` without any cache, less `cost_usd`.
        cached: The reply came from our own cache, nothing was charged; its times are those of the call that bought it,
            where they are known.
        reused: Nothing was asked: the proposal was made in an earlier step of the same user turn.
        hedge: A second attempt that was started because the first was slow.
        finish_reason: Why the model stopped (`stop`, `length`, `tool_calls`, `content_filter`), None if it didn't.
        served_by: The model's name in the service's own words, if it gave one.
        dropped: What was left out of the request, or told in another way, as the service refuses it for this model.
        notes: What is worth knowing of a reply that is whole: its service gave no reason for its end
            (`no_finish_reason`), or has read far less of the prompt than was sent (`input_truncated`).
        error: What went wrong, None if nothing did.
    """

    status: AttemptStatus
    started_s: float
    queue_s: float = 0.0
    first_token_s: float | None = None
    duration_s: float = 0.0
    usage: TokenUsage | None = None
    usage_source: UsageSource = "unknown"
    cost_usd: Decimal | None = None
    saved_usd: Decimal | None = None
    cached: bool = False
    reused: bool = False
    hedge: bool = False
    finish_reason: str | None = None
    served_by: str | None = None
    dropped: tuple[str, ...] = ()
    notes: tuple[ErrorInfo, ...] = ()
    error: ErrorInfo | None = None

    @property
    def spend(self) -> Spend:
        """The cost of this attempt, with reported and estimated amounts separate."""
        if self.usage is None or not self.usage.total_tokens:
            return Spend()
        if self.cost_usd is None:
            return Spend(unpriced_calls=1)
        charged = Decimal(0) if self.cached else self.cost_usd
        if self.usage_source in NOT_REPORTED:
            return Spend(estimated_usd=self.cost_usd, charged_usd=charged)
        return Spend(priced_usd=self.cost_usd, charged_usd=charged, saved_usd=self.saved_usd or Decimal(0))

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {
            "status": self.status,
            "started_s": self.started_s,
            "queue_s": self.queue_s,
            "first_token_s": self.first_token_s,
            "duration_s": self.duration_s,
            "usage": self.usage.as_dict() if self.usage else None,
            "usage_source": self.usage_source,
            "cost_usd": json_usd(self.cost_usd),
            "saved_usd": json_usd(self.saved_usd),
            "charged_usd": json_usd(self.spend.charged_usd),
            "cached": self.cached,
            "reused": self.reused,
            "hedge": self.hedge,
            "finish_reason": self.finish_reason,
            "served_by": self.served_by,
            **({"dropped": list(self.dropped)} if self.dropped else {}),
            **({"notes": [note.as_dict() for note in self.notes]} if self.notes else {}),
            "error": self.error.as_dict() if self.error else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One attempt-series at one model for one agent.

    Attributes:
        id: Number of the call in its run, from 1, in the order of starting.
        agent: Name of the agent.
        model: Model reference, `endpoint/model-id`.
        purpose: `proposal`, `answer` or `judgement`.
        layer: The proposers' layers count from 1; the aggregator's is the last.
        attempts: In the order of starting.
    """

    id: int
    agent: str
    model: str
    purpose: str
    layer: int
    attempts: tuple[Attempt, ...]

    @property
    def usage(self) -> TokenUsage:
        """Reported tokens of all attempts."""
        return reported_usage(self.attempts)

    @property
    def spend(self) -> Spend:
        """Cost of all attempts."""
        return sum((attempt.spend for attempt in self.attempts), Spend())

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        spend = self.spend
        return {
            "id": self.id,
            "agent": self.agent,
            "model": self.model,
            "purpose": self.purpose,
            "layer": self.layer,
            "usage": self.usage.as_dict(),
            "cost_usd": json_usd(spend.cost_usd),
            "estimated_usd": json_usd(spend.estimated_usd),
            "charged_usd": json_usd(spend.charged_usd),
            "attempts": [attempt.as_dict() for attempt in self.attempts],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """All calls of a run, in the order of starting, and their sums."""

    calls: tuple[Call, ...] = ()

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every attempt of every call."""
        return tuple(attempt for call in self.calls for attempt in call.attempts)

    @property
    def usage(self) -> TokenUsage:
        """Tokens that the services reported."""
        return reported_usage(self.attempts)

    @property
    def estimated_usage(self) -> TokenUsage:
        """Tokens that we estimated for calls that were cut off; not part of `usage`."""
        return _sum_usage(attempt for attempt in self.attempts if attempt.usage_source in NOT_REPORTED)

    @property
    def spend(self) -> Spend:
        """US dollars of all calls."""
        return sum((call.spend for call in self.calls), Spend())

    @property
    def unpriced(self) -> tuple[str, ...]:
        """References of the models whose price is unknown, sorted."""
        return tuple(sorted({call.model for call in self.calls if call.spend.unpriced_calls}))


def reported_usage(attempts: Iterable[Attempt]) -> TokenUsage:
    """Sum of the usage that services reported, estimates left out."""
    return _sum_usage(attempt for attempt in attempts if attempt.usage_source == "reported")


def _sum_usage(attempts: Iterable[Attempt]) -> TokenUsage:
    return sum((attempt.usage for attempt in attempts if attempt.usage), TokenUsage())


@dataclass(slots=True, kw_only=True)
class AttemptRecord:
    """An attempt while it runs. The policy that runs it fills it in; times are readings of the meter's clock.

    Attributes:
        original_s: Seconds that the call took whose cached reply this is; None if unknown, or not a cached reply.
    """

    asked_at: float
    sent_at: float
    hedge: bool = False
    cached: bool = False
    reused: bool = False
    status: AttemptStatus = "running"
    original_s: float | None = None
    first_token_at: float | None = None
    ended_at: float | None = None
    usage: TokenUsage | None = None
    usage_source: UsageSource = "unknown"
    finish_reason: str | None = None
    served_by: str | None = None
    dropped: tuple[str, ...] = ()
    notes: tuple[ErrorInfo, ...] = ()
    error: ErrorInfo | None = None
    _settled: tuple[object, Attempt] | None = field(default=None, init=False, repr=False, compare=False)

    def value(self, run_started_at: float, now: float, price: Pricer) -> Attempt:
        """The attempt as a value, as of `now`; of one that has ended, the same value until more is written down."""
        # A call that was given up counts as ended, and its usage may still come: all that can change is compared.
        written = (price, self.status, self.ended_at, self.usage, self.error)
        if self._settled is not None and self._settled[0] == written:
            return self._settled[1]
        value = self._value(run_started_at, now, price)
        if self.ended_at is not None:
            self._settled = written, value
        return value

    @property
    def saved_s(self) -> float:
        """Seconds by which a kept reply came sooner than it had come from its service; 0 for any other attempt."""
        return (
            0.0
            if self.original_s is None or self.ended_at is None
            else self.original_s - (self.ended_at - self.asked_at)
        )

    def explain(self, error: ErrorInfo, now: float) -> None:
        """Write down why it is of no use although it ended well, or was cancelled; a failure stands.

        If it still runs it counts as cancelled from now on: nobody waits for it any more.
        """
        if self.status == "failed":
            return
        self.error = error
        if self.status == "running":
            self.status, self.ended_at = "cancelled", now
        elif self.status == "ok":
            self.status = "failed"

    def _value(self, run_started_at: float, now: float, price: Pricer) -> Attempt:
        is_replayed = self.original_s is not None
        first = None if self.first_token_at is None or is_replayed else self.first_token_at - self.sent_at
        duration_s = (now if self.ended_at is None else self.ended_at) - self.sent_at
        cost_usd, uncached_usd = None if self.usage is None else price(self.usage), None
        if self.usage is not None and (self.usage.cached_input_tokens or self.usage.cache_write_tokens):
            uncached_usd = price(
                replace(self.usage, cached_input_tokens=0, cache_write_tokens=0, cache_write_1h_tokens=0)
            )
        return Attempt(
            status=self.status,
            started_s=self.asked_at - run_started_at,
            queue_s=0.0 if is_replayed else self.sent_at - self.asked_at,
            first_token_s=first,
            duration_s=duration_s if self.original_s is None else self.original_s,
            usage=self.usage,
            usage_source=self.usage_source,
            cost_usd=cost_usd,
            saved_usd=None if cost_usd is None or uncached_usd is None else uncached_usd - cost_usd,
            cached=self.cached,
            reused=self.reused,
            hedge=self.hedge,
            finish_reason=self.finish_reason,
            served_by=self.served_by,
            dropped=self.dropped,
            notes=self.notes,
            error=self.error,
        )


@dataclass(slots=True, kw_only=True)
class CallRecord:
    """A call while it runs; what a request carries so that providers and policies can report to the ledger.

    `run` tells the calls of one run from those of others.
    """

    id: int
    agent: str
    model: str
    purpose: str
    layer: int
    price: Pricer
    now: Now
    run: Hashable = None
    attempts: list[AttemptRecord] = field(default_factory=list)

    def start(self, *, asked_at: float | None = None, hedge: bool = False, cached: bool = False) -> AttemptRecord:
        """Open an attempt; to be called right before anything is sent.

        Args:
            asked_at: The clock's reading when it began to wait for a free place; None if it did not have to wait.
            hedge: It is a second attempt beside a slow one.
            cached: Nothing will be sent: the reply comes from our own cache.
        """
        now = self.now()
        record = AttemptRecord(asked_at=now if asked_at is None else asked_at, sent_at=now, hedge=hedge, cached=cached)
        self.attempts.append(record)
        return record

    def reuse(self, finish_reason: str | None) -> None:
        """Write down that nothing was asked, as the reply of an earlier step of the same user turn is used again."""
        record = self.start()
        record.status, record.ended_at, record.reused = "ok", record.sent_at, True
        record.usage, record.usage_source, record.finish_reason = TokenUsage(), "reported", finish_reason

    def explain(self, error: ErrorInfo) -> None:
        """Write down why the last attempt is of no use although it ended well, or was cancelled; a failure stands.

        An attempt that still runs counts as cancelled from now on: nobody waits for it any more.
        """
        if self.attempts:
            self.attempts[-1].explain(error, self.now())

    def values(self, run_started_at: float) -> tuple[Attempt, ...]:
        """Its attempts as values, as of now."""
        now = self.now()
        return tuple([record.value(run_started_at, now, self.price) for record in self.attempts])

    def value(self, run_started_at: float) -> Call:
        """The call as a value, as of now."""
        return Call(
            id=self.id,
            agent=self.agent,
            model=self.model,
            purpose=self.purpose,
            layer=self.layer,
            attempts=self.values(run_started_at),
        )


class Meter:
    """Writes the ledger of one run.

    Args:
        now: Monotonic clock, in seconds.
    """

    def __init__(self, now: Now = time.perf_counter) -> None:
        self.now = now
        self.started_at = now()
        self._calls: list[CallRecord] = []

    def open_call(self, *, agent: str, model: str, purpose: str, layer: int, price: Pricer) -> CallRecord:
        """Open the record of one call; its attempts are reported to it."""
        record = CallRecord(
            id=len(self._calls) + 1,
            agent=agent,
            model=model,
            purpose=purpose,
            layer=layer,
            price=price,
            now=self.now,
            run=id(self),
        )
        self._calls.append(record)
        return record

    def ledger(self) -> Ledger:
        """Everything so far; calls that never got as far as an attempt are left out."""
        return Ledger(calls=tuple(call.value(self.started_at) for call in self._calls if call.attempts))

    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return self.now() - self.started_at
