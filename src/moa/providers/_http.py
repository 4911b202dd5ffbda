"""The one HTTP transport: aiohttp sessions that are kept open, and their faults as our errors."""

import asyncio
import errno
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from io import BytesIO
from types import TracebackType
from typing import IO, Protocol

import aiohttp
from aiohttp.http import HttpProcessingError
from yarl import URL

from moa.errors import BrokenReply, ConfigError, ConnectionFailed, IdleTimedOut, OutOfDescriptors, ProviderError
from moa.providers._descriptors import connection_descriptors, descriptor_limit
from moa.providers._http_writing import READ_BUFFER, RequestHead, is_interim

CONNECT_TIMEOUT_S = 30.0
"""Seconds to connect, TLS included; long enough for a thousand runs that begin at once on a busy machine."""

STALE_WITHIN_S = 1.0
"""Seconds after sending in which a kept connection that breaks counts as one that the server had closed before."""

DRAIN_S = 0.1
"""Seconds that the end of a body may take after a stream's last event: a kept connection isn't worth a longer wait."""

DESCRIPTORS_WITHIN_S = 60.0
"""Seconds to wait for a free file descriptor, while other connections of this process end."""

DESCRIPTOR_PAUSE_S = 0.05
"""Seconds between two looks whether there is one."""

LARGE_BODY_BYTES = 256 * 1024
"""Size from which a request's body is sent in pieces: in one, it would be copied first, with the headers before it."""

MOST_HEADS = 64
"""Addresses whose beginning of a request is kept."""

MAX_BODY_BYTES = 64 * 1024 * 1024
"""Most bytes that we take of one reply; no model writes that much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A request, POST unless another method is given.

    `reference` names the model in errors; `idle_timeout_s` bounds silence inside a streamed body; `max_bytes` bounds
    the response.
    """

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | IO[bytes] | aiohttp.FormData | None = field(repr=False)
    reference: str
    idle_timeout_s: float | None = None
    method: str = "POST"
    max_bytes: int = MAX_BODY_BYTES


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


async def drain(chunks: AsyncIterator[bytes]) -> None:
    """Read the end of a body, mostly there already: a connection is used again only if its end was seen."""
    # The reply is whole: however its connection ends, it stays so.
    with suppress(TimeoutError, ProviderError):
        async with asyncio.timeout(DRAIN_S):
            async for _ in chunks:
                pass


