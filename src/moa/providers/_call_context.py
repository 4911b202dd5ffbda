"""The plumbing of a call: what policies and the ledger need to know beyond the question that a provider is asked."""

import asyncio
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Protocol

from moa._ledger import AttemptRecord, CallRecord
from moa.providers._time_limit import TimeLimit

Settle = Callable[[Decimal], None]
"""To be called once with what a call was really charged, in US dollars."""


class Account(Protocol):
    """Money that a call may spend."""

    async def reserve(self, worst_usd: Decimal | None, reference: str) -> Settle:
        """Reserve the worst case of a call to the model `reference`, in US dollars; None if its price is unknown.

        Raises:
            BudgetExceeded: It may cost more than is left.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Hedging:
    """When to start a second attempt beside a slow one: after so many seconds, or (None) after the agent's own p95."""

    after_s: float | None = None


@dataclass(slots=True, eq=False)
class SampleBatch:
    """Samples of one question that a layer asks for at once, so that a service may be asked for them by one call.

    Attributes:
        size: How many there are.
        waiting: Requests that are ready, with where their replies go.
        timer: Ends the wait for the others.
        tasks: Calls under way.
    """

    size: int
    waiting: list[tuple[Any, asyncio.Future[Any]]] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None
    tasks: set[asyncio.Future[Any]] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """How a call is made, as opposed to what it asks. Only the engine fills it in and only policies read it.

    Attributes:
        call: The call's record in the ledger; None if attempts are not recorded (tests of a bare provider).
        sample: Number of the sample when the same question is asked several times, from 0; part of a cache's key.
        cache_scope: Names the run that a cache keeps the reply for, part of its key; "" for any run.
        batch: The other samples of the question that are asked for at the same time; None if there are none.
        replayable: Whether the reply may start again after part of it has arrived; never once a user has seen it.
        time: The time that the call may take; None for no limit.
        account: What the call is paid from; None without a budget.
        on_attempt_end: Called with the record of each attempt that has ended, so that its reservation can be settled.
        asked_at: The clock's reading when the call began to wait for a free place; None if it did not wait.
        hedging: When to start a second attempt; None never does.
        hedge: This is a second attempt beside a slow one.
        tier: The service tier to ask for, `flex`, `standard` or `priority`; None: the endpoint's own.
        dropped: What was left out of the request, or told in another way, as its service refuses it.
        untried: Whether its service may refuse parts of the request, as far as is known; only file jobs are told.
    """

    call: CallRecord | None = None
    sample: int = 0
    cache_scope: str = ""
    batch: SampleBatch | None = None
    replayable: bool = False
    time: TimeLimit | None = None
    account: Account | None = None
    on_attempt_end: Callable[[AttemptRecord], None] | None = None
    asked_at: float | None = None
    hedging: Hedging | None = None
    hedge: bool = False
    tier: str | None = None
    dropped: tuple[str, ...] = ()
    untried: bool = False

    def waiting(self) -> AbstractContextManager[None]:
        """Stop the call's clock inside of the block."""
        return nullcontext() if self.time is None else self.time.paused()

    def asked(self) -> "CallContext":
        """Return the context of a call that begins to wait now, if it has not begun before."""
        return self if self.call is None or self.asked_at is not None else replace(self, asked_at=self.call.now())

    def seconds_left(self) -> float:
        """Seconds until the call is given up, infinity without a limit."""
        return math.inf if self.time is None else self.time.seconds_left()


NO_CONTEXT = CallContext()
"""The context of a request that is made outside of a run."""
