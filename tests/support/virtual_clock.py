"""An event loop whose time jumps to the next timer instead of passing: hours of waiting are tested in no time."""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """A loop in which nothing takes time but sleeping, and sleeping takes none."""

    def __init__(self) -> None:
        self._virtual_now = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self._virtual_now

    def jump(self, seconds: float) -> None:
        self._virtual_now += seconds


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, loop: VirtualClockLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("every task waits for something that will never come")
        ready = super().select(0)
        if not ready:
            self._loop.jump(timeout)
        return ready


def virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test in a loop of its own whose time is virtual."""

    @functools.wraps(test)
    def wrapper(*args: object, **kwargs: object) -> None:
        with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
            runner.run(test(*args, **kwargs))

    return wrapper


def loop_time() -> float:
    """The running loop's time: the clock to give to an engine under test."""
    return asyncio.get_running_loop().time()
