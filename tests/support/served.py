"""The server under test: a real uvicorn on loopback in the test's own event loop, in front of the fake model server."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

import aiohttp
import uvicorn
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from opentelemetry.trace import Tracer
from starlette.applications import Starlette
from starlette.types import ASGIApp

from moa._config.settings import Settings
from moa._mixture.loading import load
from moa._mixture.schema import Mixture
from moa._pricing.lookup import ANY_MODEL
from moa._pricing.price import Price
from moa._runtime.engine import Engine
from moa._server.app import create_app
from moa._server.launcher import ServeSettings, uvicorn_config
from moa._server.options import ServerOptions
from moa.providers._base import Provider
from moa.providers._endpoint import Endpoint
from tests.support.model_server import ModelServer, Text

PRICE = Price(input=Decimal(1), output=Decimal(2))
HELLO = [{"role": "user", "content": "Say hello"}]

DUO = load(
    {
        "name": "duo",
        "description": "Two propose, one writes",
        "layers": [{"proposers": [{"model": "lab/one", "max_tokens": 50}, {"model": "lab/two", "max_tokens": 50}]}],
        "aggregator": {"model": "lab/writer", "max_tokens": 50},
    }
)
SOLO = load({"name": "solo", "layers": [], "aggregator": {"model": "lab/writer", "max_tokens": 50}})


@dataclass(frozen=True)
class ServedModel:
    """A server under test with its upstream, and clients for it."""

    url: str
    app: Starlette
    upstream: ModelServer
    http: aiohttp.ClientSession
    key: str

    @cached_property
    def openai(self) -> AsyncOpenAI:
        """OpenAI's own client; made on demand, as each loads all certificate authorities."""
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key=self.key, max_retries=0)

    @cached_property
    def anthropic(self) -> AsyncAnthropic:
        """Anthropic's own client."""
        return AsyncAnthropic(base_url=self.url, api_key=self.key, max_retries=0)

    async def aclose(self) -> None:
        """Close the clients that were made."""
        for name in ("openai", "anthropic"):
            if name in self.__dict__:
                await self.__dict__[name].close()

    async def post(self, path: str, body: object, **named: Any) -> tuple[int, dict[str, Any]]:
        """Post JSON; return status and JSON."""
        async with self.http.post(f"{self.url}{path}", json=body, **named) as response:
            return response.status, await response.json()

    async def chat(self, **fields: Any) -> tuple[int, dict[str, Any]]:
        """Ask for a chat completion."""
        return await self.post("/v1/chat/completions", {"model": "moa/solo", "messages": HELLO, **fields})

    async def page(self, path: str) -> str:
        """Get a page's text."""
        async with self.http.get(f"{self.url}{path}") as response:
            return await response.text()


@asynccontextmanager
async def served(
    *mixtures: Mixture,
    endpoint: Mapping[str, Any] | None = None,
    others: Mapping[str, Mapping[str, Any]] | None = None,
    budget_usd: float | None = None,
    key: str = "unused",
    tracer: Tracer | None = None,
    providers: Mapping[str, Provider] | None = None,
    serving: ServeSettings | None = None,
    **options: Any,
) -> AsyncIterator[ServedModel]:
    """Serve mixtures whose models are at the endpoint `lab`; each says who it is unless told otherwise.

    Others are further endpoints at the same upstream, as changes to `lab`.
    """
    async with ModelServer() as upstream:
        for model in ("one", "two", "writer"):
            upstream.behave(model, Text(("This ", "is ", model)))
        changes = {"lab": endpoint or {}, **(others or {})}
        settings = Settings(endpoints={name: _endpoint(upstream, name, given) for name, given in changes.items()})
        made = create_app(
            Engine(settings=settings, budget_usd=budget_usd, providers=providers),
            ServerOptions(mixtures=mixtures or (DUO, SOLO), **options),
            tracer=tracer,
        )
        async with listening(made, serving) as url, aiohttp.ClientSession() as http:
            server = ServedModel(url=url, app=made, upstream=upstream, http=http, key=key)
            try:
                yield server
            finally:
                await server.aclose()


def _endpoint(upstream: ModelServer, name: str, changes: Mapping[str, Any]) -> Endpoint:
    plain = {"retry": None, "breaker": None, "prices": {ANY_MODEL: PRICE}}
    return Endpoint(name=name, kind="openai", base_url=upstream.base_url, **{**plain, **changes})


@asynccontextmanager
async def listening(app: ASGIApp, serving: ServeSettings | None = None) -> AsyncIterator[str]:
    """Let uvicorn serve an application with the settings of `moa serve`.

    Its own main loop looks for signals ten times a second and stops as slowly; here it is begun and ended by hand.
    """
    config = uvicorn_config(app, serving or ServeSettings(), sets_up_logs=False)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        await server.startup(sockets=[door])
        try:
            yield f"http://127.0.0.1:{door.getsockname()[1]}"
        finally:
            for listener in server.servers:
                listener.close()
            for connection in list(server.server_state.connections):
                connection.transport.abort()
            while server.server_state.tasks:
                await asyncio.wait(server.server_state.tasks)
            await server.lifespan.shutdown()
