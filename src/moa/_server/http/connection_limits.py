"""Connections: uvicorn's HTTP protocol with limits on clients that are slow on purpose."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from moa._server.http.client_addresses import Network, counted_address, is_in
from moa._server.http.parsing_queue import SLICE_BYTES, HeldFlowControl, ParsingQueue
from moa.providers._descriptors import connection_descriptors

log = logging.getLogger("moa.server.connections")

HEADERS_WITHIN_S = 10.0
"""Seconds in which a request's headers have to be there."""

MOST_HEADER_BYTES = 64 * 1024
"""Most bytes of a request's line and headers."""

MOST_CONNECTIONS = 4096
"""Most clients that are connected at once, whatever the limit of descriptors is."""

MOST_HEADERS = 200
"""Most headers of a request."""

MOST_QUEUED_BYTES = 64 * 1024
MOST_QUEUED_REQUESTS = 16
"""Most bytes and requests that a client may send before it has the reply to the first one (pipelining)."""

REST_WITHIN_S = 1.0
"""Seconds in which the rest of a request has to be there that was answered (mostly: refused) before it was whole."""

READ_WITHIN_S = 30.0
"""Seconds in which a client has to read what waits for it: about 64 kB, as the transport takes no more."""


def most_connections() -> int:
    """Return how many clients may be connected: half of this process's descriptors stay for services."""
    descriptors = connection_descriptors()
    return MOST_CONNECTIONS if descriptors is None else max(1, min(MOST_CONNECTIONS, descriptors // 2))


class ConnectionTable:
    """The open connections of one server process, by address; says which has to go when there are too many.

    Args:
        per_address: Most connections of one address; None: as many as of all.
        trusted: Reverse proxies, whose connections are those of many clients: they are not limited.

    Attributes:
        parsing: Where connections wait whose data is to be parsed in slices.
    """

    def __init__(self, per_address: int | None = None, trusted: Iterable[Network] = ()) -> None:
        self._per_address, self._trusted = per_address, tuple(trusted)
        # In the order of their last activity, so that the idlest one comes first.
        self._connections: dict[str, dict[LimitedProtocol, None]] = {}
        self._has_warned = False
        self.parsing = ParsingQueue()

    def add(self, connection: "LimitedProtocol", count: int) -> None:
        """Take in a new connection; an idle one is closed if there are too many: this one, if all others are at work.

        Args:
            connection: The new one.
            count: Connections of all addresses, this one included.
        """
        same = self._connections.setdefault(connection.address, {})
        same[connection] = None
        if self._per_address is not None and len(same) > self._per_address and not self._is_trusted(connection):
            self._warn(connection.address)
            _abort_idlest([same], connection)
        elif count > most_connections():
            by_size = sorted(self._connections.values(), key=len, reverse=True)
            _abort_idlest(by_size, connection)

    def note_activity(self, connection: "LimitedProtocol") -> None:
        """A connection is the least idle one of its address now."""
        same = self._connections[connection.address]
        same[connection] = same.pop(connection)

    def remove(self, connection: "LimitedProtocol") -> None:
        """A connection has ended."""
        same = self._connections[connection.address]
        del same[connection]
        if not same:
            del self._connections[connection.address]

    def _is_trusted(self, connection: "LimitedProtocol") -> bool:
        return connection.client is not None and is_in(connection.client[0], self._trusted)

    def _warn(self, address: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            log.warning(
                "%s has %s connections, the most that one address may have: its idlest one is closed, now and from now "
                "on. If it is a reverse proxy, name it with --trusted-proxy",
                address,
                self._per_address,
            )


def _abort_idlest(groups: Iterable[Iterable["LimitedProtocol"]], default: "LimitedProtocol") -> None:
    """End the first idle connection of the first group that has one; if none has, the default."""
    idle = (connection for group in groups for connection in group if connection.is_idle)
    next(idle, default).abort()


class LimitedProtocol(HttpToolsProtocol):
    """Closes connections of clients that are slow on purpose, send too many headers, or are too many.

    What arrives in large pieces is parsed in slices, in turn with other connections. Slow are those that don't send
    their headers or the rest of a refused request, or don't read their reply. A reply that nobody reads is aborted,
    which cancels the run behind it.

    Args:
        table: The connections of this process.
        arguments: Uvicorn's.
        named: Uvicorn's.
    """

    def __init__(self, *arguments: Any, table: ConnectionTable, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._table = table
        self._headers_timer: asyncio.TimerHandle | None = None
        self._reading_timer: asyncio.TimerHandle | None = None
        self._rest_timer: asyncio.TimerHandle | None = None
        self._arrived, self._parsed_until = b"", 0
        self._unparsed_bytes = self._header_count = self._header_bytes = self._queued_bytes = 0
        self._in_headers = True
        self._running: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected; if there are too many, one that waits for nothing has to go."""
        super().connection_made(transport)
        self.flow: HeldFlowControl = HeldFlowControl(transport)
        self.address = counted_address(self.client[0]) if self.client else ""
        self._headers_timer = self.loop.call_later(HEADERS_WITHIN_S, self.abort)
        self._table.add(self, len(self.connections))

    @property
    def is_idle(self) -> bool:
        """Whether no request of the connection is being answered, or none is whole yet."""
        return self._running is None or self._running.response_complete or self._running.more_body

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
        self._table.remove(self)
        if self._running is not None:
            # Uvicorn tells the newest request only, which may still wait for the one that is being answered.
            self._running.disconnected = not self._running.response_complete
            self._running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""
        self._table.note_activity(self)
        # An empty line may follow a request (RFC 9112, 2.2): a run isn't given up because nothing comes after it.
        if self._in_headers and self._headers_timer is None and self.is_idle:
            self._headers_timer = self.loop.call_later(HEADERS_WITHIN_S, self.abort)
        if len(data) <= SLICE_BYTES and not self._arrived:
            self._parse(data)
            return
        self._arrived, self._parsed_until = self._arrived[self._parsed_until :] + data, 0
        self.flow.hold_reading()
        self._table.parsing.add(self)

    def parse_slice(self) -> bool:
        """Parse some of what has arrived; return whether there is more."""
        begin, end = self._parsed_until, self._parsed_until + SLICE_BYTES
        if not self.transport.is_closing():
            self._parsed_until = end
            self._parse(self._arrived[begin:end])
        if end < len(self._arrived) and not self.transport.is_closing():
            return True
        self._arrived, self._parsed_until = b"", 0
        self.flow.release_reading()
        return False

    def _parse(self, data: bytes) -> None:
        self._queued_bytes = self._queued_bytes + len(data) if self.pipeline else 0
        self._unparsed_bytes += len(data)
        self._feed(data)
        # What is not yet a whole header or trailer, and what stands behind the length of a chunk, is with the parser,
        # which has no limit.
        if max(self._unparsed_bytes - MOST_HEADER_BYTES, self._queued_bytes - MOST_QUEUED_BYTES) > 0:
            self.abort()
        elif self.pipeline and not self.transport.is_closing():
            # Uvicorn would read on after the present reply only, and not see that the client has gone until then.
            self.flow.resume_reading()

    def _feed(self, data: bytes) -> None:
        super().data_received(data)

    def on_body(self, body: bytes) -> None:
        """A piece of a request's body."""
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_message_begin(self) -> None:
        """A request begins."""
        if len(self.pipeline) >= MOST_QUEUED_REQUESTS:
            self.abort()
        super().on_message_begin()
        self._header_count = self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A part of the request's line."""
        self._count_header(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or one trailer: those stand behind the body, and no proxy in front may have looked at them."""
        self._header_count += 1
        self._count_header(len(name) + len(value))
        if self._in_headers:
            super().on_header(name, value)

    def _count_header(self, size: int) -> None:
        self._unparsed_bytes = 0
        self._header_bytes += size
        if self._header_bytes > MOST_HEADER_BYTES or self._header_count > MOST_HEADERS:
            raise ValueError("too many headers")  # the parser stops, and uvicorn answers 400 and closes

    def on_headers_complete(self) -> None:
        """A request's headers are whole."""
        self._in_headers, self._unparsed_bytes = False, 0
        _cancel(self._headers_timer)
        self._headers_timer = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A request is whole; what follows are the headers of the next one."""
        super().on_message_complete()
        self._in_headers, self._unparsed_bytes = True, 0
        _cancel(self._rest_timer)

    def on_response_complete(self) -> None:
        """A reply is out; if it didn't wait for the whole request, its rest may still arrive, but not for long."""
        is_whole = self._running is None or not self._running.more_body
        super().on_response_complete()
        if not is_whole:
            self._rest_timer = self.loop.call_later(REST_WITHIN_S, self.abort)

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        super().pause_writing()
        self._reading_timer = self.loop.call_later(READ_WITHIN_S, self.abort)

    def resume_writing(self) -> None:
        """The client has caught up."""
        _cancel(self._reading_timer)
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing was asked for a while; what the client hasn't read by now, it won't read."""
        self.abort()

    def abort(self) -> None:
        """End the connection at once."""
        self.transport.abort()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
