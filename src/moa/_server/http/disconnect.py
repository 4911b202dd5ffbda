"""Looking after a reply while it is made: notices that the client has gone, and shows it that the stream lives."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType

from moa._server.http.exchange import HttpExchange


class DisconnectWatcher:
    """Cancels the task inside its block as soon as the client goes away; `exchange.client_gone` says that this was why.

    ::

        async with DisconnectWatcher(exchange, keep_alive=COMMENT, every_s=10):
            ... make the reply ...

    Leave the block before the reply is ended: servers report the end in the same way as a client that went away.

    Args:
        exchange: Whose client to look after.
        write: Writes into the stream.
        keep_alive: What to write into a stream that has been silent; empty writes nothing.
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
        self._watcher = asyncio.ensure_future(self._look(task))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        if self._watcher is not None:
            self._watcher.cancel()

    async def _look(self, task: asyncio.Task[object]) -> None:
        while not await self._has_gone():
            await self._send_keep_alive()
        self._exchange.client_gone = True
        task.cancel()

    async def _has_gone(self) -> bool:
        """Whether the client goes away before the stream has been silent for too long."""
        try:
            async with asyncio.timeout(self._every_s):
                while (await self._exchange.receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            return False
        return True

    async def _send_keep_alive(self) -> None:
        silent_s = asyncio.get_running_loop().time() - self._exchange.wrote_at
        if self._every_s is not None and silent_s >= self._every_s / 2:
            await self._write(self._keep_alive)
