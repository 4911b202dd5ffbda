"""Connections of clients that ask for another protocol than HTTP/1.1: they are answered all the same.

Java's HttpClient and `curl --http2` send every first request with `Upgrade: h2c`. A server may ignore that (RFC 9110,
7.8), but must read the body. Clients of HTTP/1.0 can't read chunks: what has no length ends when the connection closes.
"""

import sys
from typing import Any

import httptools
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from moa._server.http.connection_limits import LimitedProtocol

_FRAMING = (b"content-length", b"transfer-encoding")


class UntilCloseCycle(RequestResponseCycle):
    """A request of HTTP/1.0 with its reply, which is never chunked."""

    async def send(self, message: ASGISendEvent) -> None:
        """Send a message of ASGI."""
        if message["type"] == "http.response.start":
            if not any(name.lower() == b"content-length" for name, _ in message.get("headers", ())):
                self.chunked_encoding = False
        elif message["type"] == "http.response.body" and not self.chunked_encoding and not self.expected_content_length:
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


class OlderClientsProtocol(LimitedProtocol):
    """Ignores upgrades and reads the bodies of such requests; replies to HTTP/1.0 without chunks."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._data = self._rest = b""
        self._is_resuming = False

    def _feed(self, data: bytes) -> None:
        # Requests in it may each ask for an upgrade.
        self._rest = data
        while self._rest:
            self._data, self._rest = self._rest, b""
            super()._feed(self._data)

    def _unsupported_upgrade_warning(self) -> None:
        """Read on after the headers of a request that asks for an upgrade: the parser takes it for whole.

        A new parser gets the headers that say how long the body is, and then what followed them.
        """
        error = sys.exception()
        assert error is not None, "uvicorn calls this while it handles `HttpParserUpgrade`"
        framing = [name + b": " + value for name, value in self.scope["headers"] if name in _FRAMING]
        self.parser = httptools.HttpRequestParser(self)
        self._is_resuming = True
        self._rest = b"\r\n".join([b"POST / HTTP/1.1", *framing, b"", b""]) + self._data[error.args[0] :]

    def on_message_begin(self) -> None:
        """A request begins."""
        if not self._is_resuming:
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the request's line."""
        if not self._is_resuming:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        if not self._is_resuming:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A request's headers are whole."""
        if self._is_resuming:
            self._is_resuming = False
            return
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0":
            # uvicorn makes the cycle itself; its task has not begun yet.
            self.cycle.__class__ = UntilCloseCycle

    def on_message_complete(self) -> None:
        """A request is whole; one that asks for an upgrade isn't yet."""
        if not self.parser.should_upgrade():
            super().on_message_complete()
