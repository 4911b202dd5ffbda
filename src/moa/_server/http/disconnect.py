"""Watches a client while its reply is made: detects a disconnect, and sends keep-alives on a silent stream."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType

from moa._server.http.exchange import HttpExchange


class DisconnectWatcher:
    """Cancels the task inside its block when the client disconnects, and sets `exchange.client_gone`.

    ::

        async with DisconnectWatcher(exchange, keep_alive=COMMENT, every_s=10):
            ... make the reply ...

    Leave the block before the reply is ended: ASGI reports the end in the same way as a disconnect.

    Args:
        exchange: The request whose client is watched.
        write: Writes into the stream.
        keep_alive: What to write into a silent stream; empty writes nothing.
        every_s: Longest silence, in seconds.
    """

    def __init__(
        self,
        exchange: HttpExchange,
        write: Callable[[bytes], Awaitable[None]] | None = None,
        *,
        keep_alive: bytes = b"",
        every_s: float | None = None,
    ) -> None:
        self._exchange, self._keep_alive = exchange, keep_alive
        self._write = write or exchange.write
        self._every_s = every_s if keep_alive else None
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        """Begin."""
        task = asyncio.current_task()
        assert task is not None
        self._watcher = asyncio.ensure_future(self._watch(task))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        if self._watcher is not None:
            self._watcher.cancel()

    async def _watch(self, task: asyncio.Task[object]) -> None:
        """Wait for the disconnect, and send a keep-alive whenever that takes longer than the longest silence."""
        while True:
            try:
                async with asyncio.timeout(self._every_s):
                    while (await self._exchange.receive())["type"] != "http.disconnect":
                        pass
                break
            except TimeoutError:
                silent_s = asyncio.get_running_loop().time() - self._exchange.wrote_at
                if self._every_s is not None and silent_s >= self._every_s / 2:
                    await self._write(self._keep_alive)
        self._exchange.client_gone = True
        task.cancel()
