"""Replies of OpenAI's Responses API: whole, and as a stream of events."""

import time
from collections.abc import Mapping
from typing import Any

import orjson

from moa._results import Answer
from moa._server.api.request import ApiRequest
from moa._server.api.stream_encoder import EncodedReply, StreamEncoder, call_id, carried_state, thinking
from moa._server.api.tool_call_deltas import ToolCallSequencer
from moa._server.api.translated_tools import custom_input
from moa._server.api.usage import openai_tier
from moa._server.http.errors import RequestError
from moa._server.http.exchange import HttpExchange
from moa._usage import TokenUsage
from moa.events import AnswerDelta, AnswerToolCallDelta, Event

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def responses_reply(exchange: HttpExchange, request: ApiRequest, answer: Answer) -> EncodedReply:
    """Return a whole reply."""
    items: list[_OutputItem] = []
    if reasoning := thinking(request, answer):
        items.append(_OutputItem(exchange, request, ("reasoning", 0), len(items), text=reasoning))
    if answer.text or not answer.tool_calls:
        items.append(_OutputItem(exchange, request, ("text", 0), len(items), text=answer.text))
        items[-1].logprobs = list(answer.logprobs)
    for index, call in enumerate(answer.tool_calls):
        delta = AnswerToolCallDelta(index=index, id=call.id, name=call.name, arguments="")
        items.append(_OutputItem(exchange, request, ("call", index), len(items), delta, text=call.arguments))
    output = [item.whole() for item in items]
    if (packed := carried_state(exchange, answer)) is not None:
        output.insert(0, _carried_item(exchange, len(output), packed))
    body = _ended(_response(exchange, request), answer, output)
    return EncodedReply(body=body, stored=_stored(request, body))


def _stored(request: ApiRequest, response: Mapping[str, Any]) -> Mapping[str, Any]:
    """The response with its conversation under its id, and each item of it under its own.

    Without its tools: those of coding agents are larger than the conversation, and there is room for few large values.
    """
    if request.history is None:
        return {}
    items, output = request.history["items"], response["output"]
    whole = {"items": [*items, *output], "given": len(items), "response": {**response, "output": [], "tools": []}}
    return {response["id"]: whole, **{item["id"]: item for item in output}}


