"""What is kept of every answer: the text, its books and its times, as one cell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

from moa._usage import NOT_REPORTED, TokenUsage

RecordStatus = Literal["complete", "degraded", "failed", "stopped"]


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
        calls: The ledger's calls as JSON values.
        layers: How the layers ended, with their proposals, as JSON values.
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
    calls: tuple[Mapping[str, Any], ...] = ()
    layers: tuple[Mapping[str, Any], ...] = ()
    degraded: tuple[Mapping[str, str], ...] = ()
    selected: int | None = None
    started_s: float | None = None

    @property
    def has_output(self) -> bool:
        """Whether there is an output to be judged."""
        return self.status in ("complete", "degraded")

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**values, "usage": self.usage.as_dict() if self.usage else None}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The record that `as_dict` gave; fields that are not known are ignored.

        Raises:
            TypeError: A field is missing.
        """
        known = {field.name for field in fields(cls)}
        given: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items() if key in known
        }
        usage = values.get("usage")
        return cls(**{**given, "usage": None if usage is None else usage_of(usage)})


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTotals:
    """The sums of some calls; fields as in `Record`."""

    usage: TokenUsage
    cost_usd: float | None
    priced_usd: float
    estimated_usd: float

    def fields(self) -> dict[str, Any]:
        """What a record takes."""
        return {
            "usage": self.usage,
            "cost_usd": self.cost_usd,
            "priced_usd": self.priced_usd,
            "estimated_usd": self.estimated_usd,
        }


def sum_calls(calls: Sequence[Mapping[str, Any]]) -> CallTotals:
    """Return the sums of calls in the ledger's JSON form; an unknown price stays unknown."""
    usage, reported, estimated, unpriced = TokenUsage(), 0.0, 0.0, False
    for attempt in (attempt for call in calls for attempt in call["attempts"]):
        used = attempt["usage"]
        if not used or not used["total_tokens"]:
            continue
        if attempt["usage_source"] == "reported":
            usage += usage_of(used)
        if attempt["cost_usd"] is None:
            unpriced = True
        elif attempt["usage_source"] in NOT_REPORTED:
            estimated += attempt["cost_usd"]
        else:
            reported += attempt["cost_usd"]
    cost = None if unpriced else reported
    return CallTotals(usage=usage, cost_usd=cost, priced_usd=reported, estimated_usd=estimated)


def usage_of(values: Mapping[str, int]) -> TokenUsage:
    """Return the usage that `TokenUsage.as_dict` gave."""
    return TokenUsage(**{key: value for key, value in values.items() if key != "total_tokens"})
