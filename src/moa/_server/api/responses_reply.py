"""Replies of OpenAI's Responses API: whole, and as a stream of events."""

import time
from typing import Any

import orjson

from moa._messages import ToolCall
from moa._results import Answer
from moa._server.api.request import ApiRequest
from moa._server.api.stream_encoder import BaseStreamEncoder, call_id, thinking
from moa._server.api.tool_call_deltas import ToolCallSequencer
from moa._server.api.usage import moa_field, total_headers
from moa._server.http.errors import ErrorResponse
from moa._server.http.exchange import HeaderList, HttpExchange
from moa._usage import TokenUsage
from moa.events import AnswerDelta, AnswerToolCallDelta, Event, RunFinished

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def responses_reply(
    exchange: HttpExchange, request: ApiRequest, answer: Answer, *, show_details: bool
) -> tuple[bytes, HeaderList]:
    """Return a whole reply: its body and its headers."""
    reasoning = thinking(request, answer)
    output = [_reasoning_item(_item_id(exchange, "rs", 0), reasoning)] if reasoning else []
    if answer.text or not answer.tool_calls:
        output.append(_message_item(_item_id(exchange, "msg", 0), answer.text, list(answer.logprobs)))
    for index, call in enumerate(answer.tool_calls):
        output.append(_call_item(exchange, index, call))
    body = _ended(_response(exchange, request), answer, output)
    if request.moa.ledger:
        body["moa"] = moa_field(request, answer, show_details=show_details)
    return orjson.dumps(body), total_headers(answer)


def _response(exchange: HttpExchange, request: ApiRequest) -> dict[str, Any]:
    return {
        "id": f"resp_{exchange.id.removeprefix('req-')}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": request.model,
        "output": [],
        "reasoning": {"effort": request.sampling.reasoning_effort, "summary": None},
        "usage": None,
        **request.echo,
    }


def _ended(response: dict[str, Any], answer: Answer, output: list[dict[str, Any]]) -> dict[str, Any]:
    """The response of a run that has ended well."""
    why = _INCOMPLETE.get(answer.finish_reason)
    return {
        **response,
        "status": "incomplete" if why else "completed",
        "incomplete_details": {"reason": why} if why else None,
        "output": output,
        "usage": _usage(answer.usage),
    }


