"""Replies of Anthropic's Messages API: whole, and as a stream of events."""

from collections.abc import Mapping
from typing import Any

import orjson

from moa._messages import ToolCall
from moa._results import Answer
from moa._server.api.errors import anthropic_error
from moa._server.api.request import ApiRequest
from moa._server.api.stream_encoder import EncodedReply, StreamEncoder, call_id, carried_state, thinking
from moa._server.api.tool_call_deltas import ToolCallSequencer
from moa._server.api.usage import openai_tier
from moa._server.http.errors import RequestError
from moa._server.http.exchange import HttpExchange
from moa._usage import TokenUsage
from moa.events import AnswerDelta, AnswerToolCallDelta, Event
from moa.providers._token_estimates import estimated_prompt_tokens

_REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


def _ending(answer: Answer) -> dict[str, Any]:
    """Why the answer ended."""
    stopped_by = answer.stop_sequence
    reason = _REASONS.get(answer.finish_reason, "end_turn" if stopped_by is None else "stop_sequence")
    details = {"type": "refusal", "category": None, "explanation": None} if reason == "refusal" else None
    return {"stop_reason": reason, "stop_sequence": stopped_by, "stop_details": details, "container": None}


def _usage(usage: TokenUsage) -> dict[str, Any]:
    """The usage of all calls; the API counts cached tokens beside the others, not among them."""
    cached, written = usage.cached_input_tokens, usage.cache_write_tokens
    return {
        "input_tokens": max(0, usage.input_tokens - cached - written),
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": written,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
        "server_tool_use": None,
    }


def _id(exchange: HttpExchange) -> str:
    return f"msg_{exchange.id.removeprefix('req-')}"


def _message(exchange: HttpExchange, request: ApiRequest, usage: TokenUsage) -> dict[str, Any]:
    written, for_an_hour = usage.cache_write_tokens, usage.cache_write_1h_tokens
    only_in_messages = {
        "cache_creation": {
            "ephemeral_5m_input_tokens": written - for_an_hour,
            "ephemeral_1h_input_tokens": for_an_hour,
        },
        "inference_geo": None,
        "service_tier": "standard",
    }
    return {
        "id": _id(exchange),
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "usage": {**_usage(usage), **only_in_messages},
        **request.echo,
    }


def messages_reply(exchange: HttpExchange, request: ApiRequest, answer: Answer) -> EncodedReply:
    """Return a whole reply."""
    content = _content(exchange, request, thinking(request, answer), answer)
    message = _message(exchange, request, answer.usage)
    if openai_tier(answer) == "priority":
        message["usage"]["service_tier"] = "priority"
    body = {**message, **_ending(answer), "content": content}
    return EncodedReply(body=body, stored=_stored(exchange, request, content))


def empty_reply(exchange: HttpExchange, request: ApiRequest) -> dict[str, Any]:
    """Return the reply to `max_tokens: 0`, which asks a service to cache the prompt; here no model was asked."""
    return {**_message(exchange, request, TokenUsage()), "stop_reason": "max_tokens"}


def _stored(exchange: HttpExchange, request: ApiRequest, content: list[dict[str, Any]]) -> Mapping[str, Any]:
    """The thread that the message continues, with the message."""
    if request.history is None:
        return {}
    turn = {"role": "assistant", "content": content}
    return {_id(exchange): {**request.history, "messages": [*request.history["messages"], turn]}}


def _content(exchange: HttpExchange, request: ApiRequest, reasoning: str, answer: Answer) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    if (packed := carried_state(exchange, answer)) is not None:
        content.append({"type": "redacted_thinking", "data": packed})
    if reasoning:
        content.append({"type": "thinking", "thinking": reasoning, "signature": ""})
    if answer.text or not answer.tool_calls:
        content.append({"type": "text", "text": answer.text, "citations": []})
    for index, call in enumerate(answer.tool_calls):
        identity, name = call.id or call_id(exchange, index), request.tools.original(call.name).name
        content.append({"type": "tool_use", "id": identity, "name": name, "input": arguments_object(call)})
    return content


