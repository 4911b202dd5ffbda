"""A circuit breaker whose open state is shared with other processes, so that each need not fail first."""

import asyncio
import logging
import math
from collections.abc import Coroutine

from moa._ledger import Now
from moa._policies.circuit_breaker import Breaker
from moa._state.store import StateStore
from moa.errors import ProviderError, StateUnavailable
from moa.providers._base import ModelRequest, Provider
from moa.providers._endpoint import BreakerSettings

LOOK_S = 2.0
"""Seconds between two checks for a breaker that another process has opened, while the model is called."""

log = logging.getLogger(__name__)


class SharedBreaker(Breaker):
    """Opens when calls of this or another process fail; calls never wait for the store.

    While the store is unavailable each process counts only its own calls: a breaker saves time, not money.

    Args:
        inner: The provider.
        settings: When to skip.
        now: Monotonic clock, in seconds.
        store: Records open breakers.
        name: Name of the model.
    """

    def __init__(self, inner: Provider, settings: BreakerSettings, now: Now, *, store: StateStore, name: str) -> None:
        super().__init__(inner, settings, now)
        self._store, self._key = store, f"breaker {name}"
        self._looked_at = -math.inf
        self._tasks: set[asyncio.Task[None]] = set()

    def admit(self, request: ModelRequest) -> bool:
        """Admit a call; return whether it is the probe of a half-open breaker.

        Raises:
            CircuitOpen: The breaker is open.
        """
        if self._now() - self._looked_at >= LOOK_S:
            self._looked_at = self._now()
            self._in_background(self._look())
        return super().admit(request)

    def _note_fault(self, error: ProviderError | None, number: int) -> None:
        super()._note_fault(error, number)
        if self._is_open:
            self._in_background(self._store.put(self._key, b"open", ttl_s=self._settings.cooldown_s))

    async def _look(self) -> None:
        if await self._store.get(self._key) is not None:
            self._in_a_row, self._is_open = max(self._in_a_row, self._settings.failures), True
            self._open_until = max(self._open_until, self._now() + LOOK_S)

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        async def quietly() -> None:
            try:
                await work
            except StateUnavailable as error:
                log.debug("breakers aren't shared: %s", error)

        task = asyncio.get_running_loop().create_task(quietly())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Close the wrapped provider."""
        for task in tuple(self._tasks):
            task.cancel()
        await super().aclose()
