"""Watches a client while its reply is made: detects a disconnect, and sends keep-alives on a silent stream."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from moa._server.http.exchange import HttpExchange


@asynccontextmanager
async def cancelled_on_disconnect(
    exchange: HttpExchange,
    write: Callable[[bytes], Awaitable[None]] | None = None,
    *,
    keep_alive: bytes = b"",
    every_s: float | None = None,
) -> AsyncIterator[None]:
    """Cancel the task inside the block when the client disconnects, and set `exchange.client_gone`.

    Leave the block before the reply is ended: ASGI reports the end in the same way as a disconnect.

    Args:
        exchange: The request whose client is watched.
        write: Writes into the stream; None: there is none, and silence is all right.
        keep_alive: What to write into a silent stream.
        every_s: Longest silence, in seconds.
    """
    task = asyncio.current_task()
    assert task is not None

    async def watch() -> None:
        while True:
            try:
                async with asyncio.timeout(None if write is None else every_s):
                    while (await exchange.receive())["type"] != "http.disconnect":
                        pass
                break
            except TimeoutError:
                silent_s = asyncio.get_running_loop().time() - exchange.wrote_at
                if write is not None and every_s is not None and silent_s >= every_s / 2:
                    await write(keep_alive)
        exchange.client_gone = True
        task.cancel()

    watcher = asyncio.ensure_future(watch())
    try:
        yield
    finally:
        watcher.cancel()