def _usage(usage: TokenUsage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def _item_id(exchange: HttpExchange, kind: str, index: int) -> str:
    return f"{kind}_{exchange.id.removeprefix('req-')}_{index}"


def _reasoning_item(identity: str, text: str) -> dict[str, Any]:
    return {"id": identity, "type": "reasoning", "summary": [{"type": "summary_text", "text": text}]}


def _text_part(text: str, logprobs: list[Any]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _message_item(identity: str, text: str, logprobs: list[Any]) -> dict[str, Any]:
    content = [_text_part(text, logprobs)]
    return {"id": identity, "type": "message", "role": "assistant", "status": "completed", "content": content}


def _call_item(exchange: HttpExchange, index: int, call: ToolCall) -> dict[str, Any]:
    return {
        "id": _item_id(exchange, "fc", index),
        "type": "function_call",
        "status": "completed",
        "call_id": call.id or call_id(exchange.id, index),
        "name": call.name,
        "arguments": call.arguments,
    }


class ResponsesStreamEncoder(BaseStreamEncoder):
    """A run as events: items of output, one after another, each added, filled and done."""

    keep_alive = b": keep-alive\n\n"

    def __init__(self, exchange: HttpExchange, request: ApiRequest, *, show_details: bool) -> None:
        super().__init__(exchange, request, show_details=show_details)
        self._response = _response(exchange, request)
        self._tools = ToolCallSequencer()
        self._number = 0
        self._done: list[dict[str, Any]] = []
        self._item: _Item | None = None

    def opening(self) -> bytes:
        """The response, still empty."""
        created = self._line("response.created", {"response": self._response})
        return created + self._line("response.in_progress", {"response": self._response})

    def event(self, event: Event) -> bytes:
        """The events that one of the engine's makes."""
        match event:
            case AnswerDelta(reasoning=False):
                return self._piece("text", event.text, logprobs=list(event.logprobs))
            case AnswerDelta():
                return self._piece("reasoning", event.text)
            case AnswerToolCallDelta():
                return b"".join(map(self._call, self._tools.add(event)))
            case RunFinished():
                self._finished = event.answer
                return b"".join(map(self._call, self._tools.flush()))
        text = self._proposal_text(event)
        return self._piece("reasoning", text) if text else b""

    def _call(self, piece: AnswerToolCallDelta) -> bytes:
        return self._piece("call", piece.arguments, call=piece)

    def _piece(
        self, kind: str, text: str, *, logprobs: list[Any] | None = None, call: AnswerToolCallDelta | None = None
    ) -> bytes:
        which = (kind, call.index if call else 0)
        begun = b""
        if self._item is None or self._item.which != which:
            begun = self._end_item()
            self._item = _Item(self._exchange, which, len(self._done), call)
            begun += self._lines(self._item.added())
        self._item.logprobs += logprobs or []
        return begun + (self._lines([self._item.delta(text, logprobs or [])]) if text else b"")

    def _end_item(self) -> bytes:
        if self._item is None:
            return b""
        lines = self._lines(self._item.ended())
        self._done.append(self._item.whole())
        self._item = None
        return lines

    def _lines(self, events: list[tuple[str, dict[str, Any]]]) -> bytes:
        return b"".join(self._line(kind, {"output_index": len(self._done), **fields}) for kind, fields in events)

    def _line(self, kind: str, fields: dict[str, Any]) -> bytes:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"

    def closing(self) -> bytes:
        """The whole response with the usage of all calls, and the totals."""
        answer = self._answer
        empty = b"" if self._item else self._piece("text", "")
        ended = self._end_item()
        response = _ended(self._response, answer, self._done)
        response["moa"] = self._moa
        return empty + ended + self._line(f"response.{response['status']}", {"response": response})

    def failure(self, failure: ErrorResponse) -> bytes:
        """The response, failed."""
        causes = [dict(cause) for cause in failure.causes]
        error = {"code": failure.code, "message": failure.message}
        moa = {"request_id": self._exchange.id, "causes": causes}
        response = {**self._response, "status": "failed", "error": error, "output": self._done, "moa": moa}
        return self._line("response.failed", {"response": response})


class _Item:
    """One item of output while it is written."""

    def __init__(
        self, exchange: HttpExchange, which: tuple[str, int], number: int, call: AnswerToolCallDelta | None
    ) -> None:
        self.which, self.logprobs = which, list[Any]()
        self._kind, index = which
        self._text: list[str] = []
        self._id = _item_id(exchange, {"text": "msg", "reasoning": "rs", "call": "fc"}[self._kind], number)
        self._call_id = (call and call.id) or call_id(exchange.id, index)
        self._name = (call and call.name) or ""

    def _place(self) -> dict[str, Any]:
        match self._kind:
            case "text":
                return {"item_id": self._id, "content_index": 0}
            case "reasoning":
                return {"item_id": self._id, "summary_index": 0}
        return {"item_id": self._id}

    def whole(self) -> dict[str, Any]:
        """The item as it is in the response."""
        text = "".join(self._text)
        match self._kind:
            case "text":
                return _message_item(self._id, text, self.logprobs)
            case "reasoning":
                return _reasoning_item(self._id, text)
        fields = {"call_id": self._call_id, "name": self._name, "arguments": text, "status": "completed"}
        return {"id": self._id, "type": "function_call", **fields}

    def added(self) -> list[tuple[str, dict[str, Any]]]:
        """The events with which it begins."""
        place, whole = self._place(), self.whole()
        match self._kind:
            case "text":
                item = {**whole, "status": "in_progress", "content": []}
                part = ("response.content_part.added", {**place, "part": _text_part("", [])})
            case "reasoning":
                item = {**whole, "summary": []}
                empty = {"type": "summary_text", "text": ""}
                part = ("response.reasoning_summary_part.added", {**place, "part": empty})
            case _:
                return [("response.output_item.added", {"item": {**whole, "status": "in_progress"}})]
        return [("response.output_item.added", {"item": item}), part]

    def delta(self, text: str, logprobs: list[Any]) -> tuple[str, dict[str, Any]]:
        """The event of one piece."""
        self._text.append(text)
        match self._kind:
            case "text":
                return "response.output_text.delta", {**self._place(), "delta": text, "logprobs": logprobs}
            case "reasoning":
                return "response.reasoning_summary_text.delta", {**self._place(), "delta": text}
        return "response.function_call_arguments.delta", {**self._place(), "delta": text}

    def ended(self) -> list[tuple[str, dict[str, Any]]]:
        """The events with which it ends."""
        place, whole, text = self._place(), self.whole(), "".join(self._text)
        done = ("response.output_item.done", {"item": whole})
        match self._kind:
            case "text":
                part = whole["content"][0]
                told = ("response.output_text.done", {**place, "text": text, "logprobs": self.logprobs})
                return [told, ("response.content_part.done", {**place, "part": part}), done]
            case "reasoning":
                part = whole["summary"][0]
                told = ("response.reasoning_summary_text.done", {**place, "text": text})
                return [told, ("response.reasoning_summary_part.done", {**place, "part": part}), done]
        return [("response.function_call_arguments.done", {**place, "name": self._name, "arguments": text}), done]
