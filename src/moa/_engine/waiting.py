"""How long a layer waits: for all of its proposers, or for enough of them and a little longer."""

import asyncio
import math
from collections.abc import Collection
from typing import Literal

from moa._mixture.schema import Wait
from moa._results import Proposal

Closed = Literal["all", "grace", "deadline", "hopeless"]
"""Why a layer closed. `all`: every proposer ended. `grace`: enough were in and the grace time was over. `deadline`: its
time was over. `hopeless`: so many failed that enough couldn't come any more; the rest would only have cost money."""

CANCEL_PATIENCE_S = 0.1
"""Seconds that a cancelled call gets to close its connection; a call that takes longer goes on in the background."""


async def wait_for_proposals(tasks: Collection[asyncio.Task[Proposal]], wait: Wait, seconds_left: float) -> Closed:
    """Wait until a layer may close, and say why it may.

    Args:
        tasks: One for each proposer.
        wait: How many proposals are enough, and how long stragglers then get.
        seconds_left: Until the layer has to close; infinity for no limit.
    """
    counter = _ProposalCounter(len(tasks), wait)
    for task in tasks:
        task.add_done_callback(counter.note)
    if seconds_left < math.inf:
        counter.close_after(max(0.0, seconds_left), "deadline")
    try:
        return await counter.closed
    finally:
        counter.stop_timers()


class _ProposalCounter:
    """Counts proposals as they come; looks at each task once, where `asyncio.wait` would go through all every time."""

    def __init__(self, count: int, wait: Wait) -> None:
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[Closed] = self._loop.create_future()
        self._pending, self._arrived, self._wait = count, 0, wait
        self._timers: dict[Closed, asyncio.TimerHandle] = {}

    def note(self, task: asyncio.Task[Proposal]) -> None:
        if task.cancelled() or self.closed.done():
            return
        if error := task.exception():
            self.closed.set_exception(error)
            return
        self._pending -= 1
        self._arrived += task.result().status == "used"
        if not self._pending:
            self._close("all")
        elif self._arrived + self._pending < self._wait.min_proposals:
            self._close("hopeless")
        elif self._wait.grace_s is not None and self._arrived >= self._wait.min_proposals:
            self.close_after(self._wait.grace_s, "grace")

    def close_after(self, seconds: float, reason: Closed) -> None:
        if reason not in self._timers:
            self._timers[reason] = self._loop.call_later(seconds, self._close, reason)

    def _close(self, reason: Closed) -> None:
        if not self.closed.done():
            self.closed.set_result(reason)

    def stop_timers(self) -> None:
        for timer in self._timers.values():
            timer.cancel()


async def cancel_all(tasks: Collection[asyncio.Task[Proposal]]) -> None:
    """Cancel tasks and give them a moment to close their connections."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=CANCEL_PATIENCE_S)
