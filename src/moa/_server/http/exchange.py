"""One HTTP request and what is answered to it, on the server's side."""

import asyncio
from collections import Counter
from collections.abc import Callable
from uuid import uuid4

from starlette.types import Message, Receive, Scope, Send

from moa._server.api_keys import ANONYMOUS, Caller
from moa._server.http.body_decoding import body_decoder
from moa._server.http.client_addresses import counted_address
from moa._server.http.errors import RequestError
from moa._server.http.json_bounds import JsonBounds

CLIENT_CLOSED_REQUEST = 499
"""The access log's status of clients that went away before they had their answer (nginx's own status for it)."""

HeaderList = list[tuple[bytes, bytes]]


class BodyMemory:
    """What bodies of requests take in memory, bounded for all together and for each caller.

    Args:
        total_bytes: Of all.
        caller_bytes: Of a single caller; None: a quarter.

    Attributes:
        caller_bytes: Most bytes of a single caller.
    """

    def __init__(self, total_bytes: int, caller_bytes: int | None = None) -> None:
        self._total_bytes = total_bytes
        self.caller_bytes = total_bytes // 4 if caller_bytes is None else caller_bytes
        self._taken: Counter[str] = Counter()
        self._sum = 0

    def take(self, caller: str, count: int) -> None:
        """Count further bytes of a caller.

        Raises:
            RequestError: There is no room for them.
        """
        if self._sum + count > self._total_bytes or self._taken[caller] + count > self.caller_bytes:
            raise RequestError(503, "overloaded", "too many large requests at once: try again later", retry_after_s=1)
        self._taken[caller] += count
        self._sum += count

    def give_back(self, caller: str, count: int) -> None:
        """Count the bytes of a body no more."""
        self._sum -= count
        self._taken[caller] -= count
        if not self._taken[caller]:
            del self._taken[caller]


class ClientGone(Exception):
    """The client went away while its request was read."""


class HttpExchange:
    """One request with its reply.

    Attributes:
        id: Names the request in headers, logs and traces.
        path: Unquoted, without the query; `raw_path` is as it came, and so has no line breaks.
        headers: The request's, names in lower case; of repeated ones the last.
        client: The client's address, as it connects or as a trusted proxy forwards it.
        caller: Whose key it came with.
        scope: The request's scope of ASGI.
        status: Of the reply, 0 before its headers are sent.
        client_gone: The client went away.
        aborted: The server ends the reply, as it has to stop.
        encode_error: Writes a failure into a reply that has begun; None if there is no way.
        log_fields: What else the access log is to hold.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, extra: HeaderList) -> None:
        self.id = f"req-{uuid4().hex[:20]}"
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.raw_path: str = scope.get("raw_path", b"").decode("ascii", "replace")
        self.client: str = scope["client"][0] if scope.get("client") else "-"
        self.caller: Caller = ANONYMOUS
        self.status = 0
        self.client_gone = self.aborted = False
        self.encode_error: Callable[[RequestError], bytes] | None = None
        self.log_fields: dict[str, object] = {}
        self.started_at = asyncio.get_running_loop().time()
        self.wrote_at = self.started_at
        self.scope, self.receive = scope, receive
        self._send, self._extra = send, extra

    def header(self, name: bytes) -> str:
        """Return one header of the request, empty if it isn't there."""
        return self.headers.get(name, b"").decode("latin-1")

    @property
    def payer(self) -> str:
        """Who counts as the caller where memory is shared: a key's owner, or an address."""
        return counted_address(self.client) if self.caller is ANONYMOUS else self.caller.name

    async def body(self, limit: int, timeout_s: float, memory: BodyMemory) -> bytes:
        """Return the request's body, whose values and levels are counted while it arrives.

        Args:
            limit: Most bytes.
            timeout_s: Seconds in which it has to be there.
            memory: Counts what all bodies take.

        Raises:
            RequestError: It is too large, too deep, too slow, or compressed in an unknown way, or other bodies take all
                the memory there is for them.
            ClientGone: It will never be whole.
        """
        announced = self.header(b"content-length")
        if announced.isdecimal() and int(announced) > limit:
            raise _too_large(limit)
        caller = self.payer
        pieces: list[bytes] = []
        size, more, bounds = 0, True, JsonBounds()
        decoder = body_decoder(self.header(b"content-encoding"))
        ends_at = asyncio.get_running_loop().time() + timeout_s
        try:
            while more:
                message = await self._next(timeout_s, ends_at)
                arrived, more = message.get("body", b""), message.get("more_body", False)
                for piece in decoder.feed(arrived, is_last=not more):
                    if size + len(piece) > limit:
                        raise _too_large(limit)
                    memory.take(caller, len(piece))
                    size += len(piece)
                    bounds.feed(piece)
                    pieces.append(piece)
                    if piece is not arrived:
                        await asyncio.sleep(0)  # a few bytes may stand for megabytes
        finally:
            memory.give_back(caller, size)
        return b"".join(pieces)

    async def _next(self, timeout_s: float, ends_at: float) -> Message:
        try:
            async with asyncio.timeout_at(ends_at):
                message = await self.receive()
        except TimeoutError:
            raise RequestError(408, "request_timeout", f"the body was not there within {timeout_s:g} s") from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        return message

    async def send(self, message: Message) -> None:
        """Pass a message of ASGI on, with the server's own headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], (b"x-request-id", self.id.encode()), *self._extra]
        await self._send(message)

    async def reply(
        self, status: int, body: bytes, headers: HeaderList | None = None, *, content_type: bytes = b"application/json"
    ) -> None:
        """Send a whole reply."""
        length = str(len(body)).encode()
        whole = [(b"content-type", content_type), (b"content-length", length), *(headers or ())]
        await self.send({"type": "http.response.start", "status": status, "headers": whole})
        await self._send({"type": "http.response.body", "body": body})

    async def open_stream(self) -> None:
        """Send the headers of a stream of events."""
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})

    async def write(self, piece: bytes) -> None:
        """Send a piece of a stream; waits while the client reads too slowly."""
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        self.wrote_at = asyncio.get_running_loop().time()

    async def end(self, piece: bytes = b"") -> None:
        """Send the last piece of a stream."""
        await self._send({"type": "http.response.body", "body": piece})


def _too_large(limit: int) -> RequestError:
    return RequestError(
        413, "request_too_large", f"the body has more than {limit:,} bytes, the most that this server takes"
    )
