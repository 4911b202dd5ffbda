"""Running mixtures without holding an engine: one default engine for each event loop, one loop for synchronous code."""

import asyncio
import atexit
import inspect
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from functools import cache
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar
from weakref import WeakKeyDictionary

from moa._engine.stream import RunStream
from moa._ledger import Ledger
from moa._results import Answer
from moa._runtime.engine import Engine
from moa.errors import UsageError
from moa.events import Event

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

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


def _takes_arguments_of(
    method: Callable[Concatenate[Engine, Arguments], Any],
) -> Callable[[Callable[..., Result]], Callable[Arguments, Result]]:
    """Give a function the signature of an engine's method, for type checkers and for `inspect.signature`."""

    def decorate(function: Callable[..., Result]) -> Callable[Arguments, Result]:
        own, wanted = inspect.signature(function), inspect.signature(method)
        parameters = list(wanted.parameters.values())[1:]
        function.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        return function

    return decorate


@_takes_arguments_of(Engine.arun)
async def arun(*args: Any, **kwargs: Any) -> Answer:
    """Run a mixture with the default engine and return its answer.

    Arguments and errors are those of `Engine.arun`.
    """
    engine = await default_engine()
    return await engine.arun(*args, **kwargs)


@_takes_arguments_of(Engine.astream)
@asynccontextmanager
async def astream(*args: Any, **kwargs: Any) -> AsyncIterator[RunStream]:
    """Return a run of the default engine as a stream of events, to be entered with `async with`.

    ::

        async with moa.astream("local", "Why is the sky blue?") as events:
            async for event in events:
                ...

    Leaving the block cancels what is still running. Arguments and errors are those of `Engine.astream`.
    """
    engine = await default_engine()
    async with engine.astream(*args, **kwargs) as events:
        yield events


@_takes_arguments_of(Engine.arun)
def run(*args: Any, **kwargs: Any) -> Answer:
    """Run a mixture and return its answer, from synchronous code; in a notebook too.

    Arguments and errors are those of `Engine.arun`. All runs share one event loop in a thread of its own, so it does
    not matter whether a loop is already running here.
    """
    return in_background(arun(*args, **kwargs))


@_takes_arguments_of(Engine.astream)
def stream(*args: Any, **kwargs: Any) -> "SyncRunStream":
    """Return a run as a stream of events for synchronous code, to be entered with `with`.

    ::

        with moa.stream("local", "Why is the sky blue?") as events:
            for event in events:
                ...

    Leaving the block cancels what is still running. Arguments and errors are those of `Engine.astream`.
    """

    async def prepared() -> RunStream:
        engine = await default_engine()
        return engine.astream(*args, **kwargs)

    return SyncRunStream(prepared)


class SyncRunStream:
    """The events of one run, for synchronous code; leaving the block cancels every call that is still running.

    The last event is `RunFinished`; a run that fails raises its error from the iteration instead.
    """

    def __init__(self, prepare: Callable[[], Coroutine[Any, Any, RunStream]]) -> None:
        self._prepare = prepare
        self._stream: RunStream | None = None

    @property
    def ledger(self) -> Ledger:
        """What has been used and spent so far; also after the run failed or was cancelled."""
        return Ledger() if self._stream is None else self._stream.ledger

    def __enter__(self) -> Self:
        """Start the run.

        Raises:
            MixtureError, ConfigError, UsageError: The run can't start.
        """
        try:
            in_background(self._start())
        except BaseException as error:
            # Ctrl-C may land here when the run has just started in the other thread.
            self.__exit__(type(error), error, None)
            raise
        return self

    async def _start(self) -> None:
        self._stream = await self._prepare()
        await self._stream.__aenter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel what is still running and wait until it has stopped."""
        if self._stream is not None:
            in_background(self._stream.__aexit__(kind, error, trace))

    def __iter__(self) -> Iterator[Event]:
        """The events, in the order of happening."""
        return self

    def __next__(self) -> Event:
        """The next event."""
        if self._stream is None:
            raise RuntimeError("enter the stream first: `with moa.stream(...) as events`")
        event = in_background(_next_or_none(self._stream))
        if event is None:
            raise StopIteration
        return event


async def _next_or_none(events: RunStream) -> Event | None:
    # A StopAsyncIteration can't be set on the future that brings the result to the other thread.
    return await anext(events, None)


def in_background(work: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of async work, from synchronous code; Ctrl-C cancels it.

    Raises:
        UsageError: It is called from the background loop itself, which would wait for itself for ever.
    """
    return _background().run(work)


class _Background:
    """An event loop in a daemon thread, stopped at exit."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="moa", daemon=True)
        self._thread.start()
        atexit.register(self._stop)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        if threading.current_thread() is self._thread:
            work.close()
            raise UsageError("moa.run and moa.stream can't be called inside of a run: use `await moa.arun(...)` there")
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
