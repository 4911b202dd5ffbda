"""A run on its way to the client: whole, or as a stream of events."""

from typing import Protocol

from moa._engine.stream import RunStream
from moa._results import Answer
from moa._server.http.disconnect import DisconnectWatcher
from moa._server.http.errors import ErrorResponse
from moa._server.http.exchange import HttpExchange
from moa._server.models import ServedModel
from moa._server.service import ServedRun, Service
from moa.errors import MoaError
from moa.events import Event, RunFinished


class StreamEncoder(Protocol):
    """How one API writes a run as a stream of events; keeps what it has to remember of the stream."""

    keep_alive: bytes
    """What shows that a silent stream lives."""

    def opening(self) -> bytes:
        """What a stream begins with, before anything has happened."""
        ...

    def event(self, event: Event) -> bytes:
        """What the client hears of an event; empty if nothing."""
        ...

    def closing(self) -> bytes:
        """What a stream ends with after `RunFinished`."""
        ...

    def failure(self, failure: ErrorResponse) -> bytes:
        """What the client hears of a failure after the stream has begun."""
        ...


async def stream(
    service: Service, visit: HttpExchange, served: ServedModel, run: RunStream, script: StreamEncoder
) -> None:
    """Write a run as a stream; its headers go out before anything else happens.

    Raises:
        MoaError: The run failed; the guard tells the client in the script's words.
    """
    visit.in_band = script.failure
    await visit.open_stream()
    await visit.write(script.opening())
    watch = DisconnectWatcher(visit, keep_alive=script.keep_alive, every_s=service.options.keep_alive_s)
    async with watch, service.booked(visit, served, run) as booking:
        rest = await _written(visit, run, script, booking)
    await visit.end(rest + script.closing())


async def _written(visit: HttpExchange, run: RunStream, script: StreamEncoder, booking: ServedRun) -> bytes:
    """Write a run's events; return what is left to be written with the end."""
    pieces: list[bytes] = []
    try:
        async for event in run:
            if piece := script.event(event):
                pieces.append(piece)
            if isinstance(event, RunFinished):
                booking.answer = event.answer
            # What is there already goes out together: a system call costs more than writing a hundred events.
            elif pieces and not run.has_more_ready:
                await visit.write(b"".join(pieces))
                pieces.clear()
    except MoaError:
        if pieces:
            await visit.write(b"".join(pieces))
        raise
    return b"".join(pieces)


async def whole(service: Service, visit: HttpExchange, served: ServedModel, run: RunStream) -> Answer:
    """Return a run's answer.

    Raises:
        MoaError: There is none.
    """
    async with DisconnectWatcher(visit), service.booked(visit, served, run) as booking:
        async for event in run:
            if isinstance(event, RunFinished):
                booking.answer = event.answer
    assert booking.answer is not None
    return booking.answer
