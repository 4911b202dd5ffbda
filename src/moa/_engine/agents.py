"""Asking one agent: its own model first, then its fallbacks, each within the agent's time limits."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import ParamSpec

from moa._engine.briefing import Briefing, lay_out
from moa._engine.cache_points import NO_MARKS, marks_for
from moa._engine.plan import AgentSlot, Model, RunPlan
from moa._engine.run_budget import RunBudget
from moa._ledger import Attempt, CallRecord, ErrorInfo, Meter
from moa._messages import ReplyOptions
from moa.errors import CallTimedOut, EmptyReply, ProviderError
from moa.events import CallStarted, Event
from moa.providers._base import ModelRequest, Reply, ReplyEvent, ReplyFold, WholeReply
from moa.providers._call_context import CallContext, Hedging, SampleBatch
from moa.providers._time_limit import TimeLimit

Fields = ParamSpec("Fields")
OnEvent = Callable[[Event], None]
OnReplyEvent = Callable[[ReplyEvent], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """What all parts of one run share: its plan, its ledger, its listener, its end.

    Attributes:
        plan: Which agents are asked, in which order.
        meter: Keeps the run's ledger.
        on_event: Called with every event; None if nobody watches.
        deadline_at: Reading of the meter's clock at which the run's time is over; None for no limit.
        prices_ready: To be awaited before attempts are turned into values with prices.
        budget: What its calls are paid from.
    """

    plan: RunPlan
    meter: Meter
    on_event: OnEvent | None
    deadline_at: float | None
    prices_ready: Callable[[], Awaitable[None]]
    budget: RunBudget = field(default_factory=RunBudget)

    def emit(self, kind: Callable[Fields, Event], *values: Fields.args, **named: Fields.kwargs) -> None:
        """Make an event of a kind and pass it on, if anybody watches."""
        if self.on_event is not None:
            self.on_event(kind(*values, **named))


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRequest:
    """What an agent is asked, the same for its own model and its fallbacks.

    Attributes:
        briefing: What the agent reads.
        batch: The agent's other samples, which are asked for at the same time; None if there are none.
        purpose: `proposal` or `answer`, for the ledger.
        options: What to ask for besides text.
        deltas: Whether the reply is wanted piece by piece.
        replayable: Whether a reply may start again after part of it has arrived.
        on_event: Called with every event of the reply; None if nobody watches.
        check: Takes a reply and its model's reference, raises a `ProviderError` if the reply is of no use.
        until: The clock's reading when the answer is of no use any more.
        may_go_on: Whether another model may still be asked after a failure; None: always.
    """

    briefing: Briefing
    purpose: str
    batch: SampleBatch | None = None
    options: ReplyOptions = field(default_factory=ReplyOptions)
    deltas: bool = False
    replayable: bool = True
    on_event: OnReplyEvent | None = None
    check: Callable[[Reply, str], object] | None = None
    until: float = math.inf
    may_go_on: Callable[[], bool] | None = None


class FallbackChain:
    """The calls of one agent in one run: its model, then its fallbacks until one answers.

    Attributes:
        failures: What went wrong with each model that was asked in vain.
        model: The model that is, or was last, asked.
    """

    def __init__(self, slot: AgentSlot, context: RunContext) -> None:
        self.slot = slot
        self.model = slot.models[0]
        self.failures: list[ProviderError] = []
        self._context = context
        self._calls: list[CallRecord] = []

    async def ask(self, request: AgentRequest) -> Reply:
        """Return the first good reply.

        Raises:
            ProviderError: The last failure; all of them are in `failures`.
        """
        for model in self.slot.models:
            self.model = model
            try:
                return await self._call(model, request)
            except ProviderError as error:
                self.failures.append(error)
                if request.may_go_on is not None and not request.may_go_on():
                    break
        raise self.failures[-1]

    async def _call(self, model: Model, request: AgentRequest) -> Reply:
        slot, meter = self.slot, self._context.meter
        call = meter.open_call(
            agent=slot.name, model=model.reference, purpose=request.purpose, layer=slot.layer, price=model.price
        )
        self._calls.append(call)
        self._context.emit(
            CallStarted,
            layer=slot.layer,
            index=slot.index,
            agent=slot.name,
            model=model.reference,
            fallback=model is not slot.models[0],
        )
        marks = NO_MARKS
        if _may_be_marked(request):
            await self._context.prices_ready()
            has_tools = bool(request.options.tools)
            marks = marks_for(request.briefing.conversation, model.price, has_tools=has_tools)
        limit_s = slot.agent.time_limit_s(model.tier)
        time = TimeLimit(limit_s, now=meter.now, until=request.until)
        model_request = ModelRequest(
            reference=model.reference,
            model=model.id,
            messages=lay_out(request.briefing, marks),
            sampling=slot.sampling,
            options=request.options,
            deltas=request.deltas,
            idle_timeout_s=slot.agent.idle_timeout_s,
            context=CallContext(
                call=call,
                sample=slot.sample,
                cache_scope=self._context.plan.options.cache_scope,
                batch=request.batch if model is slot.models[0] and slot.agent.hedge is None else None,
                replayable=request.replayable,
                time=time,
                tier=slot.agent.tier,
                account=self._context.budget.account(slot),
                hedging=None if slot.agent.hedge is None else Hedging(after_s=slot.agent.hedge.after_s),
            ),
        )
        try:
            async with time:
                return await _read(model, model_request, request)
        except TimeoutError:
            timed_out = CallTimedOut(f"no whole reply within {limit_s:g} s", model=model.reference)
            call.explain(timed_out.info)
            raise timed_out from None
        except ProviderError as error:
            call.explain(error.info)
            raise

    def explain(self, error: ErrorInfo) -> None:
        """Write down why the last call is of no use."""
        if self._calls:
            self._calls[-1].explain(error)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every attempt so far, in the order of starting."""
        started_at = self._context.meter.started_at
        if len(self._calls) == 1:
            return self._calls[0].values(started_at)
        return tuple(attempt for call in self._calls for attempt in call.values(started_at))

    @property
    def ended_at(self) -> float:
        """The clock's reading when the last attempt ended; now, if one is still running or none was made.

        Kept replies count with the time of the call that bought them: what an agent takes doesn't depend on a cache.
        """
        now, last, saved_s = self._context.meter.now(), -math.inf, 0.0
        for call in self._calls:
            for record in call.attempts:
                last = max(last, now if record.ended_at is None else record.ended_at)
                saved_s += record.saved_s
        return (now if last == -math.inf else last) + saved_s


