"""One run from end to end: the layers, the aggregator, the answer with its ledger."""

import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from secrets import token_hex

from moa._engine.agents import OnEvent, RunContext
from moa._engine.aggregation import (
    AggregationResult,
    aggregate,
    degradations_noted,
    fall_back_to_best_proposal,
)
from moa._engine.forecast import Layers, RemainingRun
from moa._engine.layers import LayerTask, run_layer
from moa._engine.plan import AgentSlot, Models, RunPlan
from moa._engine.proposal_reuse import (
    ProposalStore,
    TurnProposals,
    find_proposals,
    keep_proposals,
    proposers_conversation,
    reused,
    turn_key,
)
from moa._engine.run_budget import dropped_agents, fit_to_budget, reserve_budget
from moa._ledger import Meter
from moa._messages import Conversation
from moa._mixture.prompts import Rendered, render_selection, render_synthesis
from moa._mixture.schema import Wait
from moa._policies.budget import SpendingLimit
from moa._results import Answer, Degradation, Latency, LayerResult, Proposal
from moa.errors import EngineError, UsageError
from moa.events import LayerFinished, RunFinished, RunStarted
from moa.providers._conversations import tools_as_text

_FOR_ALL = Wait()


async def execute(
    plan: RunPlan,
    conversation: Conversation,
    models: Models,
    shared: Sequence[SpendingLimit],
    meter: Meter,
    on_event: OnEvent | None,
    *,
    proposals: ProposalStore | None = None,
) -> Answer:
    """Run a mixture once and return its answer.

    Args:
        plan: Which agents are asked, in which order.
        conversation: What the caller said; never changed.
        models: Tells when prices are ready.
        shared: Budgets that the run shares with others.
        meter: Keeps the ledger; started when the caller asked.
        on_event: Called with every event, `RunFinished` last; None if nobody watches.
        proposals: Where the proposals of user turns are kept; None keeps none.

    Raises:
        UsageError: The mixture can't do what is asked; nothing was sent.
        EngineError: The run failed; its ledger says what was spent.
    """
    if plan.mixture.aggregation == "selection" and plan.options.reply.tools:
        raise UsageError("a mixture that selects a proposal can't call tools: use `aggregation: synthesis`")
    run_id = f"run-{token_hex(8)}"
    if shared or plan.budget_usd is not None:
        await models.prices_ready()
    key = turn_key(plan, conversation) if proposals is not None else None
    made = await find_proposals(proposals, key)
    rest = RemainingRun(
        layers=() if made else plan.layers,
        conversation=conversation,
        shown=[proposal.text for proposal in made.layers[-1].proposals] if made else (),
    )
    budget, layers = await reserve_budget(plan, rest, shared, meter)
    context = RunContext(
        plan=plan,
        meter=meter,
        on_event=on_event,
        # From now on: a run that had to wait for its share of a budget has not begun.
        deadline_at=None if plan.deadline_s is None else meter.now() + plan.deadline_s,
        prices_ready=models.prices_ready,
        budget=budget,
    )
    context.emit(
        lambda: RunStarted(
            id=run_id,
            mixture=plan.mixture.name,
            layers=tuple(tuple(slot.info for slot in slots) for slots in plan.layers),
            aggregator=plan.aggregator.info,
        )
    )
    try:
        answer = await _answered(run_id, context, conversation, layers, made, partial(keep_proposals, proposals, key))
    finally:
        budget.settle()
    context.emit(RunFinished, answer=answer)
    return answer


async def _answered(
    run_id: str,
    context: RunContext,
    conversation: Conversation,
    layers: Layers,
    made: TurnProposals | None,
    keep: Callable[[TurnProposals], Awaitable[None]],
) -> Answer:
    state = _RunState()
    try:
        if made is None:
            state.degraded += dropped_agents(context.plan.layers, layers)
            await _run_layers(context, conversation, layers, state)
        else:
            _restore_layers(context, made, state)
        if state.proposals:
            # Proposals that are reused are kept again, so that they last as long as the tool loop does.
            await keep(TurnProposals(layers=tuple(state.layers), degraded=tuple(state.degraded)))
    except EngineError as failed:
        if not state.proposals or context.plan.mixture.on_aggregator_failure == "error":
            raise
        result = fall_back_to_best_proposal(context, failed, state.proposals)
    else:
        result = await aggregate(context, conversation, state.prompt, state.proposals)
    return _answer(run_id, context, state, result)


@dataclass(slots=True, kw_only=True)
class _RunState:
    """How far a run has come: its layers, why they are less than planned, the prompt that shows the last one."""

    layers: list[LayerResult] = field(default_factory=list)
    degraded: list[Degradation] = field(default_factory=list)
    prompt: str | None = None

    @property
    def proposals(self) -> tuple[Proposal, ...]:
        """What the next agent is shown."""
        return self.layers[-1].proposals if self.layers else ()