def _response(exchange: HttpExchange, request: ApiRequest) -> dict[str, Any]:
    return {
        "id": f"resp_{exchange.id.removeprefix('req-')}",
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
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
        "completed_at": None if why else int(time.time()),
        "incomplete_details": {"reason": why} if why else None,
        "output": output,
        "usage": _usage(answer.usage),
        "service_tier": openai_tier(answer),
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


def _carried_item(exchange: HttpExchange, number: int, packed: str) -> dict[str, Any]:
    """What clients send back for the aggregator's service: it belongs to the items beside it."""
    identity = f"rs_{exchange.id.removeprefix('req-')}_{number}"
    return {"id": identity, "type": "reasoning", "summary": [], "encrypted_content": packed}


def _text_part(text: str, logprobs: list[Any]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


class ResponsesStreamEncoder(StreamEncoder):
    """A run as events: items of output, one after another, each added, filled and done."""

    def __init__(self, exchange: HttpExchange, request: ApiRequest) -> None:
        super().__init__(exchange, request)
        self._response = _response(exchange, request)
        self._tools = ToolCallSequencer()
        self._number = 0
        self._done: list[dict[str, Any]] = []
        self._item: _OutputItem | None = None

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
            self._item = _OutputItem(self._exchange, self._request, which, len(self._done), call)
            begun += self._lines(self._item.added())
        self._item.logprobs += logprobs or []
        return begun + (self._lines(self._item.delta(text, logprobs or [])) if text else b"")

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

    def closing(self, answer: Answer, moa: Mapping[str, Any]) -> bytes:
        """The whole response with the usage of all calls, and the totals."""
        rest = b"".join(map(self._call, self._tools.flush()))
        if self._item is None:
            rest += self._piece("text", "")
        rest += self._end_item()
        # Clients take the last item for the answer, and services need their state for the results of tools alone.
        packed = carried_state(self._exchange, answer) if answer.tool_calls else None
        if packed is not None:
            item = _carried_item(self._exchange, len(self._done), packed)
            added = ("response.output_item.added", {"item": item})
            rest += self._lines([added, ("response.output_item.done", {"item": item})])
            self._done.append(item)
        self._response = _ended(self._response, answer, self._done)
        return rest + self._line(f"response.{self._response['status']}", {"response": {**self._response, "moa": moa}})

    def stored(self, answer: Answer) -> Mapping[str, Any]:
        """The response with its conversation under its id, and each item of it under its own."""
        return _stored(self._request, self._response)

    def failure(self, failure: RequestError) -> bytes:
        """The response, failed."""
        causes = [dict(cause) for cause in failure.causes]
        error = {"code": _error_code(failure), "message": failure.message}
        moa = {"request_id": self._exchange.id, "code": failure.code, "causes": causes}
        response = {**self._response, "status": "failed", "error": error, "output": self._done, "moa": moa}
        return self._line("response.failed", {"response": response})


def _error_code(failure: RequestError) -> str:
    """The error's code, one of those that clients of the API know."""
    if failure.code in ("context_length_exceeded", "rate_limit_exceeded", "insufficient_quota"):
        return failure.code
    known = {429: "rate_limit_exceeded", 402: "insufficient_quota"}
    return known.get(failure.status, "invalid_prompt" if failure.status < 500 else "server_error")


_PREFIXES = {"text": "msg", "reasoning": "rs", "function": "fc", "custom": "ctc"}


class _OutputItem:
    """One item of output while it is written.

    Args:
        exchange: The request that is answered.
        request: What was asked; it knows the tools.
        which: `text`, `reasoning` or `call`, with the number of the call.
        number: Of the item in the output.
        call: The first piece of a call.
        text: What is written already.
    """

    def __init__(
        self,
        exchange: HttpExchange,
        request: ApiRequest,
        which: tuple[str, int],
        number: int,
        call: AnswerToolCallDelta | None = None,
        *,
        text: str = "",
    ) -> None:
        self.which, self.logprobs = which, list[Any]()
        self._tool = request.tools.original((call and call.name) or "")
        self._kind = self._tool.kind if which[0] == "call" else which[0]
        self._text = [text]
        self._id = f"{_PREFIXES[self._kind]}_{exchange.id.removeprefix('req-')}_{number}"
        self._call_id = (call and call.id) or call_id(exchange, which[1])

    def whole(self, status: str = "completed") -> dict[str, Any]:
        """The item as it is in the response."""
        text = "".join(self._text)
        match self._kind:
            case "text":
                content = [_text_part(text, self.logprobs)]
                return {
                    "id": self._id,
                    "type": "message",
                    "role": "assistant",
                    "status": status,
                    "content": content,
                }
            case "reasoning":
                summary = [{"type": "summary_text", "text": text}]
                return {"id": self._id, "type": "reasoning", "summary": summary, "encrypted_content": None}
        tool = {"call_id": self._call_id, "name": self._tool.name, "status": status}
        if self._tool.namespace is not None:
            tool["namespace"] = self._tool.namespace
        if self._kind == "custom":
            return {"id": self._id, "type": "custom_tool_call", **tool, "input": custom_input(text) if text else ""}
        return {"id": self._id, "type": "function_call", **tool, "arguments": text}

    def _place(self) -> dict[str, Any]:
        """Where in the response the item's events say that they belong."""
        extra = {"text": {"content_index": 0}, "reasoning": {"summary_index": 0}}
        return {"item_id": self._id, **extra.get(self._kind, {})}

    def added(self) -> list[tuple[str, dict[str, Any]]]:
        """The events with which it begins."""
        place, item = self._place(), self.whole("in_progress")
        match self._kind:
            case "text":
                part = ("response.content_part.added", {**place, "part": _text_part("", [])})
                return [("response.output_item.added", {"item": {**item, "content": []}}), part]
            case "reasoning":
                empty = {"type": "summary_text", "text": ""}
                part = ("response.reasoning_summary_part.added", {**place, "part": empty})
                return [("response.output_item.added", {"item": {**item, "summary": []}}), part]
        return [("response.output_item.added", {"item": item})]

    def delta(self, text: str, logprobs: list[Any]) -> list[tuple[str, dict[str, Any]]]:
        """The events of one piece."""
        self._text.append(text)
        place = {**self._place(), "delta": text}
        match self._kind:
            case "text":
                return [("response.output_text.delta", {**place, "logprobs": logprobs})]
            case "reasoning":
                return [("response.reasoning_summary_text.delta", place)]
            case "custom":
                # Its input is inside the function's JSON arguments, and can be decoded once they are complete.
                return []
        return [("response.function_call_arguments.delta", place)]

    def ended(self) -> list[tuple[str, dict[str, Any]]]:
        """The events with which it ends."""
        place, whole, text = self._place(), self.whole(), "".join(self._text)
        done = ("response.output_item.done", {"item": whole})
        match self._kind:
            case "text":
                part = ("response.content_part.done", {**place, "part": whole["content"][0]})
                return [("response.output_text.done", {**place, "text": text, "logprobs": self.logprobs}), part, done]
            case "reasoning":
                part = ("response.reasoning_summary_part.done", {**place, "part": whole["summary"][0]})
                return [("response.reasoning_summary_text.done", {**place, "text": text}), part, done]
            case "custom":
                delta = {**place, "delta": whole["input"]}
                return [
                    ("response.custom_tool_call_input.delta", delta),
                    ("response.custom_tool_call_input.done", {**place, "input": whole["input"]}),
                    done,
                ]
        arguments = {**place, "name": self._tool.name, "arguments": text}
        return [("response.function_call_arguments.done", arguments), done]
