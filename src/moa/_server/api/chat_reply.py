"""Replies of OpenAI's Chat Completions API: whole, and as a stream of chunks."""

import time
from collections.abc import Mapping
from typing import Any

import orjson

from moa._messages import ToolCall
from moa._results import Answer
from moa._server.api.errors import openai_error
from moa._server.api.request import ApiRequest
from moa._server.api.stream_encoder import EncodedReply, StreamEncoder, call_id, carried_state, thinking
from moa._server.api.translated_tools import custom_input
from moa._server.api.usage import openai_tier, openai_usage
from moa._server.http.errors import RequestError
from moa._server.http.exchange import HttpExchange
from moa.events import AnswerDelta, AnswerToolCallDelta, Event

_REASONS = ("stop", "length", "tool_calls", "content_filter")


def finish_reason(answer: Answer) -> str:
    """Return the API's finish reason."""
    return answer.finish_reason if answer.finish_reason in _REASONS else "stop"


def chat_reply(exchange: HttpExchange, request: ApiRequest, answer: Answer) -> EncodedReply:
    """Return a whole reply."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": answer.text if answer.text or not answer.tool_calls else None,
        "refusal": None,
        "annotations": [],
    }
    reasoning = thinking(request, answer)
    if reasoning:
        message["reasoning_content"] = reasoning
    if answer.tool_calls:
        message["tool_calls"] = [
            _tool_call(request, call, call.id or call_id(exchange, index))
            for index, call in enumerate(answer.tool_calls)
        ]
    if (packed := carried_state(exchange, answer)) is not None:
        message["reasoning_details"] = [_carried(packed)]
    wants_logprobs = request.options.top_logprobs is not None
    logprobs = {"content": list(answer.logprobs), "refusal": None} if wants_logprobs else None
    choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish_reason(answer)}
    body = {
        "id": _id(exchange),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request.model,
        "choices": [choice],
        "usage": openai_usage(answer.usage),
        "service_tier": openai_tier(answer),
    }
    return EncodedReply(body=body)


def _carried(packed: str) -> dict[str, Any]:
    """What clients send back for the aggregator's service, in the shape that OpenRouter gave it."""
    return {"type": "reasoning.encrypted", "data": packed, "id": None, "format": "moa", "index": 0}


def _tool_call(request: ApiRequest, call: ToolCall, identity: str) -> dict[str, Any]:
    """A tool call as the client knows the tool."""
    tool = request.tools.original(call.name)
    if tool.kind == "custom":
        return {
            "id": identity,
            "type": "custom",
            "custom": {"name": tool.name, "input": custom_input(call.arguments)},
        }
    return {"id": identity, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _id(exchange: HttpExchange) -> str:
    return f"chatcmpl-{exchange.id.removeprefix('req-')}"


class ChatStreamEncoder(StreamEncoder):
    """A run as chunks."""

    def __init__(self, exchange: HttpExchange, request: ApiRequest) -> None:
        super().__init__(exchange, request)
        self._tools: set[int] = set()
        self._custom: set[int] = set()
        head = {
            "id": _id(exchange),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": request.model,
        }
        self._head = b"data: " + orjson.dumps(head)[:-1]
        # What all pieces of text have in common is written once: they are by far the most frequent chunks.
        usage = b',"usage":null' if request.include_usage else b""
        self._before = self._head + usage + b',"choices":[{"index":0,"delta":{"content":'
        self._after = b'},"logprobs":null,"finish_reason":null}]}\n\n'

    def opening(self) -> bytes:
        """The first chunk, which has the role."""
        return self._chunk({"role": "assistant", "content": ""})

    def event(self, event: Event) -> bytes:
        """The chunks of one event."""
        match event:
            case AnswerDelta(reasoning=False, logprobs=()):
                return self._before + orjson.dumps(event.text) + self._after
            case AnswerDelta(reasoning=True):
                return self._chunk({"reasoning_content": event.text})
            case AnswerDelta():
                return self._chunk({"content": event.text}, {"content": list(event.logprobs), "refusal": None})
            case AnswerToolCallDelta():
                return self._function_delta(event)
        text = self._proposal_text(event)
        return self._chunk({"reasoning_content": text}) if text else b""

    def _function_delta(self, event: AnswerToolCallDelta) -> bytes:
        if event.index in self._custom or self._request.tools.original(event.name or "").kind == "custom":
            # Its input is inside the function's JSON arguments, and can be decoded once they are complete.
            self._custom.add(event.index)
            return b""
        piece: dict[str, Any] = {"index": event.index, "function": {"arguments": event.arguments}}
        if event.index not in self._tools:
            self._tools.add(event.index)
            piece |= {"id": event.id or call_id(self._exchange, event.index), "type": "function"}
        if event.name is not None:
            piece["function"]["name"] = event.name
        return self._chunk({"tool_calls": [piece]})

    def _chunk(self, delta: dict[str, Any], logprobs: object = None, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return self._line(
            {"usage": None, "choices": [choice]} if self._request.include_usage else {"choices": [choice]}
        )

    def _line(self, fields: dict[str, Any]) -> bytes:
        return self._head + b"," + orjson.dumps(fields)[1:] + b"\n\n"

    def closing(self, answer: Answer, moa: Mapping[str, Any]) -> bytes:
        """The reason, the usage of all calls if it was asked for, the totals with the last chunk."""
        custom = b"".join(self._custom_call(index, answer.tool_calls[index]) for index in sorted(self._custom))
        if (packed := carried_state(self._exchange, answer)) is not None:
            custom += self._chunk({"reasoning_details": [_carried(packed)]})
        choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": finish_reason(answer)}
        if not self._request.include_usage:
            last = self._line({"choices": [choice], "service_tier": openai_tier(answer), "moa": moa})
            return custom + last + b"data: [DONE]\n\n"
        totals = {"usage": openai_usage(answer.usage), "service_tier": openai_tier(answer), "moa": moa}
        last = self._line({"choices": [], **totals})
        return custom + self._line({"usage": None, "choices": [choice]}) + last + b"data: [DONE]\n\n"

    def _custom_call(self, index: int, call: ToolCall) -> bytes:
        whole = _tool_call(self._request, call, call.id or call_id(self._exchange, index))
        return self._chunk({"tool_calls": [{"index": index, **whole}]})

    def failure(self, failure: RequestError) -> bytes:
        """The error, as the API encodes it in a stream; without `[DONE]`, as the answer is incomplete."""
        return b"data: " + orjson.dumps(openai_error(failure, self._exchange.id)) + b"\n\n"
