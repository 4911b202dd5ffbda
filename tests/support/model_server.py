"""A fake model server on loopback that speaks the OpenAI API and misbehaves on request.

::

    async with ModelServer() as server:
        server.behave("model-a", Text("hi"))                                   # always
        server.behave("model-b", Status(429), Text("second try"))              # one after another; the last one stays
        server.behave("model-c", lambda body, number: Text(f"call {number}"))  # anything
        ... calls to server.base_url ...
        await server.until(lambda: server.cancelled == 1)                      # synchronise without sleeping

It counts what it was asked (`requests`), how many at once (`peak`), which callers went away (`cancelled`), and what it
would charge for (`bill`).
"""

import asyncio
import contextlib
import json
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web


@dataclass(frozen=True)
class Text:
    """A proper reply.

    Attributes:
        chunks: The text, or its pieces when it is streamed.
        reasoning: Sent as `reasoning_content` before the text.
        tool_calls: In the OpenAI API's shape.
        finish: The finish reason.
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


@dataclass(frozen=True)
class Received:
    """One request.

    Attributes:
        number: Its number among this model's requests, from 0.
        peer: The address that it came from, which tells connections apart.
    """

    body: dict[str, Any]
    headers: Mapping[str, str]
    query: Mapping[str, str]
    model: str
    number: int
    peer: object


@dataclass
class Bill:
    """Tokens that the server would charge for: of replies that went out whole, and of those that were cut off."""

    input_tokens: int = 0
    output_tokens: int = 0
    cut_off_input_tokens: int = 0
    cut_off_output_tokens: int = 0

    def add(self, usage: tuple[int, int], *, whole: bool) -> None:
        """Charge for one reply."""
        if whole:
            self.input_tokens, self.output_tokens = self.input_tokens + usage[0], self.output_tokens + usage[1]
        else:
            self.cut_off_input_tokens += usage[0]
            self.cut_off_output_tokens += usage[1]


class ModelServer:
    """The server; `base_url` is known inside of its `async with` block."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.bill = Bill()
        self.cancelled = 0
        self.running = 0
        self.peak = 0
        self.base_url = ""
        self._scripts: dict[str, Script] = {}
        self._counts: Counter[str] = Counter()
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    def behave(self, model: str, *behaviours: Behaviour | Script) -> None:
        """Say how a model behaves: one behaviour, several (the last one stays), or a function of body and number."""
        if len(behaviours) == 1 and callable(behaviours[0]):
            self._scripts[model] = behaviours[0]
            return
        fixed = [behaviour for behaviour in behaviours if not callable(behaviour)]
        assert len(fixed) == len(behaviours) > 0, "give behaviours, or one function"
        self._scripts[model] = lambda body, number: fixed[min(number, len(fixed) - 1)]

    async def until(self, condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Wait until the server's counts satisfy a condition."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(condition)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.base_url = f"http://{host}:{port}/v1"
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": m, "object": "model"} for m in self._scripts]})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        model = body["model"]
        peer = request.get_extra_info("peername")
        received = Received(body, dict(request.headers), dict(request.query), model, self._counts[model], peer)
        self._counts[model] += 1
        self.requests.append(received)
        self.running += 1
        self.peak = max(self.peak, self.running)
        await self._notify()
        try:
            script = self._scripts.get(model) or self._scripts.get("*") or _unknown
            return await self._answer(script(body, received.number), _Exchange(request, body))
        except (asyncio.CancelledError, ConnectionError):
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
            await asyncio.shield(self._notify())

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _answer(self, behaviour: Behaviour, exchange: "_Exchange") -> web.StreamResponse:
        match behaviour:
            case Text():
                return await self._billed(exchange, behaviour, exchange.pieces(behaviour), behaviour.pace_s)
            case Drip():
                return await self._billed(exchange, behaviour.of, exchange.drops(behaviour), behaviour.pace_s)
            case Status():
                return _status(behaviour)
            case Raw():
                return web.Response(
                    body=behaviour.body, status=behaviour.status, headers={"Content-Type": behaviour.content_type}
                )
            case Hang():
                if behaviour.after:
                    await exchange.send(iter(list(exchange.pieces(Text(behaviour.after)))[: len(behaviour.after) + 1]))
                self.bill.add(usage_of(Text(behaviour.after), exchange.body), whole=False)
                await self._notify()
                await asyncio.Event().wait()
            case Reset():
                if behaviour.after_bytes is not None:
                    await exchange.send(iter([exchange.whole(behaviour.of)[: behaviour.after_bytes]]))
                    self.bill.add(usage_of(behaviour.of, exchange.body), whole=False)
                exchange.reset()
        return exchange.response

    async def _billed(
        self, exchange: "_Exchange", text: Text, pieces: Iterator[bytes], pace_s: float
    ) -> web.StreamResponse:
        whole = False
        try:
            if text.gate is not None:
                await text.gate.wait()
            await asyncio.sleep(text.delay_s)
            await exchange.send(pieces, pace_s)
            await exchange.response.write_eof()
            whole = True
        finally:
            self.bill.add(usage_of(text, exchange.body), whole=whole)
        return exchange.response


class _Exchange:
    """One request and the reply to it."""

    def __init__(self, request: web.Request, body: dict[str, Any]) -> None:
        self.body, self._request = body, request
        kind = "text/event-stream" if body.get("stream") else "application/json"
        self.response = web.StreamResponse(headers={"Content-Type": kind, "x-request-id": "req-1"})

    def pieces(self, text: Text) -> Iterator[bytes]:
        return sse(text, self.body) if self.body.get("stream") else iter([completion(text, self.body)])

    def whole(self, text: Text) -> bytes:
        return b"".join(self.pieces(text))

    def drops(self, drip: Drip) -> Iterator[bytes]:
        whole = self.whole(drip.of)
        return (whole[at : at + drip.size] for at in range(0, len(whole), drip.size))

    async def send(self, pieces: Iterator[bytes], pace_s: float = 0.0) -> None:
        await self.response.prepare(self._request)
        for piece in pieces:
            await self.response.write(piece)
            await asyncio.sleep(pace_s)

    def reset(self) -> None:
        # A linger of 0 s makes the kernel send RST in place of FIN.
        transport = self._request.transport
        assert transport is not None
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


def sse(text: Text, body: Mapping[str, Any]) -> Iterator[bytes]:
    """Give a reply as the events of a stream, usage last if the request asks for it."""
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}

    def event(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return b"data: " + json.dumps({**base, "choices": [choice]}).encode() + b"\n\n"

    yield event({"role": "assistant", "content": ""})
    if text.reasoning:
        yield event({"reasoning_content": text.reasoning})
    for piece in text.pieces:
        yield event({"content": piece})
    for index, call in enumerate(text.tool_calls):
        yield event({"tool_calls": [{"index": index, **call}]})
    yield event({}, text.finish)
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


def _status(behaviour: Status) -> web.Response:
    body = behaviour.body
    if body is None:
        body = {"error": {"message": f"planned fault {behaviour.code}", "type": "error", "param": None, "code": None}}
    text, kind = (body, "text/plain") if isinstance(body, str) else (json.dumps(body), "application/json")
    return web.Response(status=behaviour.code, text=text, content_type=kind, headers=dict(behaviour.headers))


def _unknown(body: dict[str, Any], number: int) -> Behaviour:
    message = f"The model `{body['model']}` does not exist"
    return Status(404, {"error": {"message": message, "type": "invalid_request_error", "code": "model_not_found"}})
