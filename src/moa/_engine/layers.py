"""Running one layer: all proposers at once, until it may close."""

import asyncio
import math
from collections import Counter
from dataclasses import dataclass

from moa._engine.agents import AgentRequest, FallbackChain, OnEvent, OnReplyEvent, RunContext
from moa._engine.briefing import Briefing
from moa._engine.plan import AgentSlot
from moa._engine.waiting import Closed, cancel_all, wait_for_proposals
from moa._ledger import ErrorInfo
from moa._messages import Conversation
from moa._mixture.schema import Wait
from moa._results import LayerResult, Proposal, ProposalStatus
from moa.errors import Abandoned, DeadlineExceeded, LayerFailed, ProviderError
from moa.events import LayerStarted, ProposalDelta, ProposalFinished, ProposalRestarted
from moa.providers._base import ReasoningDelta, Reply, ReplyEvent, Restarted, TextDelta
from moa.providers._call_context import SampleBatch

_WHY_ABANDONED = {
    "grace": "enough proposals were in and its grace time was over",
    "deadline": "the layer had to close so that the aggregator meets the deadline",
    "hopeless": "the layer can't reach its minimum of proposals any more",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTask:
    """What one layer has to do.

    Attributes:
        context: The run.
        slots: The layer's proposers.
        conversation: What the caller said.
        prompt: The text that shows the proposals of the layer before; None in layer 1.
        wait: When the layer may close without all of them.
        started_at: The clock's reading when the layer began.
        close_at: The clock's reading when it has to close; infinity for never.
    """

    context: RunContext
    slots: tuple[AgentSlot, ...]
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
    context, meter, number = layer.context, layer.context.meter, layer.slots[0].layer
    context.emit(LayerStarted, layer=number)
    chains = [FallbackChain(slot, context) for slot in layer.slots]
    # Who doesn't want to wait for stragglers has them asked one by one.
    sampled = [slot.group for slot in layer.slots if slot.group is not None] if layer.wait.grace_s is None else []
    batches: dict[int | None, SampleBatch] = (
        {group: SampleBatch(size) for group, size in Counter(sampled).items() if size > 1} if sampled else {}
    )
    tasks = [asyncio.create_task(_propose(layer, chain, batches.get(chain.slot.group))) for chain in chains]
    try:
        closed = await wait_for_proposals(tasks, layer.wait, layer.close_at - layer.started_at)
        closed_at = meter.now()
    finally:
        await cancel_all([task for task in tasks if not task.done()])
    roster = [
        task.result() if task.done() and not task.cancelled() else await _abandoned(layer, chain, closed)
        for task, chain in zip(tasks, chains, strict=True)
    ]
    _require_enough(layer, roster, chains, closed)
    return LayerResult(
        number=number,
        roster=tuple(roster),
        closed_by="all" if closed == "hopeless" else closed,
        started_s=layer.started_at - meter.started_at,
        # A proposal out of a cache has taken as long as the call that bought it, and so has its layer.
        duration_s=max(each.duration_s for each in roster) if closed == "all" else closed_at - layer.started_at,
    )


async def _propose(layer: LayerTask, chain: FallbackChain, batch: SampleBatch | None) -> Proposal:
    slot, context = chain.slot, layer.context
    deltas = context.plan.options.proposal_deltas
    request = AgentRequest(
        briefing=Briefing(
            conversation=layer.conversation,
            role=slot.agent.role,
            proposals=layer.prompt,
            layout=context.plan.mixture.prompt_layout,
        ),
        purpose="proposal",
        batch=batch,
        options=context.plan.proposers_options,
        deltas=deltas,
        on_event=_delta_listener(slot, context.on_event) if deltas and context.on_event else None,
        until=layer.close_at,
    )
    try:
        reply = await chain.ask(request)
    except ProviderError:
        return await _finished_proposal(layer, chain, status="failed", error=_cause(chain))
    return await _finished_proposal(layer, chain, status="used", reply=reply)


def _cause(chain: FallbackChain) -> ErrorInfo:
    """Why an agent failed: the code of its own model's failure, and what went wrong with its fallbacks too."""
    message = "; ".join(map(str, chain.failures))
    return ErrorInfo(code=chain.failures[0].code, message=message)


async def _abandoned(layer: LayerTask, chain: FallbackChain, closed: Closed) -> Proposal:
    error = Abandoned(f"not waited for: {_WHY_ABANDONED[closed]}", model=chain.model.reference)
    chain.failures.append(error)
    chain.explain(error.info)
    return await _finished_proposal(layer, chain, status="abandoned", error=error.info)


async def _finished_proposal(
    layer: LayerTask,
    chain: FallbackChain,
    *,
    status: ProposalStatus,
    reply: Reply | None = None,
    error: ErrorInfo | None = None,
) -> Proposal:
    """How a proposer ended; emits the event of it too."""
    duration_s = chain.ended_at - layer.started_at
    await layer.context.prices_ready()
    proposal = Proposal(
        agent=chain.slot.name,
        model=chain.model.reference,
        layer=chain.slot.layer,
        index=chain.slot.index,
        status=status,
        text=reply.text if reply else "",
        reasoning=reply.reasoning if reply else "",
        finish_reason=reply.finish.reason if reply else None,
        attempts=chain.attempts,
        duration_s=duration_s,
        error=error,
    )
    layer.context.emit(ProposalFinished, proposal=proposal)
    return proposal


def _require_enough(layer: LayerTask, roster: list[Proposal], chains: list[FallbackChain], closed: Closed) -> None:
    got, needed = sum(proposal.status == "used" for proposal in roster), layer.wait.min_proposals
    if got >= needed:
        return
    number, ledger = layer.slots[0].layer, layer.context.meter.ledger()
    failures = [failure for chain in chains for failure in chain.failures]
    if closed == "deadline":
        message = f"layer {number} had {got} of {needed} needed proposals when it had to close"
        raise DeadlineExceeded(message, ledger=ledger, failures=failures)
    raise LayerFailed(layer=number, needed=needed, got=got, ledger=ledger, failures=failures)


def _delta_listener(slot: AgentSlot, emit: OnEvent) -> OnReplyEvent:
    layer, index = slot.layer, slot.index

    def on_event(event: ReplyEvent) -> None:
        match event:
            case TextDelta():
                emit(ProposalDelta(layer, index, event.text))
            case ReasoningDelta():
                emit(ProposalDelta(layer, index, event.text, reasoning=True))
            case Restarted():
                emit(ProposalRestarted(layer=layer, index=index))

    return on_event
