"""The one HTTP transport: aiohttp sessions that are kept open, and their faults as our errors."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import aiohttp
from yarl import URL

from moa.errors import BrokenReply, ConfigError, ConnectionFailed, IdleTimedOut

CONNECT_TIMEOUT_S = 10.0
"""Seconds to connect, TLS included; a host that doesn't answer by then is down."""

MAX_BODY_BYTES = 64 * 1024 * 1024
"""Most bytes that we take of one reply; no model writes that much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A POST request. `reference` names the model in errors; `idle_timeout_s` bounds silence inside a streamed body."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    reference: str
    idle_timeout_s: float | None = None


class HttpResponse(Protocol):
    """A reply whose status and headers are in; its body is read once, whole or in pieces."""

    status: int
    headers: Mapping[str, str]

    async def read(self) -> bytes:
        """Return the whole body."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Give the body as it comes, broken anywhere."""
        ...


Transport = Callable[[HttpRequest], AbstractAsyncContextManager[HttpResponse]]
"""What a provider sends requests with; tests pass a function in place of `HttpTransport`."""


class HttpTransport:
    """Sends requests over connections that stay open; one for each endpoint, used in one event loop.

    Args:
        limit: Most connections at once; None for no limit (aiohttp's own default of 100 would throttle unseen).
        proxy: Address of an HTTP proxy.
        ca_bundle: PEM file with further certificate authorities.

    Raises:
        ConfigError: The PEM file can't be read.
    """

    def __init__(self, *, limit: int | None = None, proxy: str | None = None, ca_bundle: str | None = None) -> None:
        self._limit, self._proxy = limit or 0, proxy
        self._ssl = _ssl_context(ca_bundle)
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def __call__(self, request: HttpRequest) -> AsyncIterator[HttpResponse]:
        """Send a request and give its response; leaving the block early closes the connection.

        Raises:
            ConnectionFailed: No response began.
            BrokenReply: The body broke off or is too large.
            IdleTimedOut: The body stayed silent for too long.
        """
        # Built in advance and told to be `encoded`: parsing the address anew costs more than sending the request.
        url = URL(request.url, encoded=True)
        try:
            response = await self._open_session().post(
                url, data=request.body, headers=request.headers, proxy=self._proxy, allow_redirects=False
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ConnectionFailed(_reason(error, url), model=request.reference) from error
        async with response:
            yield _Response(response, request)

    def _open_session(self) -> aiohttp.ClientSession:
        # Opened on first use, as aiohttp ties a session to the running loop.
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._limit, ssl=self._ssl, ttl_dns_cache=300)
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
                read_bufsize=2**18,
            )
        return self._session

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


class _Response:
    def __init__(self, response: aiohttp.ClientResponse, request: HttpRequest) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response, self._request = response, request

    async def read(self) -> bytes:
        if (self._response.content_length or 0) > MAX_BODY_BYTES:
            raise self._too_large()
        return b"".join([chunk async for chunk in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        idle_s, seen = self._request.idle_timeout_s, 0
        while True:
            try:
                async with asyncio.timeout(idle_s):
                    chunk = await self._response.content.readany()
            except TimeoutError as error:
                raise IdleTimedOut(f"silent for {idle_s:g} s", model=self._request.reference) from error
            except (aiohttp.ClientError, OSError) as error:
                raise BrokenReply(f"the reply broke off: {error}", model=self._request.reference) from error
            if not chunk:
                return
            seen += len(chunk)
            if seen > MAX_BODY_BYTES:
                raise self._too_large()
            yield chunk

    def _too_large(self) -> BrokenReply:
        return BrokenReply(f"the reply is larger than {MAX_BODY_BYTES:,} bytes", model=self._request.reference)


def _ssl_context(ca_bundle: str | None) -> ssl.SSLContext | bool:
    if ca_bundle is None:
        return True
    try:
        context = ssl.create_default_context()
        context.load_verify_locations(cafile=ca_bundle)
    except OSError as error:
        raise ConfigError(f"the certificates in {ca_bundle} can't be read: {error}", key="ca_bundle") from error
    return context


def _reason(error: Exception, url: URL) -> str:
    # The address is shown without its path and query: they may hold keys.
    place = f"{url.scheme}://{url.host}:{url.port}"
    if isinstance(error, TimeoutError):
        return f"no connection to {place} within {CONNECT_TIMEOUT_S:g} s"
    return f"no reply from {place}: {error or type(error).__name__}"
