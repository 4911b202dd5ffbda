"""The lines of a trace file as values: one definition for writing and reading, whatever the engine calls its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, TypeAdapter

from moa._engine.plan import RunOptions
from moa._ledger import Attempt, Call, Ledger
from moa._messages import Conversation, ReplyOptions, Sampling, conversation, message_dict
from moa._mixture.loading import load
from moa._mixture.schema import Mixture
from moa._pricing.price import Price
from moa.providers._reply_serialization import StoredReplyEvent

FORMAT: Final = 1
"""Version of the file's format, in its first line."""


def _mixture(data: Any) -> Mixture:
    # Traces from before there was a choice of layouts show proposals in the system message.
    return load({"prompt_layout": "system", **data})


_Mixture = Annotated[Mixture, PlainValidator(_mixture), PlainSerializer(lambda mixture: mixture.as_dict())]
_Messages = Annotated[
    Conversation, PlainValidator(conversation), PlainSerializer(lambda turns: [message_dict(turn) for turn in turns])
]
_Attempt = Annotated[Attempt, PlainSerializer(lambda attempt: attempt.as_dict())]


def _decimals(price: object) -> object:
    """Prices stand in the file as text, so that no digit is lost."""
    if not isinstance(price, Mapping):
        return price
    return {name: Decimal(usd) if isinstance(usd, str) else usd for name, usd in price.items()}


def _texts(price: Price) -> dict[str, str | None]:
    amounts = ((each.name, getattr(price, each.name)) for each in fields(price))
    return {name: None if usd is None else str(usd) for name, usd in amounts}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEndpoint:
    """What a replay has to know of an endpoint: whose prices its models have. No address, no header, no key."""

    kind: str
    price_provider: str | None
    prices: Mapping[str, Annotated[Price, BeforeValidator(_decimals), PlainSerializer(_texts)]]
    price_factor: Mapping[str, Annotated[Decimal, PlainSerializer(str)]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderLine:
    """What runs; the first line."""

    type: Literal["trace"] = "trace"
    at_s: float
    version: Literal[1] = FORMAT
    package: str
    recorded_at: Annotated[datetime, PlainSerializer(datetime.isoformat)]
    mixture: _Mixture
    messages: _Messages
    options: RunOptions
    endpoints: Mapping[str, RecordedEndpoint]
    unseeded: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLine:
    """An event of the run, in the shape of `event_json`."""

    type: Literal["event"] = "event"
    at_s: float
    event: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLine:
    """A model is asked; `asked` is the digest of what."""

    type: Literal["call"] = "call"
    at_s: float
    call: int
    agent: str
    model: str
    purpose: str
    layer: int
    sampling: Sampling
    options: ReplyOptions
    sample: int
    deltas: bool
    asked: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyLine:
    """A piece of a call's reply."""

    type: Literal["reply"] = "reply"
    at_s: float
    call: int
    event: StoredReplyEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedError:
    """The error of a call."""

    code: str
    message: str
    model: str
    status: int | None
    retry_after_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEndedLine:
    """A call is over. The attempts are as the ledger had them then, without prices."""

    type: Literal["call_ended"] = "call_ended"
    at_s: float
    call: int
    outcome: Literal["ok", "failed", "cancelled"]
    error: RecordedError | None
    attempts: tuple[_Attempt, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndLine:
    """How the run ended, as `moa ask --json` prints it; the last line. `digest` is that of all lines before it."""

    type: Literal["answer", "error", "cancelled"]
    at_s: float
    result: Mapping[str, Any]
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReusedLine:
    """The run uses proposals of an earlier step of its user turn again, in the shape in which they were kept."""

    type: Literal["reused"] = "reused"
    at_s: float
    proposals: Mapping[str, Any]


Line = EventLine | CallLine | ReplyLine | CallEndedLine | ReusedLine | EndLine

_HEADER: TypeAdapter[HeaderLine] = TypeAdapter(HeaderLine)
_LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="type")])
_CALLS: TypeAdapter[tuple[Call, ...]] = TypeAdapter(tuple[Call, ...])


def line_dict(line: HeaderLine | Line) -> dict[str, Any]:
    """Return a line as a JSON-ready mapping. What has no JSON form (in parameters passed through) becomes text."""
    adapter: TypeAdapter[Any] = _HEADER if isinstance(line, HeaderLine) else _LINE
    data: dict[str, Any] = adapter.dump_python(line, mode="json", warnings=False, fallback=_json_form)
    return data


def _json_form(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else str(value)


def header_from(data: Mapping[str, Any]) -> HeaderLine:
    """Return the first line out of its mapping.

    Raises:
        ValueError: It is none, or a value is not as it should be.
        MoaError: Its mixture or conversation can't be used.
    """
    return _HEADER.validate_python(data)


def line_from(data: Mapping[str, Any]) -> Line:
    """Return another line out of its mapping; errors as for `header_from`."""
    return _LINE.validate_python(data)


def ledger_from(calls: object) -> Ledger:
    """Return the ledger of a result, from its `calls`; their sums are computed again.

    Raises:
        ValueError: One of them is not a call.
    """
    return Ledger(calls=_CALLS.validate_python(calls))
