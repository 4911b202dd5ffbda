"""Limits on concurrent calls and calls per minute, with a queue that is fair to every run.

Endpoints without limits use it too: a service that throttles imposes a limit, which each throttled call reveals.
"""

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from dataclasses import dataclass, replace
from types import TracebackType

from moa._ledger import Now
from moa._policies.budget import worst_case
from moa._policies.shared_window import SharedRates, SharedWindow
from moa._policies.sliding_window import SlidingWindow, WindowEntry
from moa.errors import RateLimited, StateUnavailable
from moa.providers._base import Finish, ModelRequest, Provider, ReplyEvent, ReplyStream, WholeReply, WrappedProvider
from moa.providers._endpoint import LimitSettings

LONGEST_PAUSE_S = 60.0
"""Longest pause, in seconds, that a throttled call imposes on the others: most quotas are per minute. A call with a
much longer pause fails immediately, while a fallback can still answer."""

IN_A_ROW = 2
"""Number of consecutive throttled calls after which all calls slow down: a single one may be chance."""

FIRST_GUESS = 8
"""Initial concurrency of an adaptive limit."""


@dataclass(slots=True, eq=False)
class _Waiter:
    tokens: int
    admitted: "asyncio.Future[Permit]"


@dataclass(slots=True, eq=False)
class Permit:
    """An admitted call; `tokens` are reserved for it."""

    since: float
    tokens: WindowEntry | None


class FairQueue:
    """A round-robin queue over runs, so that a large run can't starve a small one."""

    def __init__(self) -> None:
        self._runs: OrderedDict[Hashable, deque[_Waiter]] = OrderedDict()

    def put(self, run: Hashable, waiter: _Waiter) -> None:
        """Append a waiter to the queue of its run."""
        self._runs.setdefault(run, deque()).append(waiter)

    def first(self) -> _Waiter | None:
        """Return the next waiter; drops waiters that were cancelled."""
        while self._runs:
            run, waiters = next(iter(self._runs.items()))
            while waiters and waiters[0].admitted.done():
                waiters.popleft()
            if waiters:
                return waiters[0]
            del self._runs[run]
        return None

    def pop(self) -> _Waiter:
        """Remove the next waiter; its run moves to the end of the queue."""
        run, waiters = self._runs.popitem(last=False)
        waiter = waiters.popleft()
        if waiters:
            self._runs[run] = waiters
        return waiter


class Limiter:
    """Admits calls within its settings.

    Args:
        settings: The limits.
        now: Monotonic clock, in seconds.
        shared: The limits per minute that are shared with other processes; None if they aren't shared.
    """

    def __init__(self, settings: LimitSettings, now: Now, shared: SharedRates | None = None) -> None:
        self._now, self._queue, self._running = now, FairQueue(), 0
        self._most = math.inf if settings.max_concurrency is None else float(settings.max_concurrency)
        self._allowed = min(FIRST_GUESS, self._most) if settings.adaptive else self._most
        self._adaptive = settings.adaptive
        self._halved_at = -math.inf
        self._throttled_in_a_row = 0
        self._closed_until = -math.inf
        self._shared = shared
        self._requests = self._window("requests", settings.requests_per_minute)
        self._tokens = self._window("tokens", settings.tokens_per_minute)
        self._timer: asyncio.TimerHandle | None = None

    def _window(self, what: str, limit: int | None) -> SlidingWindow | SharedWindow | None:
        if limit is None or self._shared is None:
            return None if limit is None else SlidingWindow(limit)
        return SharedWindow(limit, self._shared, what, now=self._now, on_change=self._let_through)

    def try_enter(self, tokens: int) -> Permit | None:
        """Return a slot for a call if one is free and no call waits for it, else None."""
        if self._queue.first() is not None or self._wait_s(tokens) > 0:
            return None
        return self._admit(tokens)

    async def enter(self, run: Hashable, tokens: int) -> Permit:
        """Wait for a slot for a call.

        Args:
            run: The run of the call.
            tokens: Maximum number of tokens that it may use.

        Raises:
            StateUnavailable: The store of shared limits is unavailable, and its settings refuse calls without it.
        """
        waiter = _Waiter(tokens, asyncio.get_running_loop().create_future())
        self._queue.put(run, waiter)
        self._let_through()
        try:
            return await waiter.admitted
        except asyncio.CancelledError:
            if waiter.admitted.done() and not waiter.admitted.cancelled():
                self.leave(waiter.admitted.result(), used_tokens=0)
            raise

    def leave(self, place: Permit, *, used_tokens: int | None) -> None:
        """Release a slot; `used_tokens` replaces the reserved tokens, None keeps them."""
        self._running -= 1
        if self._tokens and place.tokens and used_tokens is not None:
            self._tokens.correct(place.tokens, used_tokens)
        self._let_through()

    @property
    def counts_tokens(self) -> bool:
        """Whether it needs the maximum and the actual tokens of calls."""
        return self._tokens is not None

    def closed_s(self) -> float:
        """Remaining seconds of the pause that the service requested for all calls."""
        return max(0.0, self._closed_until - self._now())

    def note_success(self) -> None:
        """Record a successful call: a reduced limit of n concurrent calls grows by one after n successes."""
        self._throttled_in_a_row = 0
        self._allowed = min(self._most, self._allowed + 1 / self._allowed)

    def note_throttling(self, place: Permit, retry_after_s: float | None = None) -> None:
        """Record a throttled call: after several, all calls wait for the requested pause, with a lower concurrency.

        Without the pause, waiting calls would be throttled too, and use up their attempts. An adaptive limit is halved
        at the first throttled call, once for all concurrent calls; any other limit becomes half of the calls that the
        service accepted.
        """
        self._throttled_in_a_row += 1
        if self._adaptive and place.since > self._halved_at:
            self._allowed = max(1.0, self._allowed / 2)
            self._halved_at = self._now()
        if self._throttled_in_a_row < IN_A_ROW:
            return
        if retry_after_s is not None and retry_after_s <= LONGEST_PAUSE_S:
            self._closed_until = max(self._closed_until, self._now() + retry_after_s)
        if not self._adaptive:
            self._allowed = max(1.0, min(self._allowed, (self._running - 1) / 2))

    def _let_through(self) -> None:
        while (waiter := self._queue.first()) is not None:
            wait_s = self._wait_s(waiter.tokens)
            if (failure := self._failure()) is not None:
                self._queue.pop()
                waiter.admitted.set_exception(failure)
                continue
            if wait_s > 0:
                self._look_again(wait_s)
                return
            self._queue.pop()
            waiter.admitted.set_result(self._admit(waiter.tokens))

    def _wait_s(self, tokens: int) -> float:
        """Return the seconds until a call may start; infinity if another one has to end first."""
        if self._running + 1 > max(1.0, self._allowed):
            return math.inf
        now = self._now()
        by_requests = self._requests.wait_s(1, now) if self._requests else 0.0
        by_tokens = self._tokens.wait_s(tokens, now) if self._tokens else 0.0
        return max(by_requests, by_tokens, self._closed_until - now)

    def _admit(self, tokens: int) -> Permit:
        now = self._now()
        self._running += 1
        if self._requests:
            self._requests.add(1, now)
        return Permit(now, self._tokens.add(tokens, now) if self._tokens else None)

    def _look_again(self, wait_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if wait_s < math.inf:
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._let_through)

    def _failure(self) -> StateUnavailable | None:
        """The error of the store of shared limits because of which no call is admitted."""
        for window in (self._requests, self._tokens):
            if isinstance(window, SharedWindow) and window.failure is not None:
                return window.failure
        return None


