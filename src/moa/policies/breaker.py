"""Breaker: a model that failed several times in a row is skipped at once for a while, then probed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from moa.errors import (
    BrokenReply,
    CircuitOpen,
    ConnectionFailed,
    IdleTimedOut,
    ProviderError,
    ProviderFault,
    ServiceFailed,
)
from moa.ledger import Now
from moa.providers.base import ModelRequest, Provider, ReplyEvent
from moa.providers.endpoint import BreakerSettings

FAULTS = (ServiceFailed, ConnectionFailed, IdleTimedOut, BrokenReply, ProviderFault)
"""What counts as a failure of the model's service. Throttling doesn't: a busy service is a working one."""


class Breaker:
    """Skips a model whose service keeps failing; wraps the provider for one model.

    Args:
        inner: The provider.
        settings: When to skip.
        now: Monotonic clock, in seconds.
    """

    def __init__(self, inner: Provider, settings: BreakerSettings, now: Now) -> None:
        self.takes_seed = inner.takes_seed
        self._inner, self._settings, self._now = inner, settings, now
        self._in_a_row = 0
        self._open_until = 0.0
        self._probing = False
        self._last: ProviderError | None = None

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        """Open a reply, unless the breaker is open.

        Raises:
            CircuitOpen: It is; nothing was sent.
        """
        is_probe = self._admit(request)
        try:
            async with self._inner.stream(request) as events:
                yield events
        except FAULTS as error:
            self._note_fault(error)
            raise
        except asyncio.CancelledError:
            if request.seconds_left() <= 0:
                self._note_fault(None)
            raise
        except ProviderError:
            # It answered, if only to say no.
            self._in_a_row = 0
            raise
        else:
            self._in_a_row = 0
        finally:
            if is_probe:
                self._probing = False

    def _admit(self, request: ModelRequest) -> bool:
        """Whether this call is the probe of a breaker that cooled down."""
        if self._in_a_row < self._settings.failures:
            return False
        if self._now() >= self._open_until and not self._probing:
            self._probing = True
            return True
        wait_s = max(0.0, self._open_until - self._now())
        cause = f"; the last: {self._last.args[0]}" if self._last else ""
        raise CircuitOpen(
            f"skipped for {wait_s:.0f} s more after {self._in_a_row} failures in a row{cause}", model=request.reference
        )

    def _note_fault(self, error: ProviderError | None) -> None:
        self._in_a_row += 1
        self._last = error or self._last
        if self._in_a_row >= self._settings.failures:
            self._open_until = self._now() + self._settings.cooldown_s

    async def aclose(self) -> None:
        """Close the wrapped provider."""
        await self._inner.aclose()
