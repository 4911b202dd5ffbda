"""What is kept of every answer: the text and its sums as one record, and how it came about as its trace."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any, Literal, Self

import numpy as np
from pydantic import TypeAdapter

from moa._ledger import Call, Ledger
from moa._results import LayerResult
from moa._usage import TokenUsage, json_usd
from moa.evaluation._statistics.array_types import Bools, Floats, Ints, Objects

RecordStatus = Literal["complete", "degraded", "failed", "stopped"]
WITH_OUTPUT: tuple[RecordStatus, ...] = ("complete", "degraded")


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
        return self.status in WITH_OUTPUT


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnswerColumns:
    """What is known of a system's answers besides their texts: columns with a row for each prompt.

    Attributes:
        is_there: Whether there is an answer, or a failure in its place.
        has_output: Whether there is an output to be judged.
        error: As a record's; likewise model.
        text_key: What tells equal outputs in one process: a hash of the text.
        length: Characters of the output; 0 where the system has failed.
        seconds: As a record's, NaN where unknown; likewise all others.
    """

    is_there: Bools
    has_output: Bools
    error: Objects
    model: Objects
    text_key: Ints
    length: Floats
    seconds: Floats
    first_token_s: Floats
    input_tokens: Floats
    cached_input_tokens: Floats
    output_tokens: Floats
    cost_usd: Floats
    priced_usd: Floats
    estimated_usd: Floats
    saved_usd: Floats

    @classmethod
    def empty(cls, prompts: int) -> Self:
        """Return the columns of so many prompts without any answer."""
        columns: dict[str, Any] = {one.name: np.full(prompts, np.nan) for one in fields(cls)}
        columns |= {name: np.zeros(prompts, np.bool_) for name in ("is_there", "has_output")}
        columns |= {name: np.full(prompts, None, np.object_) for name in ("error", "model")}
        return cls(**{**columns, "text_key": np.zeros(prompts, np.int64), "length": np.zeros(prompts)})

    @classmethod
    def of(cls, records: Iterable[Record | None]) -> Self:
        """Return records as columns, one for each prompt; None where there is no answer."""
        given = tuple(records)
        columns = cls.empty(len(given))
        for row, record in enumerate(given):
            if record is not None:
                columns.put(row, record)
        return columns

    def put(self, row: int, record: Record) -> None:
        """Take the answer to one prompt into its row."""
        for column, value in zip(_AS_IN_RECORDS(self), _AS_IN_RECORDS(record), strict=True):
            column[row] = value
        # A later answer replaces all that an earlier one told.
        for column, tokens in zip(_TOKENS(self), _TOKENS(record.usage) if record.usage else (None,) * 3, strict=True):
            column[row] = tokens
        self.text_key[row], self.length[row] = hash(record.output), len(record.output)
        self.is_there[row], self.has_output[row] = True, record.has_output

    def at(self, rows: Bools | Ints) -> Self:
        """Return some of the rows."""
        return replace(self, **{one.name: getattr(self, one.name)[rows] for one in fields(self)})

    @property
    def failed(self) -> int:
        """On how many prompts the system has no output."""
        return int(np.count_nonzero(self.is_there & ~self.has_output))

    @property
    def asked(self) -> int:
        """On how many prompts there is an answer, or a failure in its place."""
        return int(np.count_nonzero(self.is_there))


_AS_IN_RECORDS = attrgetter(*(one.name for one in fields(Record) if one.name in AnswerColumns.__slots__))
_TOKENS = attrgetter("input_tokens", "cached_input_tokens", "output_tokens")

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
