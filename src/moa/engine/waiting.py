"""How long a layer waits: for all of its proposers, or for enough of them and a little longer."""

import asyncio
from collections.abc import Callable, Collection
from typing import Literal

from moa.mixture.schema import Wait
from moa.proposals import Proposal

Closed = Literal["all", "grace", "deadline", "hopeless"]

CANCEL_PATIENCE_S = 0.1
"""Seconds that a cancelled call gets to close its connection; a call that takes longer goes on in the background."""


async def wait_for_proposals(
    tasks: Collection[asyncio.Task[Proposal]], wait: Wait, now: Callable[[], float], close_at: float | None
) -> Closed:
    """Wait until a layer may close, and say why it may.

    Args:
        tasks: One for each proposer.
        wait: How many proposals are enough, and how long stragglers then get.
        now: The clock.
        close_at: Its reading when the layer has to close, None for no limit.

    Returns:
        `all`: every proposer ended. `grace`: enough are in and the grace time is over. `deadline`: `close_at` came.
        `hopeless`: so many failed that enough can't come any more; waiting for the rest would only cost money.
    """
    pending = set(tasks)
    limit, reason = close_at, "deadline"
    while pending:
        timeout = None if limit is None else max(0.0, limit - now())
        done, pending = await asyncio.wait(pending, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            return "grace" if reason == "grace" else "deadline"
        arrived = sum(task.done() and task.result().status == "used" for task in tasks)
        if arrived + len(pending) < wait.min_proposals:
            return "hopeless" if pending else "all"
        if wait.grace_s is not None and reason != "grace" and arrived >= wait.min_proposals:
            grace_until = now() + wait.grace_s
            if limit is None or grace_until < limit:
                limit, reason = grace_until, "grace"
    return "all"


async def cancel_all(tasks: Collection[asyncio.Task[Proposal]]) -> None:
    """Cancel tasks and give them a moment to close their connections."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=CANCEL_PATIENCE_S)
