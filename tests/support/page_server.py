"""The real server with scripted models behind it, for the playground to parse_messages to."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, Self

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from moa._config.settings import Settings
from moa._mixture.schema import Mixture
from moa._runtime.engine import Engine
from moa._server.app import create_app
from moa._server.options import ServerOptions
from tests.support.gated import GatedProvider

ENDPOINTS = ("fake", "bedrock", "together")


class PageServer:
    """The server on loopback, for as long as the block lasts; `reset` makes it a new one at the same address.

    Attributes:
        models: Behind every endpoint; its scripts may be replaced at any time.
        refusal: If given, every request to the API gets this status and error in place of an answer.
        runs: The bodies of all requests for runs.
        keys: What every request to the API had as its authorization.
        url: Where it is.
    """

    def __init__(self, mixtures: Sequence[Mixture]) -> None:
        self.reset(mixtures)
        self._ended = asyncio.Condition()
        # Bound methods have to be told apart from the applications of former times.
        config = uvicorn.Config(self._app, port=0, interface="asgi3", lifespan="off", log_config=None)
        self._server = uvicorn.Server(config)
        self.url = ""

    def reset(self, mixtures: Sequence[Mixture]) -> None:
        """Serve these mixtures, and forget everything that has happened."""
        self.models = GatedProvider()
        self.refusal: tuple[int, dict[str, Any]] | None = None
        self.runs: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        engine = Engine(settings=Settings(endpoints={}), providers=dict.fromkeys(ENDPOINTS, self.models))
        self._real = create_app(engine, ServerOptions(mixtures=tuple(mixtures)))

    async def __aenter__(self) -> Self:
        self._server.config.load()
        self._server.lifespan = self._server.config.lifespan_class(self._server.config)
        await self._server.startup()
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.drop()
        await self._server.shutdown()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return as soon as a condition holds; looked at whenever a request has ended. Fails after 5 seconds."""
        async with asyncio.timeout(5), self._ended:
            await self._ended.wait_for(condition)

    def drop(self) -> None:
        """Break off every connection, as if the server had been killed."""
        for connection in tuple(self._server.server_state.connections):
            connection.transport.abort()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._answer(scope, receive, send)
        finally:
            async with self._ended:
                self._ended.notify_all()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path.startswith(("/api/", "/v1/")):
            self.keys.append(dict(scope["headers"]).get(b"authorization", b"").decode() or None)
            if self.refusal:
                status, error = self.refusal
                await JSONResponse({"error": error}, status)(scope, receive, send)
                return
            await self._real(scope, self._recorded(receive) if path == "/api/runs" else receive, send)
        else:
            await self._real(scope, receive, _lasting(send))

    def _recorded(self, receive: Receive) -> Receive:
        body = b""

        async def recorded() -> Message:
            nonlocal body
            message = await receive()
            if message["type"] == "http.request":
                body += message.get("body", b"")
                if not message.get("more_body"):
                    self.runs.append(json.loads(body))
            return message

        return recorded


def _lasting(send: Send) -> Send:
    """Let the browser keep the page's files: asking for each again takes as long as all the rest of a test."""

    async def lasting(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [(name, value) for name, value in message["headers"] if name != b"cache-control"]
            message = {**message, "headers": [*headers, (b"cache-control", b"max-age=600")]}
        await send(message)

    return lasting
