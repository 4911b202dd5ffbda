"""Retry: the same request again after a fault that may pass, within a budget that keeps an outage from growing."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from moa.errors import ProviderError
from moa.providers.base import ModelRequest, Provider, ReplyEvent, Restarted
from moa.providers.endpoint import RetrySettings

log = logging.getLogger(__name__)


class RetryBudget:
    """How many retries one model may still have: a fifth of its fresh calls, and a burst."""

    def __init__(self, settings: RetrySettings) -> None:
        self._settings = settings
        self._left = settings.burst

    def note_fresh_call(self) -> None:
        """A call was made for the first time."""
        self._left = min(self._settings.burst, self._left + self._settings.per_call)

    def take(self) -> bool:
        """Whether there is a retry left; it is used up then."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Retry:
    """Tries again on throttling, server faults, connection faults and silence; never on what would fail again.

    A reply that broke off after part of it has come is begun anew only if the request is replayable; `Restarted` then
    tells that what came is void. A pause that would outlast the call's time is not begun: the real fault is raised
    while there is time left for a fallback.

    Args:
        inner: The provider.
        settings: When and how often.
        rng: Source of the jitter.
    """

    def __init__(self, inner: Provider, settings: RetrySettings, rng: random.Random | None = None) -> None:
        self.takes_seed = inner.takes_seed
        self._inner, self._settings = inner, settings
        self._rng = rng or random.Random()
        self._budget = RetryBudget(settings)

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        """Open a reply, again if need be."""
        events = self._events(request)
        try:
            yield events
        finally:
            await events.aclose()

    async def _events(self, request: ModelRequest) -> AsyncGenerator[ReplyEvent]:
        self._budget.note_fresh_call()
        attempt, begun = 1, False
        while True:
            try:
                async with self._inner.stream(request) as events:
                    async for event in events:
                        begun = True
                        yield event
                return
            except ProviderError as error:
                pause_s = self._pause_s(error, request, attempt, begun=begun)
                if pause_s is None:
                    raise
                log.debug("%s; attempt %d follows in %.2f s", error, attempt + 1, pause_s)
            if begun:
                begun = False
                yield Restarted()
            await asyncio.sleep(pause_s)
            attempt += 1

    def _pause_s(self, error: ProviderError, request: ModelRequest, attempt: int, *, begun: bool) -> float | None:
        """Seconds until the next attempt, None if there is to be none."""
        settings = self._settings
        if not error.retryable or attempt >= settings.max_attempts or (begun and not request.replayable):
            return None
        longest = min(settings.cap_s, settings.base_s * 2 ** (attempt - 1))
        pause_s = self._rng.uniform(0, longest)
        if error.retry_after_s is not None:
            # A little later than asked, each at another moment: all who were throttled together would come together.
            pause_s += error.retry_after_s
        if pause_s >= request.seconds_left() or not self._budget.take():
            return None
        return pause_s

    async def aclose(self) -> None:
        """Close the wrapped provider."""
        await self._inner.aclose()
