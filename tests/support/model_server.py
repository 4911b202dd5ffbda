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
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web

from tests.support.behaviours import (
    Behaviour,
    Drip,
    Hang,
    Raw,
    Reset,
    Script,
    Status,
    Text,
    completion,
    sse,
    usage_of,
)

__all__ = ["Bill", "Drip", "Hang", "ModelServer", "Raw", "Received", "Reset", "Status", "Text"]


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
        site = web.TCPSite(self._runner, "127.0.0.1", 0, backlog=4096)
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


def _status(behaviour: Status) -> web.Response:
    body = behaviour.body
    if body is None:
        body = {"error": {"message": f"planned fault {behaviour.code}", "type": "error", "param": None, "code": None}}
    text, kind = (body, "text/plain") if isinstance(body, str) else (json.dumps(body), "application/json")
    return web.Response(status=behaviour.code, text=text, content_type=kind, headers=dict(behaviour.headers))


def _unknown(body: dict[str, Any], number: int) -> Behaviour:
    message = f"The model `{body['model']}` does not exist"
    return Status(404, {"error": {"message": message, "type": "invalid_request_error", "code": "model_not_found"}})
