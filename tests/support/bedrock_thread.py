"""The stand-in for Bedrock in a thread of its own, for code that brings its own event loop."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from tests.support.bedrock_server import BedrockServer, Reply


@contextmanager
def bedrock_in_thread(by_model: Callable[[str], Reply]) -> Iterator[BedrockServer]:
    """Serve until the block is left."""
    started: Future[tuple[BedrockServer, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        stop = asyncio.Event()
        async with BedrockServer(by_model=by_model) as server:
            started.set_result((server, asyncio.get_running_loop(), stop))
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    server, loop, stop = started.result(timeout=30)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
