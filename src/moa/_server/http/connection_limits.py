"""Connections: uvicorn's HTTP protocol with limits on clients that are slow on purpose."""

import asyncio
from collections import Counter
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from moa.providers._descriptors import connection_descriptors

HEADERS_WITHIN_S = 10.0
"""Seconds in which a request's headers have to be there."""

MOST_HEADER_BYTES = 64 * 1024
"""Most bytes of a request's line and headers."""

MOST_CONNECTIONS = 4096
"""Most clients that are connected at once, whatever the limit of descriptors is."""

MOST_HEADERS = 200
"""Most headers of a request."""

REST_WITHIN_S = 1.0
"""Seconds in which the rest of a request has to be there that was answered (mostly: refused) before it was whole."""

READ_WITHIN_S = 30.0
"""Seconds in which a client has to read what waits for it: about 64 kB, as the transport takes no more."""


def most_connections() -> int:
    """Return how many clients may be connected: half of this process's descriptors stay for services."""
    descriptors = connection_descriptors()
    return MOST_CONNECTIONS if descriptors is None else max(1, min(MOST_CONNECTIONS, descriptors // 2))


class LimitedProtocol(HttpToolsProtocol):
    """Closes connections of clients that are slow on purpose, send too many headers, or are too many.

    Slow are those that don't send their headers or the rest of a refused request, or don't read their reply. A reply
    that nobody reads is aborted, which cancels the run behind it.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._headers_timer: asyncio.TimerHandle | None = None
        self._reading_timer: asyncio.TimerHandle | None = None
        self._rest_timer: asyncio.TimerHandle | None = None
        self._header_bytes = self._header_count = self._whole_header_bytes = 0
        self._in_headers = True
        self._active_at = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected; if there are too many, one that waits for nothing has to go."""
        super().connection_made(transport)
        self._headers_timer = self.loop.call_later(HEADERS_WITHIN_S, self._abort)
        if len(self.connections) > most_connections():
            self._make_room()

    def _make_room(self) -> None:
        """Close the idlest connection of the address that has most of them; this one, if all others are at work."""
        idle = [each for each in self.connections if isinstance(each, LimitedProtocol) and each.is_idle]
        of_address = Counter(each.address for each in idle)
        min(idle, key=lambda each: (-of_address[each.address], each._active_at))._abort()

    @property
    def address(self) -> str:
        """Where the client is."""
        return self.client[0] if self.client else ""

    @property
    def is_idle(self) -> bool:
        """Whether no request of the connection is being answered, or none is whole yet."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def shutdown(self) -> None:
        """The server stops: a request that isn't even whole is not waited for."""
        if self.is_idle:
            self.transport.close()
        else:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has disconnected."""
        for timer in (self._headers_timer, self._reading_timer, self._rest_timer):
            _cancel(timer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""
        self._active_at = self.loop.time()
        if self._in_headers:
            if self._headers_timer is None:
                self._headers_timer = self.loop.call_later(HEADERS_WITHIN_S, self._abort)
            self._header_bytes += len(data)
        super().data_received(data)
        # What is not even one whole header is with the parser, which has no limit.
        if self._in_headers and self._header_bytes > MOST_HEADER_BYTES:
            self._abort()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._header_count = self._whole_header_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A part of the request's line."""
        self._count_header(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._header_count += 1
        self._count_header(len(name) + len(value))
        super().on_header(name, value)

    def _count_header(self, size: int) -> None:
        self._whole_header_bytes += size
        if self._whole_header_bytes > MOST_HEADER_BYTES or self._header_count > MOST_HEADERS:
            raise ValueError("too many headers")  # the parser stops, and uvicorn answers 400 and closes

    def on_headers_complete(self) -> None:
        """A request's headers are whole."""
        self._in_headers, self._header_bytes = False, 0
        _cancel(self._headers_timer)
        self._headers_timer = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A request is whole; what follows are the headers of the next one."""
        super().on_message_complete()
        self._in_headers = True
        _cancel(self._rest_timer)

    def on_response_complete(self) -> None:
        """A reply is out; if it didn't wait for the whole request, its rest may still arrive, but not for long."""
        super().on_response_complete()
        if not self._in_headers:
            self._rest_timer = self.loop.call_later(REST_WITHIN_S, self._abort)

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        super().pause_writing()
        self._reading_timer = self.loop.call_later(READ_WITHIN_S, self._abort)

    def resume_writing(self) -> None:
        """The client has caught up."""
        _cancel(self._reading_timer)
        super().resume_writing()

    def _abort(self) -> None:
        self.transport.abort()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
