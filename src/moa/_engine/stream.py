"""A run as a stream of events."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Self

from moa._engine.agents import OnEvent
from moa._ledger import Ledger, Meter
from moa._results import Answer
from moa.events import Event


class RunStream:
    """The events of one run; leaving the block cancels every call that is still running.

    ::

        async with engine.astream(mixture, "Hello") as events:
            async for event in events:
                ...

    The last event is `RunFinished`; a run that fails raises its error from the iteration instead.

    Args:
        run: Runs the mixture, given what to call with each event.
        meter: Keeps the run's ledger.
    """

    def __init__(self, run: Callable[[OnEvent], Awaitable[Answer]], meter: Meter) -> None:
        self._run, self._meter = run, meter
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._task: asyncio.Task[Answer] | None = None

    @property
    def ledger(self) -> Ledger:
        """What has been used and spent so far; also after the run failed or was cancelled."""
        return self._meter.ledger()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run was asked for."""
        return self._meter.elapsed_s()

    @property
    def has_more_ready(self) -> bool:
        """Whether the next event has arrived: events that are ready can be written out together."""
        return not self._queue.empty()

    async def __aenter__(self) -> Self:
        """Start the run."""
        self._task = asyncio.ensure_future(self._run(self._queue.put_nowait))
        self._task.add_done_callback(lambda _: self._queue.put_nowait(None))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel what is still running and wait until it has stopped."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            # Retrieved, so that asyncio doesn't report a failure for which nobody waits.
            self._task.exception()

    def __aiter__(self) -> AsyncIterator[Event]:
        """The events, in the order of happening."""
        return self

    async def __anext__(self) -> Event:
        """The next event."""
        if self._task is None:
            raise RuntimeError("enter the stream first: `async with engine.astream(...) as events`")
        event = await self._queue.get()
        if event is not None:
            return event
        self._queue.put_nowait(None)
        self._task.result()
        raise StopAsyncIteration
