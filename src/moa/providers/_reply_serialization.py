"""Replies as JSON and back: what caches and traces keep of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from moa._usage import TokenUsage
from moa.providers._base import Finish, ReasoningDelta, ReplyEvent, Restarted, TextDelta, ToolCallDelta

_USAGE_FIELDS = tuple(field.name for field in fields(TokenUsage))


def event_dict(event: ReplyEvent) -> dict[str, Any]:
    """Return an event of a reply as a JSON-ready mapping; `event_from` takes it back."""
    match event:
        case TextDelta():
            logprobs = {"logprobs": [dict(item) for item in event.logprobs]} if event.logprobs else {}
            return {"text": event.text, **logprobs}
        case ReasoningDelta():
            return {"reasoning": event.text}
        case ToolCallDelta():
            return {"tool_call": asdict(event)}
        case Finish():
            usage = event.usage.as_dict() if event.usage else None
            return {
                "finish": event.reason,
                "usage": usage,
                "served_by": event.served_by,
                "request_id": event.request_id,
            }
        case Restarted():
            return {"restarted": True}


def event_from(data: Mapping[str, Any]) -> ReplyEvent:
    """Return the event that a mapping of `event_dict` stands for.

    Raises:
        ValueError: It stands for none.
    """
    match data:
        case {"text": str(text), **rest}:
            return TextDelta(text, tuple(_mappings(rest.get("logprobs", ()))))
        case {"reasoning": str(text)}:
            return ReasoningDelta(text)
        case {"tool_call": {"index": int(index), "id": id_, "name": name, "arguments": str(arguments)}}:
            return ToolCallDelta(index=index, id=_text(id_), name=_text(name), arguments=arguments)
        case {"finish": str(reason), "usage": usage, "served_by": served_by, "request_id": request_id}:
            told = None if usage is None else usage_from(usage)
            return Finish(reason=reason, usage=told, served_by=_text(served_by), request_id=_text(request_id))
        case {"restarted": True}:
            return Restarted()
    raise ValueError("this is no piece of a reply")


def usage_from(data: object) -> TokenUsage:
    """Return the usage that a mapping of `TokenUsage.as_dict` stands for.

    Raises:
        ValueError: It stands for none.
    """
    if not isinstance(data, Mapping) or not all(_is_count(data.get(name)) for name in _USAGE_FIELDS):
        raise ValueError("this is no usage of tokens")
    return TokenUsage(**{name: data[name] for name in _USAGE_FIELDS})


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


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"expected text, got {type(value).__name__}")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _mappings(value: object) -> list[Mapping[str, Any]]:
    if isinstance(value, list | tuple) and all(isinstance(item, Mapping) for item in value):
        return list(value)
    raise ValueError("log probabilities must be a list of mappings")
