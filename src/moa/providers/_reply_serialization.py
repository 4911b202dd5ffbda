"""Replies as JSON and back: what caches and traces keep of them."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import AfterValidator, PlainSerializer, PlainValidator, TypeAdapter

from moa.providers._base import Finish, ReasoningDelta, ReplyEvent, ReplyFold, Restarted, TextDelta, ToolCallDelta


def _checked_usage(finish: Finish) -> Finish:
    if finish.usage and min(count for count in asdict(finish.usage).values() if isinstance(count, int)) < 0:
        raise ValueError("a number of tokens is negative")
    return finish


_KINDS: dict[str, TypeAdapter[Any]] = {
    "text": TypeAdapter(TextDelta),
    "reasoning": TypeAdapter(ReasoningDelta),
    "tool_call": TypeAdapter(ToolCallDelta),
    "finish": TypeAdapter(Annotated[Finish, AfterValidator(_checked_usage)]),
}


def event_dict(event: ReplyEvent) -> dict[str, Any]:
    """Return an event of a reply as a JSON-ready mapping; `event_from` reads it."""
    match event:
        case TextDelta():
            logprobs = {"logprobs": [dict(item) for item in event.logprobs]} if event.logprobs else {}
            return {"text": event.text, **logprobs}
        case ReasoningDelta():
            return {"reasoning": event.text}
        case ToolCallDelta():
            fields = asdict(event)
            state = fields.pop("state")
            return {"tool_call": fields | ({"state": state} if state else {})}
        case Finish():
            usage = event.usage.as_dict() if event.usage else None
            return {
                "finish": event.reason,
                "usage": usage,
                "served_by": event.served_by,
                "request_id": event.request_id,
                **({"notes": [note.as_dict() for note in event.notes]} if event.notes else {}),
                **({"state": asdict(event.state)} if event.state else {}),
                **({"stop_sequence": event.stop_sequence} if event.stop_sequence else {}),
            }
        case Restarted():
            return {"restarted": True}


def event_from(data: Any) -> ReplyEvent:
    """Return the event that a mapping of `event_dict` stands for.

    Raises:
        ValueError: It stands for none.
    """
    match data:
        case {"text": _}:
            event: ReplyEvent = _KINDS["text"].validate_python(data)
        case {"reasoning": text}:
            event = _KINDS["reasoning"].validate_python({"text": text})
        case {"tool_call": fields}:
            event = _KINDS["tool_call"].validate_python(fields)
        case {"finish": reason}:
            event = _KINDS["finish"].validate_python({**data, "reason": reason})
        case {"restarted": True}:
            event = Restarted()
        case _:
            raise ValueError("this is not a piece of a reply")
    return event


StoredReplyEvent = Annotated[ReplyEvent, PlainValidator(event_from), PlainSerializer(event_dict)]
"""A piece of a reply as files hold it: for fields of values that are written and read with pydantic."""


def joined(events: Sequence[ReplyEvent]) -> tuple[ReplyEvent, ...]:
    """Return the same reply in as few pieces as can be; what was void by the end is left out."""
    whole: list[ReplyEvent] = []
    for event in events:
        match whole[-1] if whole else None, event:
            case _, Restarted():
                whole.clear()
            case TextDelta() as last, TextDelta():
                whole[-1] = TextDelta(last.text + event.text, last.logprobs + event.logprobs)
            case ReasoningDelta() as last, ReasoningDelta():
                whole[-1] = ReasoningDelta(last.text + event.text)
            case _:
                whole.append(event)
    return tuple(whole)


def is_worth_keeping(reply: Sequence[ReplyEvent]) -> bool:
    """Return whether a reply is complete: it has a finish reason and content, and no content filter was applied."""
    if not reply or not isinstance(reply[-1], Finish) or reply[-1].reason == "content_filter":
        return False
    if any(isinstance(event, Finish | Restarted) for event in reply[:-1]):
        return False
    fold = ReplyFold()
    for event in reply:
        fold.add(event)
    return not fold.reply("").is_empty
