"""What is kept of a reply."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from moa._usage import json_usd
from moa.providers._base import Finish, ReplyEvent, ReplyFold, Restarted
from moa.providers._reply_serialization import event_dict, event_from


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A whole reply and what is known of the call that bought it.

    Attributes:
        model: Reference of the model.
        reply: Its pieces in order; the last one is the `Finish`, with the reported usage.
        stored_at: When it was kept.
        cost_usd: What it cost then, in US dollars; None if its price was unknown.
        duration_s: Seconds that the call took; None if nobody measured it.
    """

    model: str
    reply: tuple[ReplyEvent, ...]
    stored_at: datetime
    cost_usd: Decimal | None = None
    duration_s: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; `entry_from` takes it back."""
        return {
            "model": self.model,
            "reply": [event_dict(event) for event in self.reply],
            "stored_at": self.stored_at.isoformat(),
            "cost_usd": json_usd(self.cost_usd),
            "duration_s": self.duration_s,
        }


def entry_from(data: object) -> Entry:
    """Return the entry that a mapping of `Entry.as_dict` stands for.

    Raises:
        ValueError: It stands for none.
    """
    match data:
        case {
            "model": str(model),
            "reply": [*pieces],
            "stored_at": str(stored_at),
            "cost_usd": int() | float() | None as cost,
            "duration_s": int() | float() | None as duration_s,
        }:
            reply = tuple(event_from(_mapping(piece)) for piece in pieces)
            if not is_worth_keeping(reply):
                raise ValueError("its reply is not whole")
            return Entry(
                model=model,
                reply=reply,
                stored_at=datetime.fromisoformat(stored_at),
                cost_usd=None if cost is None else Decimal(str(cost)),
                duration_s=duration_s,
            )
    raise ValueError("this is no kept reply")


def is_worth_keeping(reply: tuple[ReplyEvent, ...]) -> bool:
    """Whether a reply is whole and good: it says why it ended, has content, and no filter stepped in."""
    if not reply or not isinstance(reply[-1], Finish) or reply[-1].reason == "content_filter":
        return False
    if any(isinstance(event, Finish | Restarted) for event in reply[:-1]):
        return False
    fold = ReplyFold()
    for event in reply:
        fold.add(event)
    return not fold.reply("").is_empty


def _mapping(value: object) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    raise ValueError("a piece of its reply is no mapping")
