"""Replies of OpenAI's Chat Completions API: whole, and as a stream of chunks."""

import time
from typing import Any

import orjson

from moa._results import Answer
from moa._server.api.errors import openai_error
from moa._server.api.request import ApiRequest
from moa._server.api.stream_encoder import BaseStreamEncoder, call_id, thinking
from moa._server.api.usage import moa_field, openai_usage, total_headers
from moa._server.http.errors import ErrorResponse
from moa._server.http.exchange import HeaderList, HttpExchange
from moa.events import AnswerDelta, AnswerToolCallDelta, Event, RunFinished

_REASONS = ("stop", "length", "tool_calls", "content_filter")


def finish_reason(answer: Answer) -> str:
    """Return why the answer ended, in the API's words."""
    return answer.finish_reason if answer.finish_reason in _REASONS else "stop"


def chat_reply(
    exchange: HttpExchange, request: ApiRequest, answer: Answer, *, show_details: bool
) -> tuple[bytes, HeaderList]:
    """Return a whole reply: its body and its headers."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": answer.text if answer.text or not answer.tool_calls else None,
        "refusal": None,
    }
    reasoning = thinking(request, answer)
    if reasoning:
        message["reasoning_content"] = reasoning
    if answer.tool_calls:
        message["tool_calls"] = [
            {
                "id": call.id or call_id(exchange.id, index),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for index, call in enumerate(answer.tool_calls)
        ]
    logprobs = {"content": list(answer.logprobs), "refusal": None} if request.options.top_logprobs is not None else None
    choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish_reason(answer)}
    body = {
        "id": _id(exchange),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request.model,
        "choices": [choice],
        "usage": openai_usage(answer.usage),
    }
    if request.moa.ledger:
        body["moa"] = moa_field(request, answer, show_details=show_details)
    return orjson.dumps(body), total_headers(answer)


def _id(exchange: HttpExchange) -> str:
    return f"chatcmpl-{exchange.id.removeprefix('req-')}"


class ChatStreamEncoder(BaseStreamEncoder):
    """A run as chunks."""

    keep_alive = b": keep-alive\n\n"

    def __init__(self, exchange: HttpExchange, request: ApiRequest, *, show_details: bool) -> None:
        super().__init__(exchange, request, show_details=show_details)
        self._tools: set[int] = set()
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
        """The first chunk says whose turn it is."""
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
                return self._tool(event)
            case RunFinished():
                self._finished = event.answer
                return b""
        text = self._proposal_text(event)
        return self._chunk({"reasoning_content": text}) if text else b""

    def _tool(self, event: AnswerToolCallDelta) -> bytes:
        piece: dict[str, Any] = {"index": event.index, "function": {"arguments": event.arguments}}
        if event.index not in self._tools:
            self._tools.add(event.index)
            piece |= {"id": event.id or call_id(self._exchange.id, event.index), "type": "function"}
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

    def closing(self) -> bytes:
        """The reason, the usage of all calls if it was asked for, the totals with the last chunk."""
        answer = self._answer
        choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": finish_reason(answer)}
        if not self._request.include_usage:
            return self._line({"choices": [choice], "moa": self._moa}) + b"data: [DONE]\n\n"
        last = self._line({"choices": [], "usage": openai_usage(answer.usage), "moa": self._moa})
        return self._line({"usage": None, "choices": [choice]}) + last + b"data: [DONE]\n\n"

    def failure(self, failure: ErrorResponse) -> bytes:
        """The error, as the API tells of it inside of streams; without `[DONE]`, as nothing is done."""
        return b"data: " + orjson.dumps(openai_error(failure, self._exchange.id)) + b"\n\n"
