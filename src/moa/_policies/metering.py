"""The innermost wrapper of every provider: writes each attempt into the ledger, whatever becomes of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from types import TracebackType

from moa._ledger import AttemptRecord, CallRecord, ErrorInfo
from moa._usage import TokenUsage
from moa.errors import MoaError, ProviderError, ProviderFault
from moa.providers._base import (
    Finish,
    ModelRequest,
    Provider,
    ReasoningDelta,
    ReplyEvent,
    ReplyStream,
    TextDelta,
    ToolCallDelta,
    WholeReply,
    WrappedProvider,
)
from moa.providers._token_estimates import BYTES_PER_TOKEN, estimated_input_tokens, size_bytes, tokens_of

LEAST_CUT_TOKENS = 1000
"""Tokens that must be missing of a prompt before it counts as cut off: the estimate of small ones is rough."""

MOST_READ_OF_CUT = 0.5
"""The largest part of a prompt, by its estimated tokens, that a service reports of one that it has cut off. Prose and
code have a token for every three to five characters."""


OnEnd = Callable[[ModelRequest, AttemptRecord], None]


class Metered(WrappedProvider):
    """A provider that reports each of its attempts to the request's call record.

    Usage that the service reports is written down as reported. A reply that was cut off (cancelled, timed out, broken)
    may have been billed all the same: its prompt and what had come of it are written down as estimated; of a reply of
    which nothing had come, the most that it can have been (`max_tokens`), as an upper bound.

    A request that met a kept connection just as the server closed it is sent once more, as a further attempt.

    Args:
        inner: The provider.
        cached: Its replies come from our own cache and are charged nothing.
        on_end: Is called with the request and the record of each attempt that has ended.
    """

    def __init__(self, inner: Provider, *, cached: bool = False, on_end: OnEnd | None = None) -> None:
        super().__init__(inner)
        self._cached, self._on_end = cached, on_end

    def stream(self, request: ModelRequest) -> ReplyStream:
        """Open a reply and record its attempt in the ledger."""
        return _Metering(self.inner, request, cached=self._cached, on_end=self._on_end)


def _fault(error: Exception, reference: str) -> ProviderError:
    if isinstance(error, ProviderError):
        return error
    if isinstance(error, MoaError):
        return ProviderFault(str(error), model=reference)
    return ProviderFault(f"a bug in its provider: {type(error).__name__}: {error}", model=reference)


def _unread(request: ModelRequest) -> CallRecord:
    """Return a record that is not part of any ledger."""
    return CallRecord(
        id=0, agent="", model=request.reference, purpose="", layer=0, price=lambda usage: None, now=time.perf_counter
    )


class _Metering:
    """One call's attempts, on entering: mostly one. A class in place of a generator: every call passes here."""

    __slots__ = ("_cached", "_call", "_inner", "_on_end", "_provider", "_request", "_watched")

    def __init__(self, provider: Provider, request: ModelRequest, *, cached: bool, on_end: OnEnd | None) -> None:
        self._provider, self._request, self._cached, self._on_end = provider, request, cached, on_end
        self._call = request.context.call or _unread(request)

    async def __aenter__(self) -> AsyncIterator[ReplyEvent]:
        request, is_first = self._request, True
        while True:
            self._watched = watched = self._begin(request.context.asked_at if is_first else None)
            try:
                self._inner = self._provider.stream(request)
                events = await self._inner.__aenter__()
            except ProviderError as error:
                self._end(error)
                # A kept connection is found closed once; if the next one is too, it isn't its age that is to blame.
                if not (is_first and error.ask_again):
                    raise
                is_first = False
            except Exception as error:
                # Providers may come from other packages. This is the door through which their bugs come in: here each
                # of them becomes the failure of one call, or it would take the whole run down.
                fault = _fault(error, self._request.reference)
                self._end(fault)
                raise fault from error
            except BaseException as stopped:
                self._end(stopped)
                raise
            else:
                if isinstance(events, WholeReply):
                    for event in events.events:
                        watched.see(event)
                    return events
                watched.inner = events
                return watched

    def _begin(self, asked_at: float | None) -> "_Watched":
        request, call = self._request, self._call
        record = call.start(asked_at=asked_at, hedge=request.context.hedge, cached=self._cached)
        record.dropped = request.context.dropped
        return _Watched(record, call, request)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._inner.__aexit__(kind, error, trace)
        except Exception as failed:
            ours = failed if failed is error else _fault(failed, self._request.reference)
            self._end(ours)
            raise ours from failed.__cause__
        except BaseException as stopped:
            self._end(stopped)
            raise
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        """Write down how the attempt ended, however it ended."""
        _note_end(self._watched, self._request, self._call, error)
        if (on_attempt_end := self._request.context.on_attempt_end) is not None:
            on_attempt_end(self._watched.record)
        if self._on_end is not None:
            self._on_end(self._request, self._watched.record)


