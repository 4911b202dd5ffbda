"""A run on its way to the client: whole, or as a stream of events."""

from moa._engine.stream import RunStream
from moa._results import Answer
from moa._server.api.conversations import Conversations
from moa._server.api.request import ApiRequest
from moa._server.api.stream_encoder import StreamEncoder
from moa._server.api.usage import moa_field
from moa._server.http.disconnect import cancelled_on_disconnect
from moa._server.http.exchange import HttpExchange
from moa._server.http.held_stream import HeldStream
from moa._server.models import ServedModel
from moa._server.service import ServedRun, Service
from moa.errors import MoaError
from moa.events import RunFinished


async def stream_reply(
    service: Service,
    exchange: HttpExchange,
    request: ApiRequest,
    served: ServedModel,
    run: RunStream,
    encoder: StreamEncoder,
) -> None:
    """Write a run as a stream; its headers wait for the first piece, or for a second.

    Raises:
        MoaError: The run failed; the middleware writes it to the client by way of the encoder.
    """
    exchange.encode_error = encoder.failure
    async with HeldStream(exchange, encoder.opening(), hold_s=service.options.hold_headers_s) as stream:
        watcher = cancelled_on_disconnect(
            exchange, stream.write, keep_alive=encoder.keep_alive, every_s=service.options.keep_alive_s
        )
        async with watcher, service.recorded(exchange, served, run) as served_run:
            rest = await _write_events(stream, run, encoder, served_run)
        answer = served_run.answer
        assert answer is not None
        moa = moa_field(request, answer, show_details=service.options.shows_error_details)
        closing = encoder.closing(answer, moa)
        # Before the end is sent: the client's next request may come at once.
        await conversations_of(service, exchange).put(encoder.stored(answer))
        await stream.end(rest + closing)


def conversations_of(service: Service, exchange: HttpExchange) -> Conversations:
    """Return what a caller's requests may refer to."""
    return Conversations(service.store, exchange.caller.account)


async def _write_events(stream: HeldStream, run: RunStream, encoder: StreamEncoder, served_run: ServedRun) -> bytes:
    """Write a run's events; return what is left to be written with the end."""
    pieces: list[bytes] = []
    try:
        async for event in run:
            if piece := encoder.event(event):
                pieces.append(piece)
            if isinstance(event, RunFinished):
                served_run.answer = event.answer
            # What is there already goes out together: a system call costs more than writing a hundred events.
            elif pieces and not run.has_more_ready:
                await stream.write(b"".join(pieces))
                pieces.clear()
    except MoaError:
        if pieces:
            await stream.write(b"".join(pieces))
        raise
    return b"".join(pieces)


async def collect_answer(service: Service, exchange: HttpExchange, served: ServedModel, run: RunStream) -> Answer:
    """Return a run's answer.

    Raises:
        MoaError: There is none.
    """
    async with cancelled_on_disconnect(exchange), service.recorded(exchange, served, run) as served_run:
        async for event in run:
            if isinstance(event, RunFinished):
                served_run.answer = event.answer
    assert served_run.answer is not None
    return served_run.answer
