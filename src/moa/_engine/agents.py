"""Asking one agent: its own model first, then its fallbacks, each within the agent's time limits."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from moa._engine.briefing import Briefing, lay_out
from moa._engine.plan import AgentSlot, Model, Plan
from moa._ledger import Attempt, CallRecord, ErrorInfo, Meter
from moa._messages import ReplyOptions
from moa._policies.budget import Budget
from moa.errors import BadRequest, CallTimedOut, ContextTooLong, EmptyReply, ProviderError, UnusableReply
from moa.events import CallStarted, Event
from moa.providers._base import ModelRequest, Reply, ReplyEvent, ReplyFold
from moa.providers._call_context import Account, CallContext, Hedging
from moa.providers._time_limit import TimeLimit

Emit = Callable[[Event], None]
Listener = Callable[[ReplyEvent], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """What all parts of one run share: its plan, its books, its listener, its end.

    Attributes:
        emit: Hears what happens; None if nobody watches.
        deadline_at: Reading of the meter's clock at which the run's time is over; None for no limit.
        prices_ready: To be awaited before attempts are turned into values with prices.
        budget: The run's own budget, None if it has none.
        account: What its calls are paid from, None if nobody set a budget.
    """

    plan: Plan
    meter: Meter
    emit: Emit | None
    deadline_at: float | None
    prices_ready: Callable[[], Awaitable[None]]
    budget: Budget | None = None
    account: Account | None = None

    def tell(self, event: Callable[[], Event]) -> None:
        """Make an event and pass it on, if anybody watches."""
        if self.emit is not None:
            self.emit(event())


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRequest:
    """What an agent is asked, the same for its own model and its fallbacks.

    Attributes:
        briefing: What the agent reads.
        purpose: `proposal` or `answer`, for the ledger.
        options: What to ask for, in the order of preference: the next is tried if a service turns one
            down, or its reply is unusable.
        deltas: Whether the reply is wanted piece by piece.
        replayable: Whether a reply may begin anew after part of it has come.
        listener: Hears the reply's events.
        check: Takes a reply and its model's reference, raises a `ProviderError` if the reply is of no use.
        until: The clock's reading when the answer is of no use any more.
        may_go_on: Whether another model may still be asked after a failure; None: always.
    """

    briefing: Briefing
    purpose: str
    options: tuple[ReplyOptions, ...] = (ReplyOptions(),)
    deltas: bool = False
    replayable: bool = True
    listener: Listener | None = None
    check: Callable[[Reply, str], object] | None = None
    until: float = math.inf
    may_go_on: Callable[[], bool] | None = None


class FallbackChain:
    """The calls of one agent in one run: its model, then its fallbacks until one answers.

    Attributes:
        failures: What went wrong with each model that was asked in vain.
        model: The model that is, or was last, asked.
    """

    def __init__(self, seat: AgentSlot, context: RunContext) -> None:
        self.seat = seat
        self.model = seat.models[0]
        self.failures: list[ProviderError] = []
        self._context = context
        self._calls: list[CallRecord] = []

    async def ask(self, question: AgentRequest) -> Reply:
        """Return the first good reply.

        Raises:
            ProviderError: The last failure; all of them are in `failures`.
        """
        for model in self.seat.models:
            self.model = model
            try:
                return await self._ask_model(model, question)
            except ProviderError as error:
                self.failures.append(error)
                if question.may_go_on is not None and not question.may_go_on():
                    break
        raise self.failures[-1]

    async def _ask_model(self, model: Model, question: AgentRequest) -> Reply:
        *preferred, last = question.options
        for options in preferred:
            try:
                return await self._call(model, question, options)
            except ContextTooLong:
                raise
            except (BadRequest, UnusableReply) as error:
                self.failures.append(error)
        return await self._call(model, question, last)

    async def _call(self, model: Model, question: AgentRequest, options: ReplyOptions) -> Reply:
        seat, meter = self.seat, self._context.meter
        call = meter.open_call(
            agent=seat.name, model=model.reference, purpose=question.purpose, layer=seat.layer, price=model.price
        )
        self._calls.append(call)
        self._context.tell(
            lambda: CallStarted(
                layer=seat.layer,
                index=seat.index,
                agent=seat.name,
                model=model.reference,
                fallback=model is not seat.models[0],
            )
        )
        time = TimeLimit(seat.agent.timeout_s, now=meter.now, until=question.until)
        request = ModelRequest(
            reference=model.reference,
            model=model.id,
            messages=lay_out(question.briefing),
            sampling=seat.sampling,
            options=options,
            deltas=question.deltas,
            idle_timeout_s=seat.agent.idle_timeout_s,
            context=CallContext(
                call=call,
                sample=seat.sample,
                replayable=question.replayable,
                time=time,
                account=self._context.account,
                hedging=None if seat.agent.hedge is None else Hedging(after_s=seat.agent.hedge.after_s),
            ),
        )
        try:
            async with time:
                return await _read(model, request, question)
        except TimeoutError:
            timed_out = CallTimedOut(f"no whole reply within {seat.agent.timeout_s:g} s", model=model.reference)
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
        return tuple(attempt for call in self._calls for attempt in call.values(started_at))

    @property
    def ended_at(self) -> float:
        """The clock's reading when the last attempt ended; now, if one is still running or none was made."""
        now = self._context.meter.now()
        ends = (record.ended_at for call in self._calls for record in call.attempts)
        return max((now if end is None else end for end in ends), default=now)


async def _read(model: Model, request: ModelRequest, question: AgentRequest) -> Reply:
    fold = ReplyFold()
    async with model.provider.stream(request) as events:
        async for event in events:
            fold.add(event)
            if question.listener is not None:
                question.listener(event)
        # Judged inside the block, so that the ledger hears of a reply that is of no use.
        reply = fold.reply(model.reference)
        # Proposers are given no tools: a wish to call one is nothing that the next layer could read.
        if reply.is_empty or (question.purpose == "proposal" and not reply.text.strip()):
            raise _empty(reply, model.reference)
        if question.check is not None:
            question.check(reply, model.reference)
    return reply


def _empty(reply: Reply, reference: str) -> EmptyReply:
    if not reply.reasoning:
        return EmptyReply(f"the reply has no content (it ended with {reply.finish.reason!r})", model=reference)
    cure = "raise max_tokens" if reply.finish.reason == "length" else "lower reasoning_effort"
    return EmptyReply(
        f"the reply holds only reasoning ({len(reply.reasoning):,} characters) and no content: {cure}",
        model=reference,
    )
