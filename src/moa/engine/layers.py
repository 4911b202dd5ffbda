"""Running one layer: all proposers at once, until it may close."""

import asyncio

from moa.engine.agents import Emit, Listener, Question, RunContext, Series
from moa.engine.context import briefed
from moa.engine.plan import Plan, Seat
from moa.engine.waiting import Closed, cancel_all, wait_for_proposals
from moa.errors import Abandoned, DeadlineExceeded, LayerFailed, ProviderError
from moa.events import LayerStarted, ProposalDelta, ProposalFinished, ProposalRestarted
from moa.ledger import ErrorInfo
from moa.messages import Conversation, ReplyOptions
from moa.mixture.schema import Wait
from moa.proposals import LayerResult, Proposal, ProposalStatus
from moa.providers.base import ReasoningDelta, Reply, ReplyEvent, Restarted, TextDelta

_WHY_ABANDONED = {
    "grace": "enough proposals were in and its grace time was over",
    "deadline": "the layer had to close so that the aggregator meets the deadline",
    "hopeless": "the layer can't reach its minimum of proposals any more",
}


async def run_layer(
    context: RunContext,
    seats: tuple[Seat, ...],
    conversation: Conversation,
    prompt: str | None,
    *,
    wait: Wait,
    close_at: float | None,
) -> LayerResult:
    """Ask all proposers of a layer at once and return what came of it.

    Args:
        context: The run.
        seats: The layer's proposers.
        conversation: What the caller said.
        prompt: System text that shows the proposals of the layer before; None in layer 1.
        wait: When the layer may close without all of them.
        close_at: The clock's reading when it has to.

    Raises:
        LayerFailed: Fewer proposals came than needed; carries every cause.
        DeadlineExceeded: So it was when the layer had to close.
    """
    meter = context.meter
    number, started_at = seats[0].layer, meter.now()
    context.emit(LayerStarted(layer=number))
    every = [Series(seat, context) for seat in seats]
    tasks = [asyncio.create_task(_propose(series, context, conversation, prompt, started_at)) for series in every]
    try:
        left_s = None if close_at is None else close_at - started_at
        closed = await wait_for_proposals(tasks, wait, left_s)
        closed_at = max(series.ended_at for series in every) if closed == "all" else meter.now()
    finally:
        await cancel_all([task for task in tasks if not task.done()])
    roster = [
        task.result() if task.done() and not task.cancelled() else await _abandoned(series, context, started_at, closed)
        for task, series in zip(tasks, every, strict=True)
    ]
    got = sum(proposal.status == "used" for proposal in roster)
    _require_enough(context, number, got, every, wait, closed)
    return LayerResult(
        number=number,
        roster=tuple(roster),
        closed_by="all" if closed == "hopeless" else closed,
        started_s=started_at - meter.started_at,
        duration_s=closed_at - started_at,
    )


async def _propose(
    series: Series, context: RunContext, conversation: Conversation, prompt: str | None, started_at: float
) -> Proposal:
    seat, plan = series.seat, context.plan
    deltas = plan.options.proposal_deltas
    question = Question(
        messages=briefed(conversation, seat.agent.role, prompt),
        purpose="proposal",
        options=(proposers_options(plan),),
        deltas=deltas,
        listener=_teller(seat, context.emit) if deltas else None,
    )
    try:
        reply = await series.ask(question)
    except ProviderError as error:
        proposal = await _ended(series, context, started_at, status="failed", error=error.info)
    else:
        proposal = await _ended(series, context, started_at, status="used", reply=reply)
    context.emit(ProposalFinished(proposal=proposal))
    return proposal


async def _ended(
    series: Series,
    context: RunContext,
    started_at: float,
    *,
    status: ProposalStatus,
    reply: Reply | None = None,
    error: ErrorInfo | None = None,
) -> Proposal:
    duration_s = series.ended_at - started_at
    await context.prices_ready()
    return Proposal(
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


async def _abandoned(series: Series, context: RunContext, started_at: float, closed: Closed) -> Proposal:
    error = Abandoned(f"not waited for: {_WHY_ABANDONED[closed]}", model=series.model.reference)
    series.failures.append(error)
    series.explain(error.info)
    proposal = await _ended(series, context, started_at, status="abandoned", error=error.info)
    context.emit(ProposalFinished(proposal=proposal))
    return proposal


def _require_enough(context: RunContext, layer: int, got: int, every: list[Series], wait: Wait, closed: Closed) -> None:
    if got >= wait.min_proposals:
        return
    failures = [series.failures[-1] for series in every if series.failures]
    ledger = context.meter.ledger()
    if closed == "deadline":
        raise DeadlineExceeded(
            f"layer {layer} had {got} of {wait.min_proposals} needed proposals when it had to close",
            ledger=ledger,
            failures=failures,
        )
    raise LayerFailed(layer=layer, needed=wait.min_proposals, got=got, ledger=ledger, failures=failures)


def proposers_options(plan: Plan) -> ReplyOptions:
    """Return what proposers are asked for: under selection their text is the answer, so its format counts."""
    if plan.mixture.aggregation == "selection":
        return ReplyOptions(response_format=plan.options.reply.response_format)
    return ReplyOptions()


def _teller(seat: Seat, emit: Emit) -> Listener:
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
