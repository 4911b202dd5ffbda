"""What is kept of every answer: the text and its sums as one record, and how it came about as its trace."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import TypeAdapter

from moa._ledger import Call, Ledger
from moa._results import LayerResult
from moa._usage import TokenUsage, json_usd

RecordStatus = Literal["complete", "degraded", "failed", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerTrace:
    """How an answer was made; stored separately from its record, as it is many times as large.

    Attributes:
        calls: The ledger's.
        layers: How the layers ended, with their proposals; of a layer that failed, those that had ended. Attempts are
            with the calls.
    """

    calls: tuple[Call, ...] = ()
    layers: tuple[LayerResult, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One system's answer to one prompt, or why there is none.

    Attributes:
        system: The system's name.
        index: The prompt's index.
        status: As an answer's; `failed`: there is no output; `stopped`: the budget was used up on the way, which says
            nothing about the system, but was paid for.
        output: The text, empty if there is none.
        error: Code and message, None unless failed or stopped.
        finish_reason: `length` marks an output that was cut off.
        agent: Whose text it is.
        model: Reference of the model whose text it is.
        seconds: From asking to the whole output; None if unknown.
        first_token_s: From asking to the output's first token; None if unknown.
        critical_path_s: What any orchestrator would have needed with the same calls.
        aggregation_s: The aggregator's part of it.
        usage: Reported tokens of all calls; None if unknown.
        cost_usd: Price of all calls in US dollars; None if any has no known price.
        priced_usd: Price of those whose price is known.
        estimated_usd: Price of usage that had to be estimated, not part of `priced_usd`.
        saved_usd: What the services' prompt caches saved of `priced_usd`; None if nobody noted it down.
        used: Names of the proposers of layer 1 whose proposals were used.
        degraded: Why it is less than the mixture planned, as JSON values.
        selected: Under selection, the index of the chosen proposal among those used.
        started_s: When it was asked, in seconds of Unix time; None if unknown.
    """

    system: str
    index: int
    status: RecordStatus
    output: str = ""
    error: Mapping[str, str] | None = None
    finish_reason: str | None = None
    agent: str | None = None
    model: str | None = None
    seconds: float | None = None
    first_token_s: float | None = None
    critical_path_s: float | None = None
    aggregation_s: float | None = None
    usage: TokenUsage | None = None
    cost_usd: float | None = None
    priced_usd: float = 0.0
    estimated_usd: float = 0.0
    saved_usd: float | None = None
    used: tuple[str, ...] = ()
    degraded: tuple[Mapping[str, str], ...] = ()
    selected: int | None = None
    started_s: float | None = None

    @property
    def has_output(self) -> bool:
        """Whether there is an output to be judged."""
        return self.status in ("complete", "degraded")


RECORDS, TRACES = TypeAdapter(Record), TypeAdapter(AnswerTrace)
"""How records and traces are written down."""


def sums_of(ledger: Ledger) -> dict[str, Any]:
    """Return what a record says of its calls; an unknown price stays unknown."""
    spend = ledger.spend
    return {
        "usage": ledger.usage,
        "cost_usd": json_usd(spend.cost_usd),
        "priced_usd": float(spend.priced_usd),
        "estimated_usd": float(spend.estimated_usd),
        "saved_usd": float(spend.saved_usd),
    }


def trace_of(ledger: Ledger, layers: tuple[LayerResult, ...]) -> AnswerTrace:
    """Return a run's calls and layers, its attempts once."""
    plain = (
        replace(layer, roster=tuple(replace(proposal, attempts=()) for proposal in layer.roster)) for layer in layers
    )
    return AnswerTrace(calls=ledger.calls, layers=tuple(plain))