def arguments_object(call: ToolCall) -> dict[str, Any]:
    """Return a tool call's arguments as the object that the API has for them; what is none is under `arguments`."""
    try:
        value = orjson.loads(call.arguments or "{}")
    except orjson.JSONDecodeError:
        value = call.arguments
    return value if isinstance(value, dict) else {"arguments": value}


class MessagesStreamEncoder(StreamEncoder):
    """A run as events: blocks of content, one after another, each begun, filled and ended."""

    keep_alive = b'event: ping\ndata: {"type":"ping"}\n\n'

    def __init__(self, exchange: HttpExchange, request: ApiRequest) -> None:
        super().__init__(exchange, request)
        self._tools = ToolCallSequencer()
        self._block = -1
        self._open: object = None
        self._thoughts: list[str] = []

    def opening(self) -> bytes:
        """The message, still empty; its usage is an estimate that the end corrects."""
        request = self._request
        estimate = TokenUsage(input_tokens=estimated_prompt_tokens(request.messages, request.options))
        return _line("message_start", {"message": _message(self._exchange, request, estimate)}) + self.keep_alive

    def event(self, event: Event) -> bytes:
        """The events that one of the engine's makes."""
        match event:
            case AnswerDelta(reasoning=False):
                return self._begun("text", {"type": "text", "text": "", "citations": []}) + self._delta(
                    "text_delta", "text", event.text
                )
            case AnswerDelta():
                return self._thought(event.text)
            case AnswerToolCallDelta():
                return b"".join(map(self._tool, self._tools.add(event)))
        text = self._proposal_text(event)
        return self._thought(text) if text else b""

    def _thought(self, text: str) -> bytes:
        self._thoughts.append(text)
        begun = self._begun("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        return begun + self._delta("thinking_delta", "thinking", text)

    def _tool(self, event: AnswerToolCallDelta) -> bytes:
        identity = event.id or call_id(self._exchange, event.index)
        name = self._request.tools.original(event.name or "").name
        block = {"type": "tool_use", "id": identity, "name": name, "input": {}}
        begun = self._begun(("tool", event.index), block)
        return begun + self._delta("input_json_delta", "partial_json", event.arguments)

    def _begun(self, which: object, block: dict[str, Any]) -> bytes:
        """The end of the block before and the beginning of this one, unless it is open already."""
        if which == self._open:
            return b""
        ended = self._ended()
        self._open, self._block = which, self._block + 1
        return ended + _line("content_block_start", {"index": self._block, "content_block": block})

    def _ended(self) -> bytes:
        return b"" if self._open is None else _line("content_block_stop", {"index": self._block})

    def _delta(self, kind: str, name: str, text: str) -> bytes:
        return _line("content_block_delta", {"index": self._block, "delta": {"type": kind, name: text}})

    def closing(self, answer: Answer, moa: Mapping[str, Any]) -> bytes:
        """The reason, the usage of all calls, and the totals."""
        rest = b"".join(map(self._tool, self._tools.flush()))
        if self._open is None:
            rest += self._begun("text", {"type": "text", "text": "", "citations": []})
        # Clients take the last block for the answer, and services need their state for the results of tools alone.
        packed = carried_state(self._exchange, answer) if answer.tool_calls else None
        if packed is not None:
            rest += self._begun("carried", {"type": "redacted_thinking", "data": packed})
        delta = {"delta": _ending(answer), "usage": _usage(answer.usage), **self._request.echo, "moa": moa}
        return rest + self._ended() + _line("message_delta", delta) + _line("message_stop", {})

    def stored(self, answer: Answer) -> Mapping[str, Any]:
        """The thread that the message continues, with the message."""
        content = _content(self._exchange, self._request, "".join(self._thoughts), answer)
        return _stored(self._exchange, self._request, content)

    def failure(self, failure: RequestError) -> bytes:
        """The error, as the API encodes it in a stream."""
        return b"event: error\ndata: " + orjson.dumps(anthropic_error(failure, self._exchange.id)) + b"\n\n"


def _line(kind: str, fields: dict[str, Any]) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps({"type": kind, **fields}) + b"\n\n"
