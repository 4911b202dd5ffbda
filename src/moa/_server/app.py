"""The application: every address with what answers there."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from opentelemetry.trace import Tracer
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from moa._pricing.lookup import preload
from moa._runtime.engine import Engine
from moa._server.api.handlers import api_routes
from moa._server.api.model_list import model_routes
from moa._server.api.stored_responses import stored_response_routes
from moa._server.http.exchange import BodyMemory, HttpExchange
from moa._server.http.middleware import ApiMiddleware
from moa._server.http.routes import Route, RouteTable
from moa._server.inflight import InflightLimiter
from moa._server.metrics import ServerMetrics
from moa._server.models import ServedModels, needs_prices
from moa._server.openapi import describe
from moa._server.operations import operation_routes
from moa._server.options import ServerOptions
from moa._server.otel import configured_tracer
from moa._server.playground import Playground
from moa._server.service import Service
from moa._state.memory import MemoryStore

EXPOSED_HEADERS = ("retry-after", "x-request-id", "x-moa-status", "x-moa-cost-usd", "x-moa-critical-path-ms")
"""Headers of replies that pages of other origins may read: SDKs in browsers wait as long as the first one says."""

LEAST_BODY_MEMORY = 256_000_000
"""Bytes that the bodies which are arriving may take, all together; more where single ones may be large."""

LEAST_RUN_MEMORY = 1_024_000_000
"""Bytes that the bodies of runs may take, with what is written of them for each call; with keys, one a quarter."""


def create_app(engine: Engine, options: ServerOptions, *, tracer: Tracer | None = None) -> Starlette:
    """Return the server as an ASGI application; it closes the engine when it shuts down.

    Args:
        engine: Runs the mixtures.
        options: What is served, to whom, within which bounds.
        tracer: Where traces go; None: the process's own tracer, if it has one configured.

    Raises:
        MixtureError: A mixture can't be served.
    """
    models = ServedModels(
        options.mixtures,
        engine.settings,
        max_calls=options.max_calls,
        allows_unserved_models=options.takes_unserved_models,
        compare_with=options.compare_with,
    )
    # One of several keys leaves a quarter of the places to the others.
    several = options.keys is not None and options.keys.count > 1
    inflight = InflightLimiter(
        options.max_inflight, options.max_inflight - options.max_inflight // 4 if several else None
    )
    service = Service(
        engine=engine,
        options=options,
        models=models,
        inflight=inflight,
        metrics=ServerMetrics(models.references, lambda: inflight.count),
        tracer=tracer or configured_tracer(),
        store=engine.state or MemoryStore(),
        bodies=_body_memory(max(LEAST_BODY_MEMORY, 8 * options.max_body_bytes), options),
        running=_body_memory(max(LEAST_RUN_MEMORY, 32 * options.max_body_bytes), options),
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        # The table of prices takes a second to load: better now than while the first client waits.
        warming = asyncio.ensure_future(asyncio.to_thread(preload)) if needs_prices(models, engine.settings) else None
        async with engine:
            yield
            if options.keys is not None:
                await options.keys.aclose()
        if warming is not None:
            await warming

    table = route_table(service)
    # The middleware answers everything: Starlette gives the life cycle, the files of the page, and CORS.
    middleware = [Middleware(ApiMiddleware, options=options, routes=table)]
    if options.cors_origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=list(options.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=EXPOSED_HEADERS,
        )
        middleware.insert(0, cors)
    app = Starlette(lifespan=lifespan, middleware=middleware)
    app.state.service = service
    return app


def _body_memory(total_bytes: int, options: ServerOptions) -> BodyMemory:
    return BodyMemory(total_bytes, total_bytes if options.keys is None else None)


def route_table(service: Service) -> RouteTable:
    """Return all addresses of a server."""
    described: list[Route] = [
        *api_routes(service),
        *stored_response_routes(service),
        *model_routes(service),
        *Playground(service).routes(),
        *operation_routes(service, lambda: describe(described)),
    ]
    return RouteTable([*described, *_page_routes(service.options.page)])


def _page_routes(folder: Path) -> Iterator[Route]:
    """The playground's own files, each by its name: nothing else of the disk can be asked for."""
    files = StaticFiles(directory=folder, html=True, check_dir=False)

    async def send_file(exchange: HttpExchange) -> None:
        await files(exchange.scope, exchange.receive, exchange.send)

    names = [path.name for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    for path in ("/", *(f"/{name}" for name in sorted(names))):
        yield Route("GET", path, send_file, is_open=True)
