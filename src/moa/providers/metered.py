"""The innermost wrapper of every provider: writes each attempt into the ledger, whatever becomes of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from moa.errors import ProviderError
from moa.ledger import AttemptRecord, CallRecord, ErrorInfo
from moa.providers.base import Finish, ModelRequest, Provider, ReplyEvent, ReplyFold
from moa.providers.estimates import estimated_input_tokens, estimated_tokens
from moa.usage import TokenUsage


class Metered:
    """A provider that reports each of its attempts to the request's call record.

    Usage that the service reports is written down as reported. A reply that was cut off (cancelled, timed out, broken)
    may have been billed all the same: its prompt and what had come of it are written down as estimated.
    """

    def __init__(self, inner: Provider) -> None:
        self.takes_seed = inner.takes_seed
        self._inner = inner

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        """Open a reply and keep its books."""
        call = request.call
        if call is None:
            async with self._inner.stream(request) as events:
                yield events
            return
        record = call.start(asked_at=request.asked_at, hedge=request.hedge)
        watched = _Watched(record, call, timed=request.deltas)
        try:
            async with self._inner.stream(request) as events:
                watched.inner = events
                yield watched
        except ProviderError as error:
            record.status, record.error = "failed", error.info
            _close(record, call, request, watched.fold, maybe_billed=error.maybe_billed)
            raise
        except BaseException as error:
            record.status, record.error = "cancelled", _interruption(error)
            raise
        else:
            record.status = "ok" if watched.fold.finish else "cancelled"
        finally:
            if record.ended_at is None:
                _close(record, call, request, watched.fold, maybe_billed=True)

    async def aclose(self) -> None:
        """Close the wrapped provider."""
        await self._inner.aclose()


class _Watched:
    """The reply's events on their way through: notes the first token (of a reply that came whole: none) and the end."""

    def __init__(self, record: AttemptRecord, call: CallRecord, *, timed: bool) -> None:
        self.fold = ReplyFold()
        self.inner: AsyncIterator[ReplyEvent]
        self._record, self._call, self._timed = record, call, timed

    def __aiter__(self) -> AsyncIterator[ReplyEvent]:
        return self

    async def __anext__(self) -> ReplyEvent:
        event = await anext(self.inner)
        record = self._record
        if isinstance(event, Finish):
            record.finish_reason, record.served_by = event.reason, event.served_by
        elif self._timed and record.first_token_at is None:
            record.first_token_at = self._call.now()
        self.fold.add(event)
        return event


def _interruption(error: BaseException) -> ErrorInfo:
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return ErrorInfo(code="cancelled", message="the call was cancelled")
    return ErrorInfo(code="interrupted", message=f"the call was left because of {type(error).__name__}")


def _close(
    record: AttemptRecord, call: CallRecord, request: ModelRequest, fold: ReplyFold, *, maybe_billed: bool
) -> None:
    record.ended_at = call.now()
    if fold.finish and fold.finish.usage:
        record.usage, record.usage_source = fold.finish.usage, "reported"
    elif maybe_billed or fold.written:
        record.usage, record.usage_source = _estimate(request, fold), "estimated"


def _estimate(request: ModelRequest, fold: ReplyFold) -> TokenUsage:
    return TokenUsage(input_tokens=estimated_input_tokens(request), output_tokens=estimated_tokens(fold.written))
