"""A TCP proxy that does to connections what networks do: refuses, resets, cuts, stalls, and answers for the service."""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from types import TracebackType
from typing import Self

FATES = ("refused", "reset", "cut", "garbage", "stalled")
"""What happens to a request that is not just passed on.

refused: the connection is closed before the request is passed on; reset: after it; cut: in the middle of the reply;
garbage: something else than the service answers; stalled: all is passed on, late.
"""

PIECE_BYTES = 65_536
STALL_S = 0.05


class ChaosProxy:
    """Stands in front of one server; `port` is known inside of its `async with` block.

    Args:
        port: Where the server listens, on loopback.
        share: Part of the requests that something happens to, 0-1.
        rng: Decides to which, and what.
    """

    def __init__(self, port: int, share: float, rng: random.Random) -> None:
        self._target, self._share, self._rng = port, share, rng
        self.fates: Counter[str] = Counter()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._target)
        connection = _Connection(self, writer, inner_writer)
        replying = asyncio.ensure_future(connection.pass_replies(inner_reader))
        try:
            with suppress(ConnectionError):
                await connection.pass_requests(reader)
        finally:
            replying.cancel()
            for each in (writer, inner_writer):
                each.transport.abort()

    def fate(self) -> str:
        """Decide what happens to the next request."""
        fate = self._rng.choice(FATES) if self._rng.random() < self._share else "passed"
        self.fates[fate] += 1
        return fate


class _Connection:
    def __init__(self, proxy: ChaosProxy, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._fate = "passed"

    async def pass_requests(self, reader: asyncio.StreamReader) -> None:
        """Pass on what the client sends, until one of its requests meets its fate or it hangs up."""
        while piece := await reader.read(PIECE_BYTES):
            if piece.startswith(b"POST "):
                self._fate = self._proxy.fate()
            match self._fate:
                case "refused":
                    return
                case "garbage":
                    self._client.write(b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\n<html>Please log in</html>    ")
                    await self._client.drain()
                    return
                case "stalled":
                    await asyncio.sleep(STALL_S)
            self._server.write(piece)
            await self._server.drain()
            if self._fate == "reset":
                return

    async def pass_replies(self, reader: asyncio.StreamReader) -> None:
        """Pass on what the server sends; when it hangs up, so does the proxy."""
        with suppress(ConnectionError):
            while piece := await reader.read(PIECE_BYTES):
                if self._fate == "cut":
                    self._client.write(piece[: len(piece) // 2])
                    break
                self._client.write(piece)
        self._client.close()
