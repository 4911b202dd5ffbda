"""Retries of transient failures, within a retry budget that prevents an outage from being amplified."""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType

from moa._ledger import Now
from moa.errors import BudgetExceeded, ProviderError, RateLimited
from moa.providers._base import ModelRequest, Provider, ReplyEvent, ReplyStream, Restarted, WholeReply, WrappedProvider
from moa.providers._endpoint import RetrySettings

log = logging.getLogger(__name__)

WINDOW_S = 60.0
"""Window of a retry budget, in seconds."""


class RetryBudget:
    """The retry budget of a model: a share of the first attempts of the last minute, and a minimum number.

    It is proportional to the traffic: with two hundred concurrent calls, of which one in ten fails, every failure is
    retried; in an outage, where every call fails, the load grows by no more than the share.

    Args:
        settings: The share and the minimum.
        now: Monotonic clock, in seconds.
    """

    def __init__(self, settings: RetrySettings, now: Now = time.monotonic) -> None:
        self._settings, self._now = settings, now
        self._first: deque[float] = deque()
        self._retries: deque[float] = deque()

    def note_fresh_call(self) -> None:
        """Record a first attempt."""
        self._first.append(self._now())

    def take(self, *, last: bool = False) -> bool:
        """Use a retry if one is left, and return whether it was.

        Args:
            last: Whether the call is an aggregator's: it may use twice the share, as paid proposals depend on it.
        """
        now = self._now()
        for times in (self._first, self._retries):
            while times and times[0] <= now - WINDOW_S:
                times.popleft()
        most = max(self._settings.burst, self._settings.per_call * len(self._first)) * (2 if last else 1)
        if len(self._retries) + 1 > most:
            return False
        self._retries.append(now)
        return True


class Retry(WrappedProvider):
    """Retries after throttling, server errors, connection errors and timeouts; never after a permanent error.

    A reply that was interrupted after its first part is retried only if the request is replayable; `Restarted` then
    marks that part as void. A pause longer than the call's remaining time is not started: the real
    error is raised while there is time for a fallback.

    Args:
        inner: The provider.
        settings: Conditions, number and pauses of retries.
        rng: Source of the jitter.
        now: Monotonic clock, in seconds.
    """

    def __init__(
        self,
        inner: Provider,
        settings: RetrySettings,
        rng: random.Random | None = None,
        now: Now = time.monotonic,
    ) -> None:
        super().__init__(inner)
        self._settings = settings
        self._rng = rng or random.Random()
        self.budget = RetryBudget(settings, now)

    def stream(self, request: ModelRequest) -> ReplyStream:
        """Open a reply, with retries."""
        self.budget.note_fresh_call()
        return _Attempts(self, request)

    def pause_s(self, error: ProviderError, request: ModelRequest, attempt: int, *, begun: bool) -> float | None:
        """Return the seconds until the next attempt, or None for no retry; uses a retry of the budget."""
        settings = self._settings
        if not error.retryable or attempt >= settings.max_attempts or (begun and not request.context.replayable):
            return None
        longest = min(settings.cap_s, settings.base_s * 2 ** (attempt - 1))
        pause_s = self._rng.uniform(0, longest)
        if error.retry_after_s is not None:
            # Later than requested, with jitter: otherwise all throttled calls would be retried at the same moment.
            pause_s += error.retry_after_s
        if pause_s >= request.context.seconds_left():
            return None
        # A throttled call was not processed, and its retry waits for the limits: it can't amplify an outage.
        call = request.context.call
        last = call is not None and call.purpose == "answer"
        return pause_s if isinstance(error, RateLimited) or self.budget.take(last=last) else None


class _Attempts:
    """The sequential attempts of a call, and the reply of the successful one.

    A class instead of two generators for speed, as every call uses it.
    """

    __slots__ = ("_attempt", "_begun", "_count", "_events", "_failed", "_request", "_retry")

    def __init__(self, retry: Retry, request: ModelRequest) -> None:
        self._retry, self._request = retry, request
        self._count, self._begun = 1, False
        self._failed: ProviderError | None = None
        self._attempt: ReplyStream | None = None
        self._events: AsyncIterator[ReplyEvent]

    async def __aenter__(self) -> AsyncIterator[ReplyEvent]:
        while True:
            attempt = self._retry.inner.stream(self._request)
            try:
                self._events = events = await attempt.__aenter__()
            except ProviderError as error:
                await self._pause_after(error)
            else:
                self._attempt = attempt
                return events if isinstance(events, WholeReply) else self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave(error)

    def __aiter__(self) -> AsyncIterator[ReplyEvent]:
        return self

    async def __anext__(self) -> ReplyEvent:
        while True:
            if self._attempt is None:
                await self.__aenter__()
            try:
                event = await anext(self._events)
            except ProviderError as error:
                await self._pause_after(error)
            else:
                self._begun = True
                return event
            if self._begun:
                self._begun = False
                return Restarted()

    async def _pause_after(self, error: ProviderError) -> None:
        """Close the attempt that failed, and wait until the next one; raises the error if there is none."""
        if isinstance(error, BudgetExceeded) and self._failed is not None:
            raise _unpaid(self._failed, error) from error
        pause_s = self._retry.pause_s(error, self._request, self._count, begun=self._begun)
        if pause_s is None:
            raise error
        self._failed = error
        await self._leave(error)
        log.debug("%s; attempt %d follows in %.2f s", error, self._count + 1, pause_s)
        self._count += 1
        await asyncio.sleep(pause_s)

    async def _leave(self, error: BaseException | None) -> None:
        """Close the attempt, if one is open, with the given exception."""
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            await attempt.__aexit__(type(error) if error else None, error, error.__traceback__ if error else None)


def _unpaid(failed: ProviderError, error: BudgetExceeded) -> BudgetExceeded:
    """The error for a retry without money: what the call has failed of comes first."""
    return BudgetExceeded(f"{failed.args[0]}; {error.args[0]}", model=error.model)