class HttpTransport:
    """Sends requests over connections that stay open; one for each endpoint, used in one event loop.

    Args:
        limit: Most connections at once; None for as many as this process may have descriptors (aiohttp's own default of
            100 would throttle unseen). What is beyond waits for its turn.
        proxy: Address of an HTTP proxy.
        ca_bundle: PEM file with further certificate authorities.

    Raises:
        ConfigError: The proxy has no http(s) address, or the PEM file can't be read.
    """

    def __init__(self, *, limit: int | None = None, proxy: str | None = None, ca_bundle: str | None = None) -> None:
        self._limit, self._proxy = limit or 0, _proxy(proxy)
        self._ssl = _ssl_context(ca_bundle)
        self._session: aiohttp.ClientSession | None = None
        self._heads: dict[URL, RequestHead] = {}

    def __call__(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        """Send a request and give its response; leaving the block early closes the connection.

        Servers close connections that are idle, and a request may just then be on its way over one. aiohttp does not
        send a POST twice, and neither is it done here, where no ledger would see it: the error's `ask_again` is set.

        Raises:
            ConnectionFailed: No response began.
            OutOfDescriptors: This process has no file descriptor to spare, and got none for a minute.
            BrokenReply: What came is no HTTP; the body broke off or is too large.
            IdleTimedOut: The body stayed silent for too long.
        """
        return _Exchange(self, request)

    async def send(self, request: HttpRequest) -> "_Response":
        """Send a request; what comes back has to be closed. Raises as the call does, except for what the body does."""
        session, sent_at = self._open_session(), time.perf_counter()
        # Built in advance and told to be `encoded`: parsing the address again costs more than sending the request.
        url = URL(request.url, encoded=True)
        connecting = _Connecting()
        try:
            body = request.body
            if self._proxy is None and isinstance(body, bytes) and len(body) < LARGE_BODY_BYTES:
                head = self._head(request, url)
                with connecting:
                    connection = await head.connect(session)
                try:
                    protocol = head.write(connection, body)
                    message, content = await protocol.read()
                    while is_interim(message):
                        message, content = await protocol.read()
                except HttpProcessingError as error:
                    connection.close()
                    raise head.broken(error) from error
                except BaseException:
                    connection.close()
                    raise
                return _Response(message.code, message.headers, content, connection.release, request)
            with connecting:
                response = await session.request(
                    request.method,
                    url,
                    data=BytesIO(body) if isinstance(body, bytes) else body,
                    headers=request.headers,
                    proxy=self._proxy,
                    allow_redirects=False,
                )
            return _Response(response.status, response.headers, response.content, response.release, request)
        except aiohttp.ClientResponseError as error:
            raise _no_http(error, url, request.reference) from None  # its text holds the whole address: maybe a key
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if connecting.found_no_descriptor:
                raise OutOfDescriptors(
                    f"this process has used up its {descriptor_limit()} file descriptors: raise the limit "
                    "(`ulimit -n`), or run less at once",
                    model=request.reference,
                ) from None
            failed = ConnectionFailed(_reason(error, url), model=request.reference)
            hung_up = _hung_up(error)
            failed.ask_again = hung_up and not connecting.begun and time.perf_counter() - sent_at < STALE_WITHIN_S
            # A server that closes an established connection may have read the request, and may charge for it.
            failed.maybe_billed = hung_up and not failed.ask_again
            raise failed from None

    def _head(self, request: HttpRequest, url: URL) -> RequestHead:
        head = self._heads.get(url)
        if head is None or head.headers is not request.headers or head.method != request.method:
            if len(self._heads) >= MOST_HEADS:
                self._heads.clear()
            head = self._heads[url] = RequestHead(request.method, url, request.headers)
        return head

    def _open_session(self) -> aiohttp.ClientSession:
        # Opened on first use, as aiohttp ties a session to the running loop.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._limit or connection_descriptors() or 0,
                    ssl=self._ssl,
                    ttl_dns_cache=300,
                    socket_factory=_open_socket,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
                read_bufsize=READ_BUFFER,
            )
        return self._session

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
            self._heads.clear()


class _Connecting:
    """Whether a request had to open a connection of its own, or could go over a kept one; entered to find out."""

    __slots__ = ("_token", "begun", "found_no_descriptor")

    def __init__(self) -> None:
        self.begun = self.found_no_descriptor = False

    def __enter__(self) -> None:
        self._token = _connecting.set(self)

    def __exit__(self, *raised: object) -> None:
        _connecting.reset(self._token)
        del self._token


_connecting: ContextVar[_Connecting] = ContextVar("connecting")
"""The request on whose behalf aiohttp opens a socket. Its tracing would tell too, for a sixth of the request's cost."""


def _open_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    connecting = _connecting.get()
    connecting.begun = True
    family, kind, protocol, _, _ = address
    try:
        opened = socket.socket(family, kind, protocol)
    except OSError as error:
        connecting.found_no_descriptor = error.errno in (errno.EMFILE, errno.ENFILE)
        raise
    # The system gives the lowest free number, so that it tells how many are in use.
    most = connection_descriptors()
    if most is not None and opened.fileno() >= most:
        opened.close()
        connecting.found_no_descriptor = True
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return opened


class _Exchange:
    """A request and its response. A class in place of a generator: every call passes here."""

    __slots__ = ("_reply", "_request", "_transport")

    def __init__(self, transport: HttpTransport, request: HttpRequest) -> None:
        self._transport, self._request = transport, request

    async def __aenter__(self) -> HttpResponse:
        give_up_at: float | None = None
        while True:
            try:
                self._reply = await self._transport.send(self._request)
            except OutOfDescriptors:
                # Nothing was sent, and it is no fault of the service: wait while others give back what they hold.
                give_up_at = give_up_at or time.monotonic() + DESCRIPTORS_WITHIN_S
                if time.monotonic() >= give_up_at:
                    raise
            else:
                return self._reply
            await asyncio.sleep(DESCRIPTOR_PAUSE_S)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reply.leave()


