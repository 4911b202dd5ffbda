"""The last step: one answer out of the proposals, by synthesis or selection, or by the best that is left."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from moa._engine.agents import AgentRequest, FallbackChain, RunContext
from moa._engine.briefing import Briefing
from moa._engine.selection import choice_format, chosen
from moa._ledger import Attempt, ErrorInfo
from moa._messages import Conversation, ReplyOptions, ServiceState, ToolCall
from moa._results import Degradation, Proposal
from moa.errors import AggregationFailed, AnswerInterrupted, DeadlineExceeded, EngineError, ProviderError
from moa.events import AnswerDelta, AnswerToolCallDelta
from moa.providers._base import ReasoningDelta, Reply, ReplyEvent, TextDelta, ToolCallDelta


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregationResult:
    """The answer's text with what is known of it; `duration_s` in seconds, from asking to the aggregator's end."""

    text: str
    finish_reason: str
    agent: str
    model: str
    duration_s: float
    attempts: tuple[Attempt, ...]
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    state: ServiceState | None = None
    stop_sequence: str | None = None
    logprobs: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    selected: int | None = None
    first_token_at: float | None = None
    degraded: tuple[Degradation, ...] = ()


class _AnswerForwarder:
    """Passes the answer on as it is written, and keeps what has been shown."""

    def __init__(self, context: RunContext) -> None:
        self.shown: list[str] = []
        self.first_token_at: float | None = None
        self._held: list[tuple[str, tuple[Mapping[str, Any], ...]]] = []
        self._context = context

    @property
    def saw_nothing(self) -> bool:
        return self.first_token_at is None

    def on_event(self, event: ReplyEvent) -> None:
        match event:
            case TextDelta(text=text, logprobs=logprobs):
                self.show(text, logprobs)
            case ReasoningDelta():
                self._context.emit(AnswerDelta, event.text, reasoning=True)
            case ToolCallDelta():
                self._note_first()
                self._context.emit(
                    AnswerToolCallDelta, index=event.index, id=event.id, name=event.name, arguments=event.arguments
                )

    def show(self, text: str, logprobs: tuple[Mapping[str, Any], ...] = ()) -> None:
        if not (text or logprobs):
            return
        self._held.append((text, logprobs))
        if self.saw_nothing and not (text.strip() or logprobs):
            # White space alone is no answer yet: another aggregator may still be asked.
            return
        held, self._held = self._held, []
        for piece, alternatives in held:
            self._note_first()
            self._show(piece, alternatives)

    def _show(self, text: str, logprobs: tuple[Mapping[str, Any], ...]) -> None:
        self.shown.append(text)
        self._context.emit(AnswerDelta, text, logprobs=logprobs)

    def _note_first(self) -> None:
        if self.first_token_at is None:
            self.first_token_at = self._context.meter.now()


async def aggregate(
    context: RunContext, conversation: Conversation, prompt: str | None, proposals: tuple[Proposal, ...]
) -> AggregationResult:
    """Ask the aggregator, its fallbacks if need be, and return the answer.

    Args:
        context: The run.
        conversation: What the caller said.
        prompt: The text that shows the proposals; None if there are none.
        proposals: Those of the last layer, in the order in which the prompt shows them.

    Raises:
        AggregationFailed: No aggregator answered, and the mixture doesn't take a proposal instead.
        AnswerInterrupted: The answer broke off after part of it was shown.
        DeadlineExceeded: The run's time was over.
    """
    started_at = context.meter.now()
    chain, forwarder = FallbackChain(context.plan.aggregator, context), _AnswerForwarder(context)
    request = _agent_request(context, conversation, prompt, proposals, forwarder)
    try:
        reply = await _ask_in_time(chain, request, request.until - started_at)
    except (ProviderError, TimeoutError) as error:
        await context.prices_ready()
        failed = _failure(error, context, chain, forwarder)
        if not proposals or not forwarder.saw_nothing or context.plan.mixture.on_aggregator_failure == "error":
            raise failed from None
        return _best_proposal(failed, context, chain, forwarder, proposals, started_at)
    duration_s = chain.ended_at - started_at
    await context.prices_ready()
    if context.plan.mixture.aggregation == "selection" and proposals:
        return _selected(reply, chain, forwarder, proposals, duration_s)
    return _written(reply, chain, forwarder, duration_s)


def fall_back_to_best_proposal(
    context: RunContext, failed: EngineError, proposals: tuple[Proposal, ...]
) -> AggregationResult:
    """Return the best proposal as the answer of a run that failed before its aggregator could be asked."""
    chain, forwarder = FallbackChain(context.plan.aggregator, context), _AnswerForwarder(context)
    return _best_proposal(failed, context, chain, forwarder, proposals, context.meter.now())


async def _ask_in_time(chain: FallbackChain, request: AgentRequest, left_s: float) -> Reply:
    if left_s <= 0:
        # Not even asked: a call that begins may be billed.
        raise TimeoutError
    if left_s == math.inf:
        return await chain.ask(request)
    async with asyncio.timeout(left_s):
        return await chain.ask(request)


def _agent_request(
    context: RunContext,
    conversation: Conversation,
    prompt: str | None,
    proposals: tuple[Proposal, ...],
    forwarder: _AnswerForwarder,
) -> AgentRequest:
    plan = context.plan
    briefing = Briefing(
        conversation=conversation,
        role=plan.mixture.aggregator.role,
        proposals=prompt,
        layout=plan.mixture.prompt_layout,
    )
    until = math.inf if context.deadline_at is None else context.deadline_at
    if plan.mixture.aggregation == "selection" and proposals:
        count = len(proposals)
        return AgentRequest(
            briefing=briefing,
            purpose="answer",
            options=ReplyOptions(response_format=choice_format(count), format_is_optional=True),
            check=partial(chosen, count=count),
            until=until,
        )
    streamed = plan.options.answer_deltas
    return AgentRequest(
        briefing=briefing,
        purpose="answer",
        options=plan.options.reply,
        deltas=streamed,
        replayable=not streamed,
        on_event=forwarder.on_event if streamed else None,
        until=until,
        may_go_on=lambda: forwarder.saw_nothing,
    )


def _failure(
    error: ProviderError | TimeoutError, context: RunContext, chain: FallbackChain, forwarder: _AnswerForwarder
) -> EngineError:
    shown = "".join(forwarder.shown)
    if isinstance(error, TimeoutError):
        message = f"no whole answer within {context.plan.deadline_s:g} s"
        chain.explain(ErrorInfo(code=DeadlineExceeded.code, message=message))
        ledger = context.meter.ledger()
        return DeadlineExceeded(message, ledger=ledger, failures=chain.failures, partial_text=shown)
    ledger = context.meter.ledger()
    if forwarder.saw_nothing:
        who = "no aggregator" if context.plan.mixture.layers else "no model"
        return AggregationFailed(f"{who} gave an answer", ledger=ledger, failures=chain.failures)
    message = "the answer broke off after part of it was shown"
    return AnswerInterrupted(message, partial_text=shown, ledger=ledger, failures=chain.failures)


def _written(reply: Reply, chain: FallbackChain, forwarder: _AnswerForwarder, duration_s: float) -> AggregationResult:
    attempts = chain.attempts
    degraded = [*_fallback_used(chain), *degradations_noted(chain.slot.name, attempts)]
    if reply.finish.reason in ("length", "content_filter"):
        degraded.append(_cut_off(chain.slot.name, reply.finish.reason))
    return AggregationResult(
        text=reply.text,
        finish_reason=reply.finish.reason,
        stop_sequence=reply.finish.stop_sequence,
        agent=chain.slot.name,
        model=chain.model.reference,
        duration_s=duration_s,
        attempts=attempts,
        reasoning=reply.reasoning,
        tool_calls=reply.tool_calls,
        state=reply.finish.state,
        logprobs=reply.logprobs,
        first_token_at=forwarder.first_token_at,
        degraded=tuple(degraded),
    )


def _selected(
    reply: Reply, chain: FallbackChain, forwarder: _AnswerForwarder, proposals: tuple[Proposal, ...], duration_s: float
) -> AggregationResult:
    index = chosen(reply, chain.model.reference, len(proposals))
    return _proposed(proposals[index], chain, forwarder, duration_s, selected=index, degraded=_fallback_used(chain))


def degradations_noted(agent: str, attempts: Sequence[Attempt]) -> list[Degradation]:
    """Return what the ledger notes of the attempt that an agent's reply came from."""
    notes = attempts[-1].notes if attempts else ()
    return [Degradation(agent=agent, code=note.code, message=note.message) for note in notes]