class Limits(WrappedProvider):
    """Delays a call until its limiter admits it; the ledger records the wait as `queue_s`.

    Args:
        inner: The provider.
        limiter: May be shared by several models of an endpoint.
    """

    def __init__(self, inner: Provider, limiter: Limiter) -> None:
        super().__init__(inner)
        self.limiter = limiter

    def stream(self, request: ModelRequest) -> ReplyStream:
        """Open a reply when a slot is free.

        Raises:
            RateLimited: On entering: the service requested a pause that is longer than the call's remaining time.
        """
        return _Admitted(self, request)

    async def admit(self, request: ModelRequest) -> tuple[Permit, ModelRequest]:
        """Return a slot for a request, and the request to send.

        Raises:
            RateLimited: No slot will be free in time.
        """
        limiter = self.limiter
        tokens = worst_case(request).total_tokens if limiter.counts_tokens else 0
        if (place := limiter.try_enter(tokens)) is not None:
            return place, request
        context = request.context
        if 0 < (wait_s := limiter.closed_s()) >= context.seconds_left():
            raise RateLimited(
                f"the service asked other calls to wait, for {wait_s:.0f} s more, and this one has less time left",
                model=request.reference,
                retry_after_s=wait_s,
            )
        context = context.asked()
        with context.waiting():
            place = await limiter.enter(context.call.run if context.call else None, tokens)
        return place, replace(request, context=context)


class _Admitted:
    """A call with its slot. A class instead of a generator for speed, as every call uses it."""

    __slots__ = ("_counted", "_inner", "_limits", "_place", "_request")

    def __init__(self, limits: Limits, request: ModelRequest) -> None:
        self._limits, self._request = limits, request
        self._counted: _Counted | None = None

    async def __aenter__(self) -> AsyncIterator[ReplyEvent]:
        self._place, request = await self._limits.admit(self._request)
        try:
            self._inner = self._limits.inner.stream(request)
            events = await self._inner.__aenter__()
        except BaseException as error:
            self._leave(error)
            raise
        if not self._limits.limiter.counts_tokens:
            return events
        self._counted = counted = _Counted(events)
        if isinstance(events, WholeReply):
            for event in events.events:
                counted.see(event)
            return events
        return counted

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            handled = await self._inner.__aexit__(kind, error, trace)
        except BaseException as failed:
            self._leave(failed)
            raise
        self._leave(error)
        return handled

    def _leave(self, error: BaseException | None) -> None:
        limiter, used_tokens = self._limits.limiter, None
        if error is None:
            used_tokens = self._counted.used_tokens if self._counted else None
            limiter.note_success()
        elif isinstance(error, RateLimited):
            used_tokens = 0
            limiter.note_throttling(self._place, error.retry_after_s)
        limiter.leave(self._place, used_tokens=used_tokens)


class _Counted:
    """Pass on the reply's events, and read the usage from the last one."""

    def __init__(self, inner: AsyncIterator[ReplyEvent]) -> None:
        self.used_tokens: int | None = None
        self._inner = inner

    def __aiter__(self) -> AsyncIterator[ReplyEvent]:
        return self

    async def __anext__(self) -> ReplyEvent:
        event = await anext(self._inner)
        self.see(event)
        return event

    def see(self, event: ReplyEvent) -> None:
        """Read the usage, if this event has it."""
        if isinstance(event, Finish) and event.usage:
            self.used_tokens = event.usage.total_tokens
