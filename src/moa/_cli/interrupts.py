"""Ctrl-C for work that takes a while to stop."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


async def stoppable(work: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of the work; the first Ctrl-C cancels it, the second one kills the process at once.

    Python would raise the second one as an exception anywhere, also inside the event loop, which could then wait for
    ever.

    Args:
        work: Work that can be killed at any moment without damage.

    Raises:
        CancelledError: Ctrl-C was pressed.
    """
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    former = signal.getsignal(signal.SIGINT)

    def cancel(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        loop.call_soon_threadsafe(task.cancel)

    if not callable(former):  # the parent process wants Ctrl-C to be ignored
        return await task
    signal.signal(signal.SIGINT, cancel)
    try:
        return await task
    finally:
        signal.signal(signal.SIGINT, former)
