"""How a fake model behaves, and its proper replies as the OpenAI API writes them."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Text:
    """A proper reply.

    Attributes:
        chunks: The text, or its pieces when it is streamed.
        reasoning: Sent as `reasoning_content` before the text.
        tool_calls: In the OpenAI API's shape; for a stream they may be pieces, with an `index` of their own.
        finish: The finish reason.
        stop_reason: The stop text, or the token, that ended the reply, as vLLM's server says it.
        usage: Prompt and completion tokens; by default one for each word of the prompt and of the reply.
        reports_usage: Whether the reply tells its usage.
        delay_s: Seconds before the headers.
        pace_s: Seconds between two pieces of a stream.
        gate: The reply waits for this event before its headers.
    """

    chunks: str | tuple[str, ...]
    reasoning: str = ""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    finish: str = "stop"
    stop_reason: str | int | None = None
    usage: tuple[int, int] | None = None
    reports_usage: bool = True
    delay_s: float = 0.0
    pace_s: float = 0.0
    gate: asyncio.Event | None = None

    @property
    def pieces(self) -> tuple[str, ...]:
        """The text's pieces."""
        return (self.chunks,) if isinstance(self.chunks, str) else self.chunks


@dataclass(frozen=True)
class Status:
    """A reply with this HTTP status; by default its body is an error in the OpenAI API's shape."""

    code: int
    body: Mapping[str, Any] | str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Raw:
    """These bytes as the whole body."""

    body: bytes
    content_type: str = "text/event-stream"
    status: int = 200


@dataclass(frozen=True)
class Hang:
    """Silence until the caller goes away: before the headers, or after these pieces of a stream."""

    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reset:
    """The connection is reset: before the headers (None), or after so many bytes of this reply's body."""

    after_bytes: int | None = None
    of: Text = Text(("one ", "two ", "three"))


@dataclass(frozen=True)
class Drip:
    """A proper reply, `size` bytes at a time."""

    of: Text
    size: int = 1
    pace_s: float = 0.0


Behaviour = Text | Status | Raw | Hang | Reset | Drip
Script = Callable[[dict[str, Any], int], Behaviour]


def sse(text: Text, body: Mapping[str, Any]) -> Iterator[bytes]:
    """Give a reply as the events of a stream, usage last if the request asks for it."""
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}

    def event(delta: Mapping[str, Any], finish: str | None = None, **others: object) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, **others}
        return b"data: " + json.dumps({**base, "choices": [choice]}).encode() + b"\n\n"

    yield event({"role": "assistant", "content": ""})
    if text.reasoning:
        yield event({"reasoning_content": text.reasoning})
    for piece in text.pieces:
        yield event({"content": piece})
    for index, call in enumerate(text.tool_calls):
        yield event({"tool_calls": [{"index": index, **call}]})
    yield event({}, text.finish, stop_reason=text.stop_reason)
    if text.reports_usage and (body.get("stream_options") or {}).get("include_usage"):
        yield b"data: " + json.dumps({**base, "choices": [], "usage": _usage(text, body)}).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


def completion(text: Text, body: Mapping[str, Any]) -> bytes:
    """Return a reply as one JSON object."""
    message: dict[str, Any] = {"role": "assistant", "content": "".join(text.pieces)}
    if text.reasoning:
        message["reasoning_content"] = text.reasoning
    if text.tool_calls:
        message |= {"content": message["content"] or None, "tool_calls": list(text.tool_calls)}
    choice = {"index": 0, "message": message, "finish_reason": text.finish, "logprobs": None}
    choice["stop_reason"] = text.stop_reason
    reply = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice]}
    return json.dumps(reply | ({"usage": _usage(text, body)} if text.reports_usage else {})).encode()


def usage_of(text: Text, body: Mapping[str, Any]) -> tuple[int, int]:
    """Return the prompt and completion tokens that a reply is charged for."""
    if text.usage is not None:
        return text.usage
    prompt = sum(len(str(message.get("content")).split()) for message in body["messages"])
    return prompt, len((text.reasoning + " " + "".join(text.pieces)).split())


def _usage(text: Text, body: Mapping[str, Any]) -> dict[str, int]:
    prompt, completed = usage_of(text, body)
    return {"prompt_tokens": prompt, "completion_tokens": completed, "total_tokens": prompt + completed}
