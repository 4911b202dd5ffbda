"""A stored reply, and its form in files."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, PlainSerializer, TypeAdapter, ValidationError

from moa._usage import json_usd
from moa._validation.strict_model import first_finding
from moa.providers._base import ReplyEvent
from moa.providers._reply_serialization import StoredReplyEvent, is_worth_keeping


def _checked_reply(reply: tuple[ReplyEvent, ...]) -> tuple[ReplyEvent, ...]:
    if not is_worth_keeping(reply):
        raise ValueError("its reply is not whole")
    return reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A complete reply, and the record of its call.

    Attributes:
        model: Reference of the model.
        reply: Its events in order; the last one is the `Finish`, with the reported usage.
        stored_at: Time at which it was stored.
        cost_usd: Its cost at that time, in US dollars; None if its price was unknown.
        duration_s: Duration of the call, in seconds; None if it was not measured.
    """

    model: str
    reply: Annotated[tuple[StoredReplyEvent, ...], AfterValidator(_checked_reply)]
    stored_at: Annotated[datetime, PlainSerializer(datetime.isoformat)]
    cost_usd: Annotated[Decimal | None, PlainSerializer(json_usd)] = None
    duration_s: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return a mapping that can be serialized as JSON; `entry_from` reads it."""
        data: dict[str, Any] = _ENTRY.dump_python(self, mode="json", warnings=False)
        return data


_ENTRY = TypeAdapter(Entry)


def entry_from(data: object) -> Entry:
    """Return the entry of a mapping that `Entry.as_dict` made.

    Raises:
        ValueError: The mapping is not an entry; the message names the place.
    """
    try:
        return _ENTRY.validate_python(data)
    except ValidationError as error:
        raise ValueError(first_finding(error)) from error
