"""The results of a run: proposals, layers, and the answer with its ledger."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from moa._ledger import Attempt, ErrorInfo, Ledger
from moa._messages import ServiceState, ToolCall
from moa._usage import Spend, TokenUsage, json_usd

ProposalStatus = Literal["used", "failed", "abandoned"]
AnswerStatus = Literal["complete", "degraded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What one proposer answered, or why it didn't.

    Attributes:
        agent: Unique name of the proposer in its mixture.
        model: Reference of the model that answered (or failed last): the agent's own, or a fallback.
        layer: Number of its layer, from 1.
        index: Place in its layer's roster, from 0; proposals are shown to the next layer in this order.
        status: `used`: every agent of the next layer saw it. `failed`: broken, refused or empty. `abandoned`: too slow.
        text: The whole text; empty unless used.
        reasoning: What the model thought to itself, where the service shows it.
        finish_reason: `length` marks a proposal that was cut off at max_tokens, `content_filter` one that a filter cut
            off; both are used all the same.
        attempts: Every attempt of this agent, fallbacks included, in order.
        duration_s: Seconds from the layer's start to this proposal's end.
        error: Why it was not used; None if it was.
        escaped: Its text contained our own delimiters; they were escaped (reversibly) in the prompt that showed it.
    """

    agent: str
    model: str
    layer: int
    index: int
    status: ProposalStatus
    text: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    attempts: tuple[Attempt, ...] = ()
    duration_s: float = 0.0
    error: ErrorInfo | None = None
    escaped: bool = False

    @property
    def reused(self) -> bool:
        """Whether it was made in an earlier step of the same user turn."""
        return bool(self.attempts) and all(attempt.reused for attempt in self.attempts)

    @property
    def cut_off(self) -> bool:
        """Whether it ended at max_tokens, or where a content filter stepped in."""
        return self.finish_reason in ("length", "content_filter")

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {
            "agent": self.agent,
            "model": self.model,
            "status": self.status,
            "text": self.text,
            "escaped": self.escaped,
            **series_dict(self.attempts, self.duration_s),
            "finish_reason": self.finish_reason,
            "error": self.error.as_dict() if self.error else None,
        }


