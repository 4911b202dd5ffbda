"""Jobs in the order of their keys, so many at a time."""

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from itertools import count

Key = tuple[float, ...]
Job = Callable[[], Awaitable[None]]


class JobQueue:
    """Runs jobs; a job that runs may add further ones.

    Args:
        size: How many jobs run at once.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._waiting: list[tuple[Key, int, Job]] = []
        self._numbers = count()
        self._running: set[asyncio.Task[None]] = set()
        self._tidying: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()
        self._error: BaseException | None = None
        self.stopped = False

    def add(self, key: Key, job: Job) -> None:
        """Add a job: of those that wait, the one with the smallest key comes first."""
        heapq.heappush(self._waiting, (key, next(self._numbers), job))
        self._ended.set()

    def tidy(self, job: Job) -> None:
        """Begin a job at once, beside those that are counted: what is left to do once an answer is there."""
        self._start(job, self._tidying)

    def stop(self) -> None:
        """Begin no further job; those that run may end."""
        self.stopped = True

    async def run(self) -> None:
        """Come back when nothing runs and nothing waits, or all that ran has ended after a `stop`.

        Raises:
            BaseException: The first error of a job; the other jobs are cancelled.
        """
        try:
            while self._error is None and (self._busy or (self._waiting and not self.stopped)):
                self._begin()
                self._ended.clear()
                if self._busy:
                    await self._ended.wait()
        finally:
            for task in self._running:
                task.cancel()
            # What is left to do may end: it is short, and about answers that were paid for.
            await asyncio.gather(*self._running, *self._tidying, return_exceptions=True)
        if self._error is not None:
            raise self._error

    @property
    def _busy(self) -> bool:
        return bool(self._running or self._tidying)

    def _begin(self) -> None:
        # A slow disk holds back what comes next, so that no more than a few answers are ever at risk.
        while self._waiting and not self.stopped and len(self._running) < self._size >= len(self._tidying):
            _, _, job = heapq.heappop(self._waiting)
            self._start(job, self._running)

    def _start(self, job: Job, among: set[asyncio.Task[None]]) -> None:
        task = asyncio.ensure_future(_await(job))
        among.add(task)
        task.add_done_callback(self._note)

    def _note(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._tidying.discard(task)
        if not task.cancelled() and task.exception() is not None and self._error is None:
            self._error = task.exception()
        self._ended.set()


async def _await(job: Job) -> None:
    await job()
