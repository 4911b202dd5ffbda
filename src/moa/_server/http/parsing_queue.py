"""Divides the event loop's time among connections that send much at once.

A read of 256 kB may hold ten thousand requests or forty thousand chunks. To parse it takes up to 200 ms, and a hundred
connections can each have such a read in one pass of the event loop.
"""

import asyncio
import time
from collections import deque
from typing import Protocol

from uvicorn.protocols.http.flow_control import FlowControl

SLICE_BYTES = 4096
"""Bytes that are parsed at once: at worst 700 chunks of a byte each, which takes half a millisecond."""

PASS_S = 0.005
"""Seconds of one pass of the event loop in which slices are parsed; one slice is always parsed."""


class SlicedConnection(Protocol):
    """A connection with data that is parsed in slices."""

    def parse_slice(self) -> bool:
        """Parse some of what has arrived; return whether there is more."""
        ...


class ParsingQueue:
    """Connections whose data is parsed in slices, in turn."""

    def __init__(self) -> None:
        self._waiting: deque[SlicedConnection] = deque()

    def add(self, connection: SlicedConnection) -> None:
        """Parse what has arrived on a connection, beginning with the next pass of the event loop."""
        if connection in self._waiting:
            return
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._parse_some)
        self._waiting.append(connection)

    def _parse_some(self) -> None:
        ends_at = time.perf_counter() + PASS_S
        while self._waiting:
            connection = self._waiting[0]
            has_more = connection.parse_slice()
            self._waiting.popleft()
            if has_more:
                self._waiting.append(connection)
            if time.perf_counter() >= ends_at:
                break
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._parse_some)


class HeldFlowControl(FlowControl):
    """Uvicorn's flow control, with a further reason not to read: that what was read isn't parsed yet."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._is_held = False

    def hold_reading(self) -> None:
        """Read no more until it is released, whatever uvicorn says."""
        if not self._is_held:
            self._is_held = True
            if not self.read_paused:
                self._transport.pause_reading()

    def release_reading(self) -> None:
        """Read on, unless uvicorn has paused."""
        if self._is_held:
            self._is_held = False
            if not self.read_paused and not self._transport.is_closing():
                self._transport.resume_reading()

    def pause_reading(self) -> None:
        """Pause, as uvicorn asks."""
        if self._is_held:
            self.read_paused = True
        else:
            super().pause_reading()

    def resume_reading(self) -> None:
        """Read on, as uvicorn asks, unless reading is held."""
        if self._is_held:
            self.read_paused = False
        else:
            super().resume_reading()