def series_dict(attempts: tuple[Attempt, ...], duration_s: float) -> dict[str, Any]:
    """Usage, cost and times of an agent's attempts, as JSON-ready fields."""
    spend = sum((attempt.spend for attempt in attempts), Spend())
    usage = sum((a.usage for a in attempts if a.usage and a.usage_source == "reported"), TokenUsage())
    last = attempts[-1] if attempts else None
    return {
        "usage": usage.as_dict(),
        "cost_usd": json_usd(spend.cost_usd),
        "estimated_usd": json_usd(spend.estimated_usd),
        "queue_s": sum(attempt.queue_s for attempt in attempts),
        "first_token_s": last.first_token_s if last else None,
        "duration_s": duration_s,
        "attempts": [attempt.as_dict() for attempt in attempts],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerResult:
    """How a layer ended.

    Attributes:
        number: From 1.
        roster: One entry for each proposer, in the roster's order, used or not.
        closed_by: `all` (every proposer ended), `grace` (enough were in, the rest was too slow) or `deadline`.
        started_s: Seconds after the run's start.
        duration_s: Seconds until it closed.
    """

    number: int
    roster: tuple[Proposal, ...]
    closed_by: Literal["all", "grace", "deadline"]
    started_s: float
    duration_s: float

    @property
    def proposals(self) -> tuple[Proposal, ...]:
        """Those that the next layer sees, in the order in which it sees them."""
        return tuple(proposal for proposal in self.roster if proposal.status == "used")

    @property
    def failures(self) -> tuple[Proposal, ...]:
        """Those that were not used."""
        return tuple(proposal for proposal in self.roster if proposal.status != "used")

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {
            "layer": self.number,
            "closed_by": self.closed_by,
            "started_s": self.started_s,
            "duration_s": self.duration_s,
            "proposals": [proposal.as_dict() for proposal in self.roster],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Degradation:
    """One reason why an answer is less than its mixture planned."""

    agent: str
    code: str
    message: str

    def as_dict(self) -> dict[str, str]:
        """The three by name."""
        return {"agent": self.agent, "code": self.code, "message": self.message}


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Where the time of a run went, in seconds.

    Attributes:
        total_s: From the call to the whole answer.
        first_token_s: From the call to the answer's first token; None if the answer was not streamed.
        critical_path_s: Sum over layers of the time until the layer closed, plus the aggregator's: what any
            orchestrator would need with the same calls.
        overhead_s: The rest: our own work between the calls.
    """

    total_s: float
    first_token_s: float | None
    critical_path_s: float
    overhead_s: float

    def as_dict(self) -> dict[str, float | None]:
        """The four by name."""
        return {
            "total_s": self.total_s,
            "first_token_s": self.first_token_s,
            "critical_path_s": self.critical_path_s,
            "overhead_s": self.overhead_s,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer of a run, with everything that led to it.

    Attributes:
        id: Unique name of the run.
        mixture: Name of the mixture.
        status: `complete`, or `degraded` for the reasons in `degraded`.
        text: The aggregator's text (under selection: the selected proposal's).
        reasoning: What the aggregator thought to itself, where the service shows it.
        tool_calls: Tools that the aggregator wants called.
        state: What the aggregator's service wants back with this answer's message in the next request (as do its tool
            calls); None if nothing.
        finish_reason: Why the answer ended: `stop`, `length`, `tool_calls`, `content_filter`, or the service's word.
        stop_sequence: Which of the request's stop texts ended the answer, where the service says so; else None.
        agent: Name of the agent whose text this is.
        model: Reference of the model whose text this is.
        layers: The proposers' layers, in order.
        attempts: The aggregator's attempts, fallbacks included; empty if no aggregator was asked.
        aggregation_s: Seconds that the aggregator took, fallbacks included.
        selected: Under selection, the index of the chosen proposal among those used; else None.
        logprobs: Log probabilities of the answer's tokens where they were asked for, in the OpenAI API's shape.
        ledger: Every call.
        latency: Where the time went.
        seed: The run's seed, None if none was given.
        unseeded: References of models whose service takes no seed although the run has one.
    """

    id: str
    mixture: str
    status: AnswerStatus
    text: str
    finish_reason: str
    agent: str
    model: str
    ledger: Ledger
    latency: Latency
    layers: tuple[LayerResult, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    aggregation_s: float = 0.0
    degraded: tuple[Degradation, ...] = ()
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    state: ServiceState | None = None
    stop_sequence: str | None = None
    selected: int | None = None
    logprobs: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    seed: int | None = None
    unseeded: tuple[str, ...] = ()

    @property
    def usage(self) -> TokenUsage:
        """Reported tokens of every call of the run."""
        return self.ledger.usage

    @property
    def cost_usd(self) -> Decimal | None:
        """Price of all reported usage in US dollars, None if any of it has no known price."""
        return self.ledger.spend.cost_usd

    @property
    def unpriced(self) -> tuple[str, ...]:
        """References of the models whose price is unknown."""
        return self.ledger.unpriced

    @property
    def proposals(self) -> tuple[Proposal, ...]:
        """The proposals that the aggregator saw, in the order in which it saw them."""
        return self.layers[-1].proposals if self.layers else ()

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping: what `moa ask --json` prints."""
        spend = self.ledger.spend
        return {
            "id": self.id,
            "mixture": self.mixture,
            "status": self.status,
            "degraded": [reason.as_dict() for reason in self.degraded],
            "text": self.text,
            "usage": self.usage.as_dict(),
            "estimated_usage": self.ledger.estimated_usage.as_dict(),
            "cost_usd": json_usd(spend.cost_usd),
            "priced_usd": json_usd(spend.priced_usd),
            "estimated_usd": json_usd(spend.estimated_usd),
            "charged_usd": json_usd(spend.charged_usd),
            "saved_usd": json_usd(spend.saved_usd),
            "unpriced": list(self.unpriced),
            "latency": self.latency.as_dict(),
            "layers": [layer.as_dict() for layer in self.layers],
            "answer": self._answer_dict(),
            "calls": [call.as_dict() for call in self.ledger.calls],
            "seed": self.seed,
            "unseeded": list(self.unseeded),
        }

    def _answer_dict(self) -> dict[str, Any]:
        return {
            "agent": self.agent,
            "model": self.model,
            "status": self.status,
            "text": self.text,
            "selected": self.selected,
            "tool_calls": [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in self.tool_calls],
            **series_dict(self.attempts, self.aggregation_s),
            "finish_reason": self.finish_reason,
            "error": None,
        }