def _may_be_marked(request: AgentRequest) -> bool:
    """Whether anything of a prompt could be worth a mark for its service's prompt cache, whatever the model's price."""
    briefing = request.briefing
    if briefing.layout == "system" and briefing.proposals is not None:
        return False
    return len(briefing.conversation) > 1 or bool(request.options.tools)


async def _read(model: Model, model_request: ModelRequest, request: AgentRequest) -> Reply:
    async with model.provider.stream(model_request) as events:
        fold = ReplyFold()
        if isinstance(events, WholeReply):
            for event in events.events:
                fold.add(event)
                if request.on_event is not None:
                    request.on_event(event)
        else:
            async for event in events:
                fold.add(event)
                if request.on_event is not None:
                    request.on_event(event)
        # Judged inside the block, so that the ledger shows a reply that is of no use as failed.
        reply = fold.reply(model.reference)
        # Proposers are given no tools: a wish to call one is nothing that the next layer could read.
        if reply.is_empty or (request.purpose == "proposal" and not reply.text.strip()):
            raise _empty(reply, model.reference)
        if request.check is not None:
            request.check(reply, model.reference)
    return reply


def _empty(reply: Reply, reference: str) -> EmptyReply:
    if not reply.reasoning:
        return EmptyReply(f"the reply has no content (it ended with {reply.finish.reason!r})", model=reference)
    advice = "raise max_tokens" if reply.finish.reason == "length" else "lower reasoning_effort"
    return EmptyReply(
        f"the reply contains only reasoning ({len(reply.reasoning):,} characters) and no content: {advice}",
        model=reference,
    )