class _Response:
    """A reply of aiohttp's. It is its own iterator over the body's pieces: no generator that could be left behind.

    Args:
        release: Keeps the connection if the whole body was read, else closes it.
    """

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        content: aiohttp.StreamReader,
        release: Callable[[], object],
        request: HttpRequest,
    ) -> None:
        self.status, self.headers = status, headers
        self._content, self._release, self._request = content, release, request
        self._seen = 0
        self._loop = asyncio.get_running_loop()
        self._waiting_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def read(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > self._request.max_bytes:
            raise self._too_large()
        return b"".join([chunk async for chunk in self.chunks()])

    def chunks(self) -> AsyncIterator[bytes]:
        if self._timer is None and self._request.idle_timeout_s is not None:
            self._watch(self._request.idle_timeout_s)
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        self._waiting_since = self._loop.time()
        try:
            chunk = await self._content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise BrokenReply(f"the reply broke off: {words_of(error)}", model=self._request.reference) from error
        finally:
            self._waiting_since = None
        if not chunk:
            raise StopAsyncIteration
        self._seen += len(chunk)
        if self._seen > self._request.max_bytes:
            raise self._too_large()
        return chunk

    def _watch(self, idle_s: float, silent_s: float = 0.0) -> None:
        # One timer looks again and again: a timeout for each piece would cost as much as decoding the piece.
        self._timer = self._loop.call_later(idle_s - silent_s, self._look, idle_s)

    def _look(self, idle_s: float) -> None:
        # Only time spent waiting for the server counts: while nobody reads, it may well be held up by us.
        silent_s = 0.0 if self._waiting_since is None else self._loop.time() - self._waiting_since
        if silent_s < idle_s:
            self._watch(idle_s, silent_s)
        else:
            self._content.set_exception(IdleTimedOut(f"silent for {idle_s:g} s", model=self._request.reference))

    def leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._release()

    def _too_large(self) -> BrokenReply:
        return BrokenReply(f"the reply is larger than {self._request.max_bytes:,} bytes", model=self._request.reference)


def _proxy(address: str | None) -> str | None:
    if address is not None and not address.startswith(("http://", "https://")):
        raise ConfigError("the proxy's address must start with http:// or https://", key="proxy")
    return address


def _ssl_context(ca_bundle: str | None) -> ssl.SSLContext | bool:
    if ca_bundle is None:
        return True
    try:
        context = ssl.create_default_context()
        context.load_verify_locations(cafile=ca_bundle)
    except OSError as error:
        raise ConfigError(f"the certificates in {ca_bundle} can't be read: {error}", key="ca_bundle") from error
    return context


def _no_http(error: aiohttp.ClientResponseError, url: URL, reference: str) -> ProviderError:
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return ConnectionFailed(f"the proxy answered HTTP {error.status}: {words_of(error)}", model=reference)
    return BrokenReply(f"the reply of {url.host}:{url.port} is not HTTP: {words_of(error)}", model=reference)


def _hung_up(error: Exception) -> bool:
    """Whether a connection that was there has broken."""
    broken = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
    return broken and not isinstance(error, aiohttp.ClientConnectorError)


def _reason(error: Exception, url: URL) -> str:
    # The address is shown without its path and query: they may hold keys.
    place = f"{url.scheme}://{url.host}:{url.port}"
    if isinstance(error, TimeoutError):
        return f"no connection to {place} within {CONNECT_TIMEOUT_S:g} s"
    return f"no reply from {place}: {words_of(error)}"


def words_of(error: Exception) -> str:
    """Return what a failed exchange says of itself, without addresses and without a library's own words."""
    cause = error
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
    match cause:
        case aiohttp.ClientPayloadError() if "not completed" in str(cause):
            text = "the connection was closed before its end"  # aiohttp words it as a status 400
        case ssl.SSLCertVerificationError(verify_message=str(reason)):
            text = f"its certificate is not trusted: {reason}"
        case ssl.SSLError(reason=str(reason)):
            text = f"TLS failed: {reason.replace('_', ' ').lower()}"
        case socket.gaierror(strerror=str(reason)):
            text = reason.lower()
        case OSError(errno=int(number)):
            text = os.strerror(number).lower()
        case aiohttp.ClientResponseError(message=text):
            pass
        case _:
            text = str(cause)
    return " ".join(text.split()) or type(error).__name__
