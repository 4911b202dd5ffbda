"""Ctrl-C for work that takes a while to put down."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


async def stoppable(work: Coroutine[Any, Any, Result]) -> Result:
    """Return what work comes to; the first Ctrl-C cancels it, a second one kills the process at once.

    As an exception, which Python would make of it, the second one could strike anywhere: inside of the event loop too,
    which may then wait for ever for what it has forgotten.

    Args:
        work: What bears being killed at any moment.

    Raises:
        CancelledError: Ctrl-C was pressed.
    """
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    former = signal.getsignal(signal.SIGINT)

    def cancel(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        loop.call_soon_threadsafe(task.cancel)

    if not callable(former):  # whoever started the process wants Ctrl-C to be ignored
        return await task
    signal.signal(signal.SIGINT, cancel)
    try:
        return await task
    finally:
        signal.signal(signal.SIGINT, former)
