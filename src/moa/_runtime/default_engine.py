"""Running mixtures without holding an engine: one default engine for each event loop, one loop for synchronous code."""

import asyncio
import atexit
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, TypeVar, Unpack
from weakref import WeakKeyDictionary

from moa._engine.stream import RunStream
from moa._results import Answer
from moa._runtime.engine import Engine, MixtureLike, Prompt, RunArguments

Result = TypeVar("Result")

_engines: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[Engine]] = WeakKeyDictionary()


async def _lifetime() -> AsyncGenerator[Engine]:
    # An event loop that shuts down closes the generators that were begun in it: that is how the default engine of a
    # loop gets to close its connections, also when `asyncio.run` ends.
    loop, engine = asyncio.get_running_loop(), Engine()
    try:
        while True:
            yield engine
    finally:
        _engines.pop(loop, None)
        await engine.aclose()


async def default_engine() -> Engine:
    """Return the default engine of the running event loop; it is closed with the loop.

    Raises:
        ConfigError: The configuration in the usual places can't be used.
    """
    loop = asyncio.get_running_loop()
    lifetime = _engines.get(loop)
    if lifetime is None:
        lifetime = _engines[loop] = _lifetime()
    return await anext(lifetime)


async def arun(mixture: MixtureLike, prompt: Prompt, **arguments: Unpack[RunArguments]) -> Answer:
    """Run a mixture with the default engine; arguments and errors as in `Engine.run`."""
    engine = await default_engine()
    return await engine.run(mixture, prompt, **arguments)


@asynccontextmanager
async def stream(
    mixture: MixtureLike, prompt: Prompt, *, proposal_deltas: bool = True, **arguments: Unpack[RunArguments]
) -> AsyncIterator[RunStream]:
    """Give a run of the default engine as a stream of events; arguments and errors as in `Engine.stream`.

    ::

        async with moa.stream("local", "Why is the sky blue?") as events:
            async for event in events:
                ...

    Leaving the block cancels what still runs.
    """
    engine = await default_engine()
    async with engine.stream(mixture, prompt, proposal_deltas=proposal_deltas, **arguments) as events:
        yield events


def run(mixture: MixtureLike, prompt: Prompt, **arguments: Unpack[RunArguments]) -> Answer:
    """Run a mixture and return its answer, from synchronous code; in a notebook too.

    Arguments and errors as in `Engine.run`. All runs share one event loop in a thread of its own, so that it doesn't
    matter whether one is running here already.
    """
    return in_background(arun(mixture, prompt, **arguments))


def in_background(work: Coroutine[Any, Any, Result]) -> Result:
    """Return what async work comes to, from synchronous code; Ctrl-C cancels it."""
    return _background().run(work)


class _Background:
    """An event loop in a daemon thread, stopped at exit."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="moa", daemon=True)
        self._thread.start()
        atexit.register(self._stop)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        finally:
            # Ctrl-C lands here while the work goes on in the other thread: stop it, or it would be paid for.
            future.cancel()

    def _stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._loop.shutdown_asyncgens(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


_background = cache(_Background)
