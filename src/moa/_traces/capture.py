"""Hearing what models are asked and what they say, above all policies: what the engine gets to see."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import fields, replace
from typing import Any, Protocol

from moa._engine.plan import Model, Models
from moa._ledger import Attempt, CallRecord
from moa._policies.cache.key import request_digest
from moa._pricing.price import Price
from moa.errors import ProviderError
from moa.providers._base import ModelRequest, Provider, ReplyEvent
from moa.providers._reply_serialization import event_dict


class CaptureSink(Protocol):
    """Where it is written down."""

    def write(self, kind: str, **values: Any) -> None:
        """Write a line."""
        ...

    def attempts(self, call: CallRecord) -> tuple[Attempt, ...]:
        """A call's attempts so far."""
        ...


class CapturedModels:
    """Models whose every reply is written down.

    Args:
        inner: The models.
        listener: Writes it.
    """

    def __init__(self, inner: Models, listener: CaptureSink) -> None:
        self._inner, self._listener = inner, listener

    def model(self, reference: str, price: Price | None) -> Model:
        """Return the model of a reference, listened to.

        Raises:
            ConfigError: Its endpoint is unknown or can't be used.
        """
        model = self._inner.model(reference, price)
        return replace(model, provider=_Listened(model.provider, self._listener))

    async def prices_ready(self) -> None:
        """Wait until prices can be asked without blocking the event loop."""
        await self._inner.prices_ready()


class _Listened:
    """A provider whose replies are written down."""

    def __init__(self, inner: Provider, listener: CaptureSink) -> None:
        self.takes_seed = inner.takes_seed
        self._inner, self._listener = inner, listener

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        call = request.context.call
        assert call is not None, "the engine's calls are in its books"
        self._listener.write("call", call=call.id, **_asked(request, call))
        outcome, error = "cancelled", None
        try:
            async with self._inner.stream(request) as events, aclosing(self._capture(events, call)) as heard:
                yield heard
            outcome = "ok"
        except ProviderError as caught:
            outcome, error = "failed", _error_dict(caught)
            raise
        finally:
            attempts = [attempt.as_dict() for attempt in self._listener.attempts(call)]
            self._listener.write("call_ended", call=call.id, outcome=outcome, error=error, attempts=attempts)

    async def _capture(self, events: AsyncIterator[ReplyEvent], call: CallRecord) -> AsyncGenerator[ReplyEvent]:
        async for event in events:
            self._listener.write("reply", call=call.id, event=event_dict(event))
            yield event

    async def aclose(self) -> None:
        await self._inner.aclose()


def _asked(request: ModelRequest, call: CallRecord) -> dict[str, Any]:
    return {
        "agent": call.agent,
        "model": call.model,
        "purpose": call.purpose,
        "layer": call.layer,
        "sampling": plain(request.sampling),
        "options": plain(request.options),
        "sample": request.context.sample,
        "deltas": request.deltas,
        "asked": request_digest(request),
    }


def _error_dict(error: ProviderError) -> dict[str, Any]:
    return {
        "code": error.code,
        "message": str(error.args[0]),
        "model": error.model,
        "status": error.status,
        "retry_after_s": error.retry_after_s,
    }


def plain(value: Any) -> dict[str, Any]:
    """Return a dataclass's fields by name."""
    return {field.name: getattr(value, field.name) for field in fields(value)}
