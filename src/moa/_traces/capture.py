"""Records what models are asked and what they reply, above all policies: what the engine gets to see."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Literal, Protocol

from moa._engine.plan import Model, Models
from moa._ledger import Attempt, CallRecord
from moa._policies.cache.key import request_digest
from moa._pricing.price import Price
from moa._traces.lines import CallEndedLine, CallLine, Line, RecordedError, ReplyLine
from moa.errors import ProviderError
from moa.providers._base import ModelRequest, Provider, ReplyEvent, WrappedProvider


class CaptureSink(Protocol):
    """Receives what is captured."""

    def write(self, line: Line) -> None:
        """Write a line."""
        ...

    def elapsed_s(self) -> float:
        """Seconds since the run's start."""
        ...

    def attempts(self, call: CallRecord) -> tuple[Attempt, ...]:
        """A call's attempts so far."""
        ...


class CapturedModels:
    """Models whose every reply is recorded.

    Args:
        inner: The models.
        sink: Receives their calls and replies.
    """

    def __init__(self, inner: Models, sink: CaptureSink) -> None:
        self._inner, self._sink = inner, sink

    def model(self, reference: str, price: Price | None) -> Model:
        """Return the model of a reference, with its replies recorded.

        Raises:
            ConfigError: Its endpoint is unknown or can't be used.
        """
        model = self._inner.model(reference, price)
        return replace(model, provider=_CapturedProvider(model.provider, self._sink))

    async def prices_ready(self) -> None:
        """Wait until prices can be asked without blocking the event loop."""
        await self._inner.prices_ready()


class _CapturedProvider(WrappedProvider):
    """A provider whose replies are recorded."""

    def __init__(self, inner: Provider, sink: CaptureSink) -> None:
        super().__init__(inner)
        self._sink = sink

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        call = request.context.call
        assert call is not None, "the engine's calls are in its ledger"
        self._sink.write(_call_line(request, call, self._sink.elapsed_s()))
        outcome: Literal["ok", "failed", "cancelled"] = "cancelled"
        error = None
        try:
            async with self.inner.stream(request) as events, aclosing(self._capture(events, call)) as captured:
                yield captured
            outcome = "ok"
        except ProviderError as caught:
            outcome, error = "failed", _recorded_error(caught)
            raise
        finally:
            self._sink.write(
                CallEndedLine(
                    at_s=self._sink.elapsed_s(),
                    call=call.id,
                    outcome=outcome,
                    error=error,
                    attempts=self._sink.attempts(call),
                )
            )

    async def _capture(self, events: AsyncIterator[ReplyEvent], call: CallRecord) -> AsyncGenerator[ReplyEvent]:
        async for event in events:
            self._sink.write(ReplyLine(at_s=self._sink.elapsed_s(), call=call.id, event=event))
            yield event


def _call_line(request: ModelRequest, call: CallRecord, at_s: float) -> CallLine:
    return CallLine(
        at_s=at_s,
        call=call.id,
        agent=call.agent,
        model=call.model,
        purpose=call.purpose,
        layer=call.layer,
        sampling=request.sampling,
        options=request.options,
        sample=request.context.sample,
        deltas=request.deltas,
        asked=request_digest(request),
    )


def _recorded_error(error: ProviderError) -> RecordedError:
    return RecordedError(
        code=error.code,
        message=str(error.args[0]),
        model=error.model,
        status=error.status,
        retry_after_s=error.retry_after_s,
    )
