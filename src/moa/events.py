"""What a run yields while it runs, and what its answer holds. A run that fails raises instead of a last event."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moa._ledger import Attempt, Call, ErrorInfo, Ledger
from moa._messages import ToolCall
from moa._results import Answer, Degradation, Latency, LayerResult, Proposal
from moa._usage import Spend, TokenUsage

__all__ = [
    "AgentInfo",
    "Answer",
    "AnswerDelta",
    "AnswerToolCallDelta",
    "Attempt",
    "Call",
    "CallStarted",
    "Degradation",
    "ErrorInfo",
    "Event",
    "Latency",
    "LayerFinished",
    "LayerResult",
    "LayerStarted",
    "Ledger",
    "Proposal",
    "ProposalDelta",
    "ProposalFinished",
    "ProposalRestarted",
    "RunFinished",
    "RunStarted",
    "Spend",
    "TokenUsage",
    "ToolCall",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentInfo:
    """One agent of a run: its unique name, its model reference and its place in the roster, from 0."""

    agent: str
    model: str
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The run began. `layers` is the roster of every proposers' layer, `aggregator` the last agent."""

    id: str
    mixture: str
    layers: tuple[tuple[AgentInfo, ...], ...]
    aggregator: AgentInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerStarted:
    """All proposers of a layer were asked at once."""

    layer: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStarted:
    """An agent asks a model: its own, or (`fallback`) the next one in its chain. The aggregator's layer is the last."""

    layer: int
    index: int
    agent: str
    model: str
    fallback: bool


@dataclass(frozen=True, slots=True)
class ProposalDelta:
    """A piece of a proposal while it is written; `reasoning` marks text that the model thinks to itself."""

    layer: int
    index: int
    text: str
    reasoning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalRestarted:
    """A proposer starts again (a retry or a fallback): what it had written so far is void."""

    layer: int
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalFinished:
    """A proposer ended, well or not."""

    proposal: Proposal


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFinished:
    """A layer closed."""

    result: LayerResult


@dataclass(frozen=True, slots=True)
class AnswerDelta:
    """A piece of the answer; `reasoning` marks text that the aggregator thinks to itself.

    `logprobs` are in the OpenAI API's shape, where they were asked for.
    """

    text: str
    reasoning: bool = False
    logprobs: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerToolCallDelta:
    """A piece of a tool call of the answer; `id` and `name` come with its first piece."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """The run ended well; always the last event."""

    answer: Answer


Event = (
    RunStarted
    | LayerStarted
    | CallStarted
    | ProposalDelta
    | ProposalRestarted
    | ProposalFinished
    | LayerFinished
    | AnswerDelta
    | AnswerToolCallDelta
    | RunFinished
)
"""Whatever a run yields."""
