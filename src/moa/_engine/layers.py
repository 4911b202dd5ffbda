"""Running one layer: all proposers at once, until it may close."""

import asyncio
import math
from dataclasses import dataclass

from moa._engine.agents import AgentRequest, Emit, FallbackChain, Listener, RunContext
from moa._engine.briefing import Briefing
from moa._engine.plan import AgentSlot, Plan
from moa._engine.waiting import Closed, cancel_all, wait_for_proposals
from moa._ledger import ErrorInfo
from moa._messages import Conversation, ReplyOptions
from moa._mixture.schema import Wait
from moa._results import LayerResult, Proposal, ProposalStatus
from moa.errors import Abandoned, DeadlineExceeded, LayerFailed, ProviderError
from moa.events import LayerStarted, ProposalDelta, ProposalFinished, ProposalRestarted
from moa.providers._base import ReasoningDelta, Reply, ReplyEvent, Restarted, TextDelta

_WHY_ABANDONED = {
    "grace": "enough proposals were in and its grace time was over",
    "deadline": "the layer had to close so that the aggregator meets the deadline",
    "hopeless": "the layer can't reach its minimum of proposals any more",
}

_PLAIN = ReplyOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTask:
    """What one layer has to do.

    Attributes:
        context: The run.
        seats: The layer's proposers.
        conversation: What the caller said.
        prompt: System text that shows the proposals of the layer before; None in layer 1.
        wait: When the layer may close without all of them.
        started_at: The clock's reading when the layer began.
        close_at: The clock's reading when it has to close; infinity for never.
    """

    context: RunContext
    seats: tuple[AgentSlot, ...]
    conversation: Conversation
    prompt: str | None
    wait: Wait
    started_at: float
    close_at: float = math.inf


async def run_layer(layer: LayerTask) -> LayerResult:
    """Ask all proposers of a layer at once and return what came of it.

    Raises:
        LayerFailed: Fewer proposals came than needed; carries every cause.
        DeadlineExceeded: So it was when the layer had to close.
    """
    context, meter, number = layer.context, layer.context.meter, layer.seats[0].layer
    context.tell(lambda: LayerStarted(layer=number))
    every = [FallbackChain(seat, context) for seat in layer.seats]
    tasks = [asyncio.create_task(_propose(layer, series)) for series in every]
    try:
        closed = await wait_for_proposals(tasks, layer.wait, layer.close_at - layer.started_at)
        closed_at = max(series.ended_at for series in every) if closed == "all" else meter.now()
    finally:
        await cancel_all([task for task in tasks if not task.done()])
    roster = [
        task.result() if task.done() and not task.cancelled() else await _abandoned(layer, series, closed)
        for task, series in zip(tasks, every, strict=True)
    ]
    _require_enough(layer, roster, every, closed)
    return LayerResult(
        number=number,
        roster=tuple(roster),
        closed_by="all" if closed == "hopeless" else closed,
        started_s=layer.started_at - meter.started_at,
        duration_s=closed_at - layer.started_at,
    )


async def _propose(layer: LayerTask, series: FallbackChain) -> Proposal:
    seat, context = series.seat, layer.context
    deltas = context.plan.options.proposal_deltas
    question = AgentRequest(
        briefing=Briefing(conversation=layer.conversation, role=seat.agent.role, proposals=layer.prompt),
        purpose="proposal",
        options=(proposers_options(context.plan),),
        deltas=deltas,
        listener=_delta_listener(seat, context.emit) if deltas and context.emit else None,
        until=layer.close_at,
    )
    try:
        reply = await series.ask(question)
    except ProviderError:
        return await _finished_proposal(layer, series, status="failed", error=_cause(series))
    return await _finished_proposal(layer, series, status="used", reply=reply)


def _cause(series: FallbackChain) -> ErrorInfo:
    """Why an agent failed: the code of its own model's failure, and what went wrong with its fallbacks too."""
    message = "; ".join(map(str, series.failures))
    return ErrorInfo(code=series.failures[0].code, message=message)


async def _abandoned(layer: LayerTask, series: FallbackChain, closed: Closed) -> Proposal:
    error = Abandoned(f"not waited for: {_WHY_ABANDONED[closed]}", model=series.model.reference)
    series.failures.append(error)
    series.explain(error.info)
    return await _finished_proposal(layer, series, status="abandoned", error=error.info)


async def _finished_proposal(
    layer: LayerTask,
    series: FallbackChain,
    *,
    status: ProposalStatus,
    reply: Reply | None = None,
    error: ErrorInfo | None = None,
) -> Proposal:
    """How a proposer ended, told to whoever listens."""
    duration_s = series.ended_at - layer.started_at
    await layer.context.prices_ready()
    proposal = Proposal(
        agent=series.seat.name,
        model=series.model.reference,
        layer=series.seat.layer,
        index=series.seat.index,
        status=status,
        text=reply.text if reply else "",
        reasoning=reply.reasoning if reply else "",
        finish_reason=reply.finish.reason if reply else None,
        attempts=series.attempts,
        duration_s=duration_s,
        error=error,
    )
    layer.context.tell(lambda: ProposalFinished(proposal=proposal))
    return proposal


def _require_enough(layer: LayerTask, roster: list[Proposal], every: list[FallbackChain], closed: Closed) -> None:
    got, needed = sum(proposal.status == "used" for proposal in roster), layer.wait.min_proposals
    if got >= needed:
        return
    number, ledger = layer.seats[0].layer, layer.context.meter.ledger()
    failures = [failure for series in every for failure in series.failures]
    if closed == "deadline":
        message = f"layer {number} had {got} of {needed} needed proposals when it had to close"
        raise DeadlineExceeded(message, ledger=ledger, failures=failures)
    raise LayerFailed(layer=number, needed=needed, got=got, ledger=ledger, failures=failures)


def proposers_options(plan: Plan) -> ReplyOptions:
    """Return what proposers are asked for: under selection their text is the answer, so its format counts."""
    if plan.mixture.aggregation == "selection":
        return ReplyOptions(response_format=plan.options.reply.response_format)
    return _PLAIN


def _delta_listener(seat: AgentSlot, emit: Emit) -> Listener:
    layer, index = seat.layer, seat.index

    def tell(event: ReplyEvent) -> None:
        match event:
            case TextDelta():
                emit(ProposalDelta(layer, index, event.text))
            case ReasoningDelta():
                emit(ProposalDelta(layer, index, event.text, reasoning=True))
            case Restarted():
                emit(ProposalRestarted(layer=layer, index=index))

    return tell
