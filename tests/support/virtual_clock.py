"""Tests in virtual time: hours of waiting are over in no time."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

from moa._traces.virtual_time import VirtualClockLoop


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