def _best_proposal(
    failed: EngineError,
    context: RunContext,
    chain: FallbackChain,
    forwarder: _AnswerForwarder,
    proposals: tuple[Proposal, ...],
    started_at: float,
) -> AggregationResult:
    best = max(proposals, key=lambda proposal: (not proposal.cut_off, len(proposal.text)))
    reason = Degradation(
        agent=chain.slot.name,
        code=failed.code,
        message=f"{failed}; the longest complete proposal, of {best.agent}, is the answer",
    )
    duration_s = context.meter.now() - started_at
    return _proposed(best, chain, forwarder, duration_s, selected=None, degraded=(reason,))


def _proposed(
    proposal: Proposal,
    chain: FallbackChain,
    forwarder: _AnswerForwarder,
    duration_s: float,
    *,
    selected: int | None,
    degraded: tuple[Degradation, ...],
) -> AggregationResult:
    forwarder.show(proposal.text)
    reason = proposal.finish_reason or "stop"
    if proposal.cut_off:
        degraded = (*degraded, _cut_off(proposal.agent, reason))
    return AggregationResult(
        text=proposal.text,
        finish_reason=reason,
        agent=proposal.agent,
        model=proposal.model,
        duration_s=duration_s,
        attempts=chain.attempts,
        selected=selected,
        first_token_at=forwarder.first_token_at,
        degraded=degraded,
    )


def _fallback_used(chain: FallbackChain) -> tuple[Degradation, ...]:
    if chain.model is chain.slot.models[0]:
        return ()
    message = f"{chain.model.reference} answered instead: {chain.failures[-1]}"
    return (Degradation(agent=chain.slot.name, code="fallback", message=message),)


def _cut_off(agent: str, reason: str) -> Degradation:
    why = "max_tokens was reached" if reason == "length" else "the service's content filter stepped in"
    return Degradation(agent=agent, code="cut_off", message=f"the answer is not whole: {why}")
