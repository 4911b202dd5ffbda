"""Limits concurrent runs, and stops new ones at shutdown."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from moa._server.api_keys import Caller
from moa._server.http.errors import RequestError
from moa._server.http.exchange import HttpExchange

RETRY_AFTER_S = 1.0
"""Seconds after which a client may try again: runs take seconds, so by then some have ended."""


class InflightLimiter:
    """Admits runs up to a limit, and none once the server is about to stop.

    Args:
        limit: Most runs at once.
        caller_limit: Most runs of one caller; None: as many.

    Attributes:
        is_closed: No new runs are admitted.
    """

    def __init__(self, limit: int, caller_limit: int | None = None) -> None:
        self.limit, self.is_closed = limit, False
        self._caller_limit = limit if caller_limit is None else caller_limit
        self._runs: dict[asyncio.Task[object], HttpExchange] = {}
        self._callers: Counter[Caller] = Counter()

    @property
    def count(self) -> int:
        """Runs that are under way."""
        return len(self._runs)

    def check(self, caller: Caller) -> None:
        """Make sure that there is room for a run.

        Raises:
            RequestError: There are as many as may be, or the server is about to stop.
        """
        if self.is_closed:
            raise RequestError(503, "shutting_down", "the server is about to stop: try another one", retry_after_s=5)
        if len(self._runs) >= self.limit:
            message = f"{self.limit} runs are under way, the most that this server takes: try again later"
            raise RequestError(429, "overloaded", message, retry_after_s=RETRY_AFTER_S)
        if self._callers[caller] >= self._caller_limit:
            message = f"{self._caller_limit} runs of this key are under way, the most that it may have: try again later"
            raise RequestError(429, "overloaded", message, retry_after_s=RETRY_AFTER_S)

    @contextmanager
    def acquire(self, exchange: HttpExchange) -> Iterator[None]:
        """Count the current task as a run.

        Raises:
            RequestError: There are as many as may be, or the server is about to stop.
        """
        caller = exchange.caller
        self.check(caller)
        task = asyncio.current_task()
        assert task is not None
        self._runs[task] = exchange
        self._callers[caller] += 1
        try:
            yield
        finally:
            del self._runs[task]
            self._callers[caller] -= 1

    def close(self) -> None:
        """Refuse new runs from now on."""
        self.is_closed = True

    def cancel_all(self) -> None:
        """Cancel every run that is still under way; its client gets an error."""
        for task, exchange in self._runs.items():
            exchange.aborted = True
            task.cancel()