def _restore_layers(context: RunContext, made: TurnProposals, state: _RunState) -> None:
    """Take over the proposals that an earlier step of the user turn has made."""
    again = reused(made, context.plan, context.meter)
    state.layers, state.degraded = list(again.layers), list(again.degraded)
    shown = [proposal.text for proposal in state.proposals]
    state.prompt = _render(context.plan, shown, is_last=True).text
    for layer in again.layers:
        context.emit(LayerFinished, result=layer)


async def _run_layers(context: RunContext, conversation: Conversation, left: Layers, state: _RunState) -> None:
    plan = context.plan
    as_text = tools_as_text(proposers_conversation(plan, conversation))
    while True:
        shown = [proposal.text for proposal in state.proposals]
        if state.layers:
            planned, left = left, fit_to_budget(context.budget, plan, left)
            state.degraded += dropped_agents(planned, left)
            context.budget.keep_only(left)
            # Only now it is known who is shown it: the next layer, or the aggregator that selects.
            rendered = _render(plan, shown, is_last=not left)
            state.layers[-1], state.prompt = _with_escapes(state.layers[-1], rendered), rendered.text
            context.emit(LayerFinished, result=state.layers[-1])
        if not left:
            return
        slots, left = left[0], left[1:]
        task = LayerTask(
            context=context,
            slots=slots,
            conversation=as_text,
            prompt=state.prompt,
            wait=plan.mixture.layers[slots[0].layer - 1].wait or plan.mixture.wait or _FOR_ALL,
            started_at=context.meter.now(),
            close_at=_close_at(context, layers_left=1 + len(left)),
        )
        result = await run_layer(task)
        state.layers.append(result)
        state.degraded += _degradations(slots, result)


def _close_at(context: RunContext, *, layers_left: int) -> float:
    """When a layer has to close: the layers share evenly what they don't leave to the aggregator."""
    if context.deadline_at is None or context.plan.deadline_s is None:
        return math.inf
    now = context.meter.now()
    layers_end = context.deadline_at - context.plan.deadline_s * context.plan.mixture.aggregator_share
    return now + max(0.0, layers_end - now) / layers_left


def _render(plan: RunPlan, texts: Sequence[str], *, is_last: bool) -> Rendered:
    if is_last and plan.mixture.aggregation == "selection":
        return render_selection(texts)
    return render_synthesis(plan.mixture, texts)


def _with_escapes(result: LayerResult, rendered: Rendered) -> LayerResult:
    if not any(rendered.escaped):
        return result
    marks = iter(rendered.escaped)
    roster = tuple(
        replace(proposal, escaped=next(marks)) if proposal.status == "used" else proposal for proposal in result.roster
    )
    return replace(result, roster=roster)


def _answer(run_id: str, context: RunContext, state: _RunState, result: AggregationResult) -> Answer:
    plan, meter = context.plan, context.meter
    degraded = (*state.degraded, *result.degraded)
    return Answer(
        id=run_id,
        mixture=plan.mixture.name,
        status="degraded" if degraded else "complete",
        degraded=degraded,
        text=result.text,
        reasoning=result.reasoning,
        tool_calls=result.tool_calls,
        state=result.state,
        finish_reason=result.finish_reason,
        stop_sequence=result.stop_sequence,
        agent=result.agent,
        model=result.model,
        layers=tuple(state.layers),
        attempts=result.attempts,
        aggregation_s=result.duration_s,
        selected=result.selected,
        logprobs=result.logprobs,
        ledger=meter.ledger(),
        latency=_latency(meter, state.layers, result),
        seed=plan.options.seed,
        unseeded=plan.unseeded,
    )


def _degradations(slots: tuple[AgentSlot, ...], layer: LayerResult) -> Iterator[Degradation]:
    for slot, proposal in zip(slots, layer.roster, strict=True):
        if proposal.error is not None:
            yield Degradation(agent=proposal.agent, code=proposal.error.code, message=proposal.error.message)
            continue
        if proposal.model != slot.agent.model:
            errors = [attempt.error for attempt in proposal.attempts if attempt.error]
            cause = f": {errors[-1].message}" if errors else ""
            message = f"{proposal.model} answered instead of {slot.agent.model}{cause}"
            yield Degradation(agent=proposal.agent, code="fallback", message=message)
        yield from degradations_noted(proposal.agent, proposal.attempts)


def _latency(meter: Meter, layers: Sequence[LayerResult], result: AggregationResult) -> Latency:
    total_s = meter.elapsed_s()
    critical_s = sum(layer.duration_s for layer in layers) + result.duration_s
    first_at = result.first_token_at
    return Latency(
        total_s=total_s,
        first_token_s=None if first_at is None else first_at - meter.started_at,
        critical_path_s=critical_s,
        overhead_s=max(0.0, total_s - critical_s),
    )
