"""Breaker: a model that failed several times in a row is skipped at once for a while, then probed."""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType

from moa._ledger import Now
from moa.errors import (
    BrokenReply,
    CircuitOpen,
    ConnectionFailed,
    IdleTimedOut,
    OutOfDescriptors,
    ProviderError,
    ProviderFault,
    ServiceFailed,
)
from moa.providers._base import ModelRequest, Provider, ReplyEvent, ReplyStream, WrappedProvider
from moa.providers._endpoint import BreakerSettings

FAULTS = (ServiceFailed, ConnectionFailed, IdleTimedOut, BrokenReply, ProviderFault)
"""What counts as a failure of the model's service. Throttling doesn't: a busy service is a working one."""


class Breaker(WrappedProvider):
    """Skips a model whose service keeps failing; wraps the provider for one model.

    Failures count as such in a row only once there are more of them than calls under way that began before: of many
    calls at once, those whose connection is refused end first, and the good replies come later.

    Args:
        inner: The provider.
        settings: When to skip.
        now: Monotonic clock, in seconds.
    """

    def __init__(self, inner: Provider, settings: BreakerSettings, now: Now) -> None:
        super().__init__(inner)
        self._settings, self._now = settings, now
        self._in_a_row = 0
        self._is_open = False
        self._open_until = 0.0
        self._probing = False
        self._begun = 0
        self._under_way: set[int] = set()
        self._last: ProviderError | None = None

    def stream(self, request: ModelRequest) -> ReplyStream:
        """Open a reply, unless the breaker is open: then entering it raises `CircuitOpen`, and nothing is sent."""
        return _BreakerCall(self, request)

    def begin(self) -> int:
        """Take in that a call was let through, and return its number."""
        self._begun += 1
        self._under_way.add(self._begun)
        return self._begun

    def note_end(self, error: BaseException | None, request: ModelRequest, number: int, *, is_probe: bool) -> None:
        """Take in how a call ended; None: well."""
        self._under_way.discard(number)
        if is_probe:
            self._probing = False
        if isinstance(error, FAULTS):
            # The samples that were asked for by one call share its failure.
            if request.context.batch is None or error is not self._last:
                self._note_fault(error, number)
        elif isinstance(error, asyncio.CancelledError):
            if request.context.seconds_left() <= 0:
                self._note_fault(None, number)
        elif isinstance(error, OutOfDescriptors):
            pass  # it was not asked
        elif error is None or isinstance(error, ProviderError):
            # It answered, if only to say no.
            self._in_a_row, self._is_open = 0, False

    def admit(self, request: ModelRequest) -> bool:
        """Let a call through; whether it is the probe of a breaker that cooled down.

        Raises:
            CircuitOpen: The breaker is open.
        """
        if not self._is_open:
            return False
        if self._now() >= self._open_until and not self._probing:
            self._probing = True
            return True
        wait_s = max(0.0, self._open_until - self._now())
        cause = f"; the last: {self._last.args[0]}" if self._last else ""
        raise CircuitOpen(
            f"skipped for {wait_s:.0f} s more after {self._in_a_row} failures in a row{cause}", model=request.reference
        )

    def _note_fault(self, error: ProviderError | None, number: int) -> None:
        self._in_a_row += 1
        self._last = error or self._last
        older = sum(one < number for one in self._under_way)
        if self._is_open or self._in_a_row >= self._settings.failures + older:
            self._is_open = True
            self._open_until = self._now() + self._settings.cooldown_s


class _BreakerCall:
    """One call behind a breaker. A class in place of a generator: every call passes here, though hardly any fails."""

    __slots__ = ("_breaker", "_inner", "_is_probe", "_number", "_request")

    def __init__(self, breaker: Breaker, request: ModelRequest) -> None:
        self._breaker, self._request = breaker, request
        self._inner = breaker.inner.stream(request)
        self._is_probe = False

    async def __aenter__(self) -> AsyncIterator[ReplyEvent]:
        self._is_probe = self._breaker.admit(self._request)
        self._number = self._breaker.begin()
        try:
            return await self._inner.__aenter__()
        except BaseException as error:
            self._breaker.note_end(error, self._request, self._number, is_probe=self._is_probe)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._breaker.note_end(error, self._request, self._number, is_probe=self._is_probe)
        return await self._inner.__aexit__(kind, error, trace)
