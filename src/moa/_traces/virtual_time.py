"""An event loop whose time jumps to the next timer instead of passing: hours of waiting are over in no time."""

import asyncio
import selectors


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """A loop in which nothing takes time but sleeping, and sleeping takes none."""

    def __init__(self) -> None:
        self._virtual_now = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Seconds since the loop was made, as far as it is concerned."""
        return self._virtual_now

    def jump(self, seconds: float) -> None:
        """Let so many seconds be over."""
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
