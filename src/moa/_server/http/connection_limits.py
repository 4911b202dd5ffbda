"""Connections: uvicorn's HTTP protocol with limits on clients that are slow on purpose."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADERS_WITHIN_S = 10.0
"""Seconds in which a request's headers have to be there."""

MOST_HEADER_BYTES = 64 * 1024
"""Most bytes of a request's line and headers."""

READ_WITHIN_S = 30.0
"""Seconds in which a client has to read what waits for it: about 64 kB, as the transport takes no more."""


class LimitedProtocol(HttpToolsProtocol):
    """Closes connections whose client doesn't send its headers, sends too many, or doesn't read its reply.

    A reply that nobody reads is aborted, which cancels the run behind it.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._headers_timer: asyncio.TimerHandle | None = None
        self._reading_timer: asyncio.TimerHandle | None = None
        self._header_bytes = 0
        self._in_headers = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        self._headers_timer = self.loop.call_later(HEADERS_WITHIN_S, self._abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        _cancel(self._headers_timer)
        _cancel(self._reading_timer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self._in_headers:
            if self._headers_timer is None:
                self._headers_timer = self.loop.call_later(HEADERS_WITHIN_S, self._abort)
            self._header_bytes += len(data)
        super().data_received(data)
        if self._in_headers and self._header_bytes > MOST_HEADER_BYTES:
            self._abort()

    def on_headers_complete(self) -> None:
        """A request's headers are whole."""
        self._in_headers, self._header_bytes = False, 0
        _cancel(self._headers_timer)
        self._headers_timer = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A request is whole; what comes next are the headers of another one."""
        super().on_message_complete()
        self._in_headers = True

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
