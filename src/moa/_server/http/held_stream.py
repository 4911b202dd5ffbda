"""A stream of events whose headers wait for its first piece, so that an early error has its own status."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from moa._server.http.exchange import HttpExchange

HOLD_S = 1.0
"""Longest wait of the headers, in seconds: clients and proxies take silence for a dead server."""


class HeldStream:
    """Sends the headers of a stream with its first piece, or after some time, whichever is first.

    Until then a failure can be answered as if nothing had been streamed: clients try 429 again and not 400, which they
    see by the status alone.

    Args:
        exchange: Whose reply it is.
        opening: What the stream begins with.
        hold_s: Longest wait of the headers, in seconds.
    """

    def __init__(self, exchange: HttpExchange, opening: bytes, *, hold_s: float = HOLD_S) -> None:
        self._exchange, self._opening, self._hold_s = exchange, opening, hold_s
        self._is_open = False
        self._lock = asyncio.Lock()
        self._timer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to wait."""
        self._timer = asyncio.ensure_future(self._open_later())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait no more. An opening that is being sent is sent to its end: what follows must not come before it."""
        if self._timer is not None:
            async with self._lock:
                self._timer.cancel()

    async def _open_later(self) -> None:
        await asyncio.sleep(self._hold_s)
        await self.write(b"")

    async def write(self, piece: bytes) -> None:
        """Send a piece, after the headers and the opening if they are not sent yet."""
        await self._send(self._exchange.write, piece)

    async def end(self, piece: bytes) -> None:
        """Send the last piece."""
        await self._send(self._exchange.end, piece)

    async def _send(self, send: Callable[[bytes], Awaitable[None]], piece: bytes) -> None:
        async with self._lock:
            if not self._is_open:
                self._is_open = True
                await self._exchange.open_stream()
                piece = self._opening + piece
            await send(piece)
