"""What all of the server's handlers share, and how a run is opened and recorded."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar
from weakref import WeakValueDictionary

from opentelemetry.trace import Tracer

from moa._engine.stream import RunStream
from moa._results import Answer
from moa._runtime.engine import Engine
from moa._server.api.request import ApiRequest
from moa._server.http.errors import RequestError
from moa._server.http.exchange import BodyMemory, HttpExchange
from moa._server.inflight import InflightLimiter
from moa._server.metrics import ServerMetrics
from moa._server.models import ServedModel, ServedModels, without_layers
from moa._server.options import ServerOptions
from moa._server.otel import trace_run
from moa._state.store import StateStore
from moa.errors import MoaError
from moa.providers._service_tier import dearer_tier

T = TypeVar("T")

INLINE_BYTES = 16_384
"""Largest body that is parsed in the event loop itself: a thread costs more than parsing a small one."""


@dataclass(slots=True)
class ServedRun:
    """How a run ends: its answer, or why there is none."""

    answer: Answer | None = None
    status: str = "cancelled"


class Turns:
    """Work in a thread, one piece at a time; callers take turns, however much each of them asks for."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._caller_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self, caller: str, work: Callable[[], T]) -> T:
        """Return what some work gives: of each caller's, one piece waits with those of other callers."""
        own = self._caller_locks.get(caller)
        if own is None:
            own = self._caller_locks[caller] = asyncio.Lock()
        async with own, self._lock:
            return await asyncio.to_thread(work)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What the handlers share."""

    engine: Engine
    options: ServerOptions
    models: ServedModels
    inflight: InflightLimiter
    metrics: ServerMetrics
    tracer: Tracer | None
    store: StateStore
    bodies: BodyMemory
    running: BodyMemory
    turns: Turns = field(default_factory=Turns)

    async def body(self, exchange: HttpExchange) -> bytes:
        """Return a request's body, within the bounds that the server has for it.

        Raises:
            RequestError: It is too large, too deep or too slow.
            ClientGone: It will never be whole.
        """
        return await exchange.body(self.options.max_body_bytes, self.options.body_timeout_s, self.bodies)

    async def in_turn(self, exchange: HttpExchange, size: int, work: Callable[[], T]) -> T:
        """Return what some work over so many bytes gives: small work at once, larger in a thread, in turn."""
        return work() if size <= INLINE_BYTES else await self.turns.run(exchange.payer, work)

    async def resolve(self, exchange: HttpExchange, request: ApiRequest) -> ServedModel:
        """Return what a request asks for, with the request's own changes.

        Raises:
            RequestError: There is no such model.
            MixtureError: The changed mixture can't be used.
        """
        served = self.models.get(request.model)
        if changes := request.moa.mixture:
            mixture = await self.in_turn(
                exchange, INLINE_BYTES + 1, lambda: self.models.with_overrides(served, changes)
            )
            served = replace(served, mixture=mixture)
        return served

    @contextmanager
    def run_memory(self, exchange: HttpExchange, request: ApiRequest, served: ServedModel) -> Iterator[None]:
        """Hold the memory of a run: its body, and what is written of it for each call at once.

        Raises:
            RequestError: It takes more than one caller's runs may, or than there is now.
        """
        calls = served.mixture.most_calls_at_once
        size = request.size_bytes * (1 + calls)
        if size > self.running.caller_bytes:
            message = (
                f"the request's {request.size_bytes:,} bytes go to {calls} models at once, and take {size:,} bytes of "
                f"memory; a request may take {self.running.caller_bytes:,}: send less, or ask fewer models"
            )
            raise RequestError(413, "request_too_large", message)
        self.running.take(exchange.payer, size)
        try:
            yield
        finally:
            self.running.give_back(exchange.payer, size)

    def open_run(self, exchange: HttpExchange, request: ApiRequest, served: ServedModel) -> RunStream:
        """Return the run that a request asks for, not yet begun.

        Raises:
            RequestError: It may cost more than a budget would know.
            MoaError: It can't be run.
        """
        mixture = without_layers(served.mixture) if request.moa.bypass else served.mixture
        owners = self.models.mixtures.get(served.label, mixture)
        deadlines = [limit for limit in (owners.deadline_s, request.moa.deadline_s) if limit is not None]
        budgets = [float(limit) for limit in (owners.budget_usd, request.moa.budget_usd) if limit is not None]
        has_budget = budgets or exchange.caller.budget or self.engine.budget
        if has_budget and dearer_tier(request.tier):
            message = "service_tier: under a budget it may be auto, default or flex: others cost more"
            raise RequestError(400, "invalid_request", message, param="service_tier")
        if request.tier is not None:
            mixture = mixture.in_tier(request.tier)
        return self.engine.astream(
            mixture,
            request.messages,
            proposal_deltas=request.stream and request.moa.proposals == "reasoning",
            answer_deltas=request.stream,
            seed=request.seed,
            # What a request changes can't take away the limits that the owner has set.
            deadline_s=min(deadlines, default=None),
            budget_usd=min(budgets, default=None),
            shared_budget=exchange.caller.budget,
            owner=exchange.caller.name,
            options=request.options,
            sampling=request.sampling,
        )

    @asynccontextmanager
    async def recorded(self, exchange: HttpExchange, served: ServedModel, run: RunStream) -> AsyncIterator[ServedRun]:
        """Run, and record how it ended, however it ends, in metrics, log and trace."""
        served_run = ServedRun()
        try:
            async with run:
                yield served_run
        except MoaError as error:
            served_run.status = error.code
            raise
        finally:
            answer, seconds = served_run.answer, run.elapsed_s
            status = answer.status if answer else served_run.status
            ledger = answer.ledger if answer else run.ledger
            first_s = answer.latency.first_token_s if answer else None
            self.metrics.note_run(served.label, status, ledger, seconds=seconds, first_token_s=first_s)
            exchange.log_fields |= {"mixture": served.label, "run": status}
            if self.tracer is not None:
                carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in exchange.headers.items()}
                trace_run(
                    self.tracer,
                    mixture=served.label,
                    status=status,
                    ledger=ledger,
                    seconds=seconds,
                    carrier=carrier,
                    request_id=exchange.id,
                )
