"""A run's events as JSON-ready mappings; `type` is the event's name."""

from dataclasses import asdict
from typing import Any

from moa.events import (
    AgentInfo,
    AnswerDelta,
    AnswerToolCallDelta,
    CallStarted,
    Event,
    LayerFinished,
    LayerStarted,
    ProposalDelta,
    ProposalFinished,
    ProposalRestarted,
    RunFinished,
    RunStarted,
)

_NAMES: dict[type[Event], str] = {
    RunStarted: "run_started",
    LayerStarted: "layer_started",
    CallStarted: "call_started",
    ProposalDelta: "proposal_delta",
    ProposalRestarted: "proposal_restarted",
    ProposalFinished: "proposal_finished",
    LayerFinished: "layer_finished",
    AnswerDelta: "answer_delta",
    AnswerToolCallDelta: "answer_tool_call_delta",
    RunFinished: "run_finished",
}


def event_dict(event: Event) -> dict[str, Any]:
    """Return an event as a JSON-ready mapping."""
    return {"type": _NAMES[type(event)], **_fields(event)}


def _fields(event: Event) -> dict[str, Any]:
    match event:
        case RunStarted():
            layers = [[_agent(info) for info in layer] for layer in event.layers]
            return {"id": event.id, "mixture": event.mixture, "layers": layers, "aggregator": _agent(event.aggregator)}
        case ProposalFinished(proposal=proposal):
            return {"proposal": {**proposal.as_dict(), "layer": proposal.layer, "index": proposal.index}}
        case LayerFinished():
            return {"layer": event.result.as_dict()}
        case RunFinished():
            return {"answer": event.answer.as_dict()}
    return asdict(event)


def _agent(info: AgentInfo) -> dict[str, Any]:
    return asdict(info)