def _note_end(watched: "_Watched", request: ModelRequest, call: CallRecord, error: BaseException | None) -> None:
    """Write down how an attempt ended, however it ended."""
    record, failed = watched.record, error if isinstance(error, ProviderError) else None
    if failed is not None:
        record.status, record.error = "failed", failed.info
    elif error is not None:
        record.status, record.error = "cancelled", _interruption(error)
    else:
        record.status = "ok" if watched.finish else "cancelled"
    record.ended_at = call.now()
    reported = (watched.finish and watched.finish.usage) or (failed and failed.usage)
    if reported:
        record.usage, record.usage_source = reported, "reported"
    elif failed is None or failed.maybe_billed or watched.written_bytes:
        record.usage_source = "estimated"
        record.usage = TokenUsage(
            input_tokens=estimated_input_tokens(request), output_tokens=tokens_of(watched.written_bytes)
        )
        longest = request.sampling.max_tokens
        is_unseen = not request.deltas or not watched.written_bytes
        if record.status != "ok" and is_unseen and longest is not None:
            # Nothing is seen of a reply that comes whole until it is there, nor of thoughts that a service keeps to
            # itself: it may be as long as it was allowed to be.
            record.usage, record.usage_source = replace(record.usage, output_tokens=longest), "upper_bound"


class _Watched:
    """The reply's events on their way through: notes the first token (of a reply that came whole: none) and the end."""

    def __init__(self, record: AttemptRecord, call: CallRecord, request: ModelRequest) -> None:
        self.finish: Finish | None = None
        self.written_bytes = 0
        self.record = record
        self.inner: AsyncIterator[ReplyEvent] | None = None
        self._call, self._request, self._timed = call, request, request.deltas

    def __aiter__(self) -> AsyncIterator[ReplyEvent]:
        return self

    async def __anext__(self) -> ReplyEvent:
        if self.inner is None:
            raise StopAsyncIteration
        try:
            event = await anext(self.inner)
        except (ProviderError, StopAsyncIteration):
            raise
        except Exception as error:
            raise _fault(error, self._call.model) from error
        self.see(event)
        return event

    def see(self, event: ReplyEvent) -> None:
        """Write down what an event tells."""
        record = self.record
        if isinstance(event, Finish):
            self.finish = event
            record.finish_reason, record.served_by = event.reason, event.served_by
            record.notes = (*event.notes, *_notes_on_prompt(self._request, event))
            return
        if self._timed and record.first_token_at is None:
            record.first_token_at = self._call.now()
        self.written_bytes += _written_bytes(event)


def _notes_on_prompt(request: ModelRequest, finish: Finish) -> tuple[ErrorInfo, ...]:
    """What is wrong if a service has read far less than was sent: a window that cuts prompts says nothing of it."""
    if finish.usage is None or not finish.usage.input_tokens:
        return ()
    read = finish.usage.input_tokens
    sent = sum(len(message.text) for message in request.messages) // BYTES_PER_TOKEN
    if sent - read < LEAST_CUT_TOKENS or read > sent * MOST_READ_OF_CUT:
        return ()
    message = (
        f"the service reports a prompt of {read:,} tokens, but about {sent:,} were sent: its context window may have "
        "cut the prompt (Ollama: raise num_ctx or OLLAMA_CONTEXT_LENGTH)"
    )
    return (ErrorInfo(code="input_truncated", message=message),)


def _interruption(error: BaseException) -> ErrorInfo:
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return ErrorInfo(code="cancelled", message="the call was cancelled")
    return ErrorInfo(code="interrupted", message=f"the call was left because of {type(error).__name__}")


def _written_bytes(event: ReplyEvent) -> int:
    match event:
        case TextDelta() | ReasoningDelta():
            return size_bytes(event.text)
        case ToolCallDelta():
            return size_bytes((event.name or "") + event.arguments)
    return 0
