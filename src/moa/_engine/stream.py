"""A run as a stream of events."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from moa._engine.agents import OnEvent
from moa._ledger import Ledger, Meter
from moa._results import Answer
from moa.events import AnswerDelta, AnswerToolCallDelta, Event, ProposalDelta

Delta = AnswerDelta | AnswerToolCallDelta | ProposalDelta

BACKLOG = 1000
"""Events that wait for a slow reader before pieces of one text are joined: each piece by itself takes 200 bytes, and a
run with many samples writes hundreds of thousands."""


class _JoinedDeltas:
    """Pieces of one text that became one event, as nobody has read the first of them yet."""

    def __init__(self, first: Delta) -> None:
        self.text = _text_of(first)
        self._first = first
        self._pieces = [_written(first)]
        self._logprobs: list[Mapping[str, Any]] = []

    def add(self, delta: Delta) -> None:
        """Append a piece of the same text."""
        self._pieces.append(_written(delta))
        if isinstance(delta, AnswerDelta):
            self._logprobs.extend(delta.logprobs)
        if len(self._pieces) > BACKLOG:
            self._pieces = ["".join(self._pieces)]

    def event(self) -> Event:
        """Return the event that they became."""
        first, written = self._first, "".join(self._pieces)
        if isinstance(first, AnswerToolCallDelta):
            return replace(first, arguments=written)
        if isinstance(first, AnswerDelta):
            return replace(first, text=written, logprobs=(*first.logprobs, *self._logprobs))
        return replace(first, text=written)


def _written(delta: Delta) -> str:
    return delta.arguments if isinstance(delta, AnswerToolCallDelta) else delta.text


def _text_of(delta: Delta) -> tuple[object, ...]:
    """What is the same for pieces of one text that can be joined."""
    match delta:
        case ProposalDelta():
            return (ProposalDelta, delta.layer, delta.index, delta.reasoning)
        case AnswerDelta():
            return (AnswerDelta, delta.reasoning)
        case AnswerToolCallDelta():
            return (AnswerToolCallDelta, delta.index)


def _writer_of(delta: Delta) -> tuple[int, int]:
    """Whose text it is: a proposer's, by layer and index, or the aggregator's; its pieces stay in their order."""
    return (delta.layer, delta.index) if isinstance(delta, ProposalDelta) else (0, 0)


class RunStream:
    """The events of one run; leaving the block cancels every call that is still running.

    ::

        async with engine.astream(mixture, "Hello") as events:
            async for event in events:
                ...

    The last event is `RunFinished`; a run that fails raises its error from the iteration instead.

    Args:
        run: Runs the mixture, given what to call with each event.
        meter: Keeps the run's ledger.
    """

    def __init__(self, run: Callable[[OnEvent], Awaitable[Answer]], meter: Meter) -> None:
        self._run, self._meter = run, meter
        self._queue: asyncio.Queue[Event | _JoinedDeltas | None] = asyncio.Queue()
        self._joined: dict[tuple[int, int], _JoinedDeltas] = {}
        self._task: asyncio.Task[Answer] | None = None

    @property
    def ledger(self) -> Ledger:
        """What has been used and spent so far; also after the run failed or was cancelled."""
        return self._meter.ledger()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run was asked for."""
        return self._meter.elapsed_s()

    @property
    def has_more_ready(self) -> bool:
        """Whether the next event has arrived: events that are ready can be written out together."""
        return not self._queue.empty()

    async def __aenter__(self) -> Self:
        """Start the run."""
        self._task = asyncio.ensure_future(self._run(self._put))
        self._task.add_done_callback(lambda _: self._queue.put_nowait(None))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel what is still running and wait until it has stopped."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            # Retrieved, so that asyncio doesn't report a failure for which nobody waits.
            self._task.exception()

    def __aiter__(self) -> AsyncIterator[Event]:
        """The events, in the order of happening."""
        return self

    async def __anext__(self) -> Event:
        """The next event."""
        if self._task is None:
            raise RuntimeError("enter the stream first: `async with engine.astream(...) as events`")
        event = await self._queue.get()
        if isinstance(event, _JoinedDeltas):
            # What is read must not grow any more.
            self._joined = {writer: other for writer, other in self._joined.items() if other is not event}
            return event.event()
        if event is not None:
            return event
        self._queue.put_nowait(None)
        self._task.result()
        raise StopAsyncIteration

    def _put(self, event: Event) -> None:
        if self._queue.qsize() < BACKLOG:
            self._queue.put_nowait(event)
            return
        if not isinstance(event, Delta):
            self._joined.clear()  # nothing that comes later may be read before it
            self._queue.put_nowait(event)
            return
        joined = self._joined.get(_writer_of(event))
        begins_call = isinstance(event, AnswerToolCallDelta) and event.id is not None
        if joined is not None and joined.text == _text_of(event) and not begins_call:
            joined.add(event)
        else:
            joined = self._joined[_writer_of(event)] = _JoinedDeltas(event)
            self._queue.put_nowait(joined)
