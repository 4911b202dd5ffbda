"""A stand-in for the real server, for tests of the page: the same endpoints over a real engine of scripted models."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from aiohttp import web

from moa.api import Engine
from moa.checked_yaml import check, from_text
from moa.config.settings import Settings
from moa.engine.stream import RunStream
from moa.errors import EngineError, MixtureError, MoaError
from moa.events import Event
from moa.mixture.loading import load
from moa.mixture.schema import Mixture
from moa.proposals import Answer
from tests.support.gated import GatedProvider

ENDPOINTS = ("fake", "bedrock", "together")
PAGE = Path(__file__).parents[2] / "src" / "moa" / "server" / "page"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class PageServer:
    """Serves the page and answers it.

    Attributes:
        models: Behind every endpoint; its scripts may be replaced at any time.
        mixtures: What is offered.
        refusal: If given, every request to the API gets this status and error.
        runs: The bodies of all requests for runs.
        keys: What every request to the API had as its authorization.
    """

    def __init__(self, mixtures: Sequence[Mixture]) -> None:
        self.reset(mixtures)
        self._ended = asyncio.Condition()
        self._runner = web.AppRunner(self._app(), handler_cancellation=True, shutdown_timeout=0.1)
        self.url = ""

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._engine.aclose()

    def reset(self, mixtures: Sequence[Mixture]) -> None:
        """Forget everything that has happened."""
        self.mixtures = tuple(mixtures)
        self.models = GatedProvider()
        self.refusal: tuple[int, dict[str, Any]] | None = None
        self.runs: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self._engine = Engine(settings=Settings(endpoints={}), providers=dict.fromkeys(ENDPOINTS, self.models))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return as soon as a condition holds; looked at whenever a run has ended. Fails after 5 seconds."""
        async with asyncio.timeout(5), self._ended:
            await self._ended.wait_for(condition)

    def drop(self) -> None:
        """Break off every connection, as if the server had been killed."""
        assert self._runner.server is not None
        for connection in self._runner.server.connections:
            connection.transport.abort()

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/", _file)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/api/mixtures", self._mixtures)
        app.router.add_post("/api/check", self._check)
        app.router.add_post("/api/yaml", self._yaml)
        app.router.add_post("/api/runs", self._run)
        app.router.add_get("/{name:[a-z_]+[.](?:js|css|svg)}", _file)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.startswith(("/api/", "/v1/")):
            self.keys.append(request.headers.get("authorization"))
            if self.refusal:
                status, error = self.refusal
                return web.json_response({"error": error}, status=status)
        try:
            return await handler(request)
        except MoaError as error:
            return web.json_response({"error": _fault(error)}, status=400)

    async def _models(self, _: web.Request) -> web.Response:
        references = dict.fromkeys(name for mixture in self.mixtures for name in mixture.references)
        ids = [f"moa/{mixture.name}" for mixture in self.mixtures] + list(references)
        return web.json_response({"object": "list", "data": [{"id": name, "object": "model"} for name in ids]})

    async def _mixtures(self, _: web.Request) -> web.Response:
        return web.json_response([_entry(mixture) for mixture in self.mixtures])

    async def _check(self, request: web.Request) -> web.Response:
        text = (await request.json())["yaml"]
        try:
            mixture = check(Mixture, from_text(text, MixtureError))
        except MixtureError as error:
            return web.json_response({"error": _fault(error)})
        return web.json_response({"ok": True, "mixture": _entry(mixture)})

    async def _yaml(self, request: web.Request) -> web.Response:
        mixture = load((await request.json())["mixture"])
        return web.json_response({"yaml": yaml.safe_dump(mixture.as_dict(), sort_keys=False, allow_unicode=True)})

    async def _run(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.runs.append(body)
        mixture = next((one for one in self.mixtures if one.name == body["mixture"]), body["mixture"])
        arguments = {name: body[name] for name in ("seed", "deadline_s", "budget_usd") if name in body}
        stream = self._engine.stream(mixture, body["messages"], **arguments)
        response = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-store"})
        await response.prepare(request)
        try:
            await self._tell(stream, response)
        finally:
            async with self._ended:
                self._ended.notify_all()
        return response

    async def _tell(self, stream: RunStream, response: web.StreamResponse) -> None:
        async with stream as events:
            try:
                async for event in events:
                    await _send(response, _as_json(event))
            except MoaError as error:
                ledger = _ledger(error) if isinstance(error, EngineError) else None
                await _send(response, {"type": "error", "error": _fault(error), "ledger": ledger})


async def _file(request: web.Request) -> web.Response:
    name = request.match_info.get("name", "index.html")
    kinds = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    headers = {"content-security-policy": CSP, "x-content-type-options": "nosniff", "cache-control": "max-age=60"}
    text = (PAGE / name).read_text(encoding="utf-8")
    return web.Response(text=text, content_type=kinds[name.rpartition(".")[2]], charset="utf-8", headers=headers)


async def _send(response: web.StreamResponse, event: dict[str, Any]) -> None:
    await response.write(f"data: {json.dumps(event)}\n\n".encode())


def _fault(error: MoaError) -> dict[str, Any]:
    place = {"key": error.key, "line": error.line} if isinstance(error, MixtureError) else {}
    causes = "; ".join(map(str, error.failures)) if isinstance(error, EngineError) else ""
    message = f"{error.args[0]} ({causes})" if causes else str(error.args[0])
    return {"code": error.code, "message": message, **place}


def _ledger(error: EngineError) -> dict[str, Any]:
    ledger, spend = error.ledger, error.ledger.spend
    return {
        "usage": ledger.usage.as_dict(),
        "cost_usd": None if spend.cost_usd is None else float(spend.cost_usd),
        "estimated_usd": float(spend.estimated_usd),
        "calls": [call.as_dict() for call in ledger.calls],
    }


def _entry(mixture: Mixture) -> dict[str, Any]:
    layers = [[{"agent": agent.name, "model": agent.model} for agent in layer.proposers] for layer in mixture.layers]
    aggregator = {"agent": mixture.aggregator.name, "model": mixture.aggregator.model}
    about = {"name": mixture.name, "description": mixture.description, "mixture": mixture.as_dict()}
    return {**about, "layers": layers, "aggregator": aggregator}


def _as_json(event: Event) -> dict[str, Any]:
    snake = "".join(f"_{sign.lower()}" if sign.isupper() else sign for sign in type(event).__name__).lstrip("_")
    fields = {name: getattr(event, name) for name in event.__slots__}
    match fields:
        case {"proposal": proposal}:
            fields["proposal"] = {**proposal.as_dict(), "layer": proposal.layer, "index": proposal.index}
        case {"result": result}:
            fields = {"layer": result.as_dict()}
        case {"answer": Answer() as answer}:
            fields["answer"] = answer.as_dict()
        case {"layers": layers, "aggregator": aggregator}:
            fields["layers"] = [[_info(info) for info in layer] for layer in layers]
            fields["aggregator"] = _info(aggregator)
    return {"type": snake, **fields}


def _info(info: Any) -> dict[str, Any]:
    return {name: getattr(info, name) for name in info.__slots__}
