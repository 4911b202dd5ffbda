"""The time that a call may take."""

import asyncio
import math
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from types import TracebackType

from moa._ledger import Now


class TimeLimit:
    """Cancels what takes longer than its time, and stands still while the call waits for a free place.

    ::

        async with TimeLimit(120, now=meter.now) as limit:   # raises TimeoutError
            ...

    Args:
        seconds: Time of the call.
        until: The clock's reading when the caller gives up in any case; infinity for never.
        now: Monotonic clock, in seconds.
    """

    def __init__(self, seconds: float, *, now: Now, until: float = math.inf) -> None:
        self._until, self._now = until, now
        self._timeout = asyncio.timeout(seconds)
        self._waiting = 0
        self._left_when_paused = 0.0

    def seconds_left(self) -> float:
        """Seconds until the call is cancelled."""
        when = self._timeout.when()
        own = self._left_when_paused if when is None else when - asyncio.get_running_loop().time()
        return min(own, self._until - self._now())

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock inside of the block: in a batch a call may wait for its turn much longer than it takes."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            self._left_when_paused = (self._timeout.when() or math.inf) - loop.time()
            self._timeout.reschedule(None)
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._timeout.reschedule(loop.time() + self._left_when_paused)

    async def __aenter__(self) -> "TimeLimit":
        """Start the clock."""
        await self._timeout.__aenter__()
        return self

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Awaitable[bool | None]:
        """Stop the clock.

        Raises:
            TimeoutError: The time was over.
        """
        return self._timeout.__aexit__(kind, error, trace)
