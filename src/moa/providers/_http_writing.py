"""Small requests, written over aiohttp's connections by ourselves.

aiohttp opens and keeps the connections, and its parser reads the replies. What its session makes of every request
beside that is never used for a call of a model (cookies, redirects, traces, a task that writes the body, an object for
the request and one for the response), and is more than half of what a call costs.
"""

import asyncio
from collections.abc import Mapping

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, RawResponseMessage
from yarl import URL

READ_BUFFER = 2**18
"""Bytes of a body that wait to be read before its connection is told to pause."""

_OF_THE_BODY = frozenset({"Content-Length", "Transfer-Encoding"})


class RequestHead:
    """What all requests to one address with the same headers begin with.

    Args:
        method: The HTTP method.
        url: The address.
        headers: Headers beside those that aiohttp adds to every request.

    Raises:
        ValueError: A header contains a line break.
    """

    def __init__(self, method: str, url: URL, headers: Mapping[str, str]) -> None:
        self.method, self.url, self.headers = method, url, headers
        self._request = aiohttp.ClientRequest(method, url, headers=headers, loop=asyncio.get_running_loop())
        lines = [f"{method} {url.raw_path_qs} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self._request.headers.items() if name not in _OF_THE_BODY]
        if any(not {"\r", "\n", "\0"}.isdisjoint(line) for line in lines):
            raise ValueError("a header contains a line break")
        self._text = "\r\n".join((*lines, "Content-Length: ")).encode()

    async def connect(self, session: aiohttp.ClientSession) -> Connection:
        """Return a connection to the address, kept or new. Raises what aiohttp does."""
        assert session.connector is not None
        return await session.connector.connect(self._request, [], session.timeout)

    def write(self, connection: Connection, body: bytes) -> ResponseHandler:
        """Write a request with a body, and return what reads its reply.

        Raises:
            aiohttp.ServerDisconnectedError: The connection was closed meanwhile.
        """
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None or transport.is_closing():
            raise aiohttp.ServerDisconnectedError
        protocol.set_response_params(read_until_eof=True, read_bufsize=READ_BUFFER)
        transport.write(b"%s%d\r\n\r\n%s" % (self._text, len(body), body))
        return protocol

    def broken(self, error: HttpProcessingError) -> aiohttp.ClientResponseError:
        """Return the error for a reply that is not HTTP."""
        return aiohttp.ClientResponseError(
            self._request.request_info, (), status=error.code, message=error.message, headers=error.headers
        )


def is_interim(message: RawResponseMessage) -> bool:
    """Return whether a response only says that another one will follow."""
    return 100 <= message.code < 200 and message.code != 101
