"""The application: every door with its address."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from opentelemetry.trace import Tracer
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from moa._pricing.lookup import warm
from moa._runtime.engine import Engine
from moa._server.api.handlers import APIS, COUNT_PATH, answer, count_tokens
from moa._server.http.errors import RequestError
from moa._server.http.exchange import VISIT, HttpExchange
from moa._server.http.middleware import ApiMiddleware
from moa._server.inflight import InflightLimiter
from moa._server.metrics import CONTENT_TYPE, Metrics
from moa._server.models import ServedModels, model_dict, model_list, needs_prices
from moa._server.openapi import describe
from moa._server.options import ServerOptions
from moa._server.otel import configured_tracer
from moa._server.playground import Playground, list_mixtures
from moa._server.service import Service


def create_app(engine: Engine, options: ServerOptions, *, tracer: Tracer | None = None) -> FastAPI:
    """Return the server as an ASGI application; it closes the engine when it shuts down.

    Args:
        engine: Runs the mixtures.
        options: What is served, to whom, within which bounds.
        tracer: Where traces go; None: the process's own tracer, if it has one configured.

    Raises:
        MixtureError: A mixture can't be served.
    """
    menu, gate = ServedModels(options.mixtures, engine.settings), InflightLimiter(options.max_inflight)
    service = Service(
        engine=engine,
        options=options,
        menu=menu,
        gate=gate,
        metrics=Metrics(menu.references, lambda: gate.inside),
        tracer=tracer or configured_tracer(),
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # The table of prices takes a second to load: better now than while the first client waits.
        warming = asyncio.ensure_future(asyncio.to_thread(warm)) if needs_prices(menu, engine.settings) else None
        async with engine:
            yield
        if warming is not None:
            await warming

    app = FastAPI(title="Mixture of agents", openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.service = service
    app.add_exception_handler(HTTPException, _refuse)
    page = Playground(service)
    doors = {
        **{api.path: Door(partial(answer, service, api)) for api in APIS},
        COUNT_PATH: Door(partial(count_tokens, service)),
        "/api/check": Door(page.check),
        "/api/yaml": Door(page.to_yaml),
        "/api/runs": Door(page.run),
    }
    app.add_middleware(ApiMiddleware, options=options, doors=doors)
    if options.cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=options.cors_origins, allow_methods=["GET", "POST"], allow_headers=["*"]
        )
    _add_operations(app, service)
    _add_models(app, service)
    app.router.routes += [Route(path, door, methods=["POST"]) for path, door in doors.items()]
    _add_playground(app, service)
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    """Framework errors (no such path, wrong method) in the same shape as all others: the guard writes them."""
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    allow = (error.headers or {}).get("allow") or (error.headers or {}).get("Allow")
    message = error.detail
    if error.status_code == 404:
        message = f"there is nothing at {request.url.path}: GET /openapi.json lists all addresses"
    raise RequestError(error.status_code, code, message, allow=allow)


class Door:
    """An ASGI application for one address. The framework's own way to a function costs more than all that we do here.

    Args:
        serve: What happens there.
    """

    def __init__(self, serve: Callable[[HttpExchange], Awaitable[None]]) -> None:
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._serve(scope[VISIT])


def _add_operations(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", tags=["operations"])
    async def healthz() -> dict[str, str]:
        """The process is alive."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["operations"])
    async def readyz() -> JSONResponse:
        """New requests are welcome."""
        if service.gate.is_closed:
            return JSONResponse({"status": "shutting down"}, 503)
        return JSONResponse({"status": "ok"})

    @app.get("/openapi.json", tags=["operations"])
    async def openapi() -> JSONResponse:
        """This description."""
        return JSONResponse(describe(app))

    if not service.options.has_metrics:
        return

    @app.get("/metrics", tags=["operations"], response_class=Response)
    async def metrics() -> Response:
        """Counts and times for Prometheus."""
        return Response(service.metrics.page(), media_type=CONTENT_TYPE)


def _add_models(app: FastAPI, service: Service) -> None:
    created, settings = int(time.time()), service.engine.settings

    @app.get("/v1/models", tags=["models"])
    async def models() -> JSONResponse:
        """All mixtures and their models."""
        return JSONResponse(await asyncio.to_thread(model_list, service.menu, settings, created))

    @app.get("/v1/models/{name:path}", tags=["models"])
    async def model(name: str) -> JSONResponse:
        """One of them."""
        return JSONResponse(await asyncio.to_thread(model_dict, service.menu.find(name), settings, created))


def _add_playground(app: FastAPI, service: Service) -> None:
    @app.get("/api/mixtures", tags=["playground"])
    async def mixtures() -> JSONResponse:
        """All mixtures as the page shows them."""
        return JSONResponse(list_mixtures(service))

    files = StaticFiles(directory=service.options.page, html=True, check_dir=False)
    for path in ("/", "/{file}"):
        app.router.routes.append(Route(path, files, methods=["GET"], include_in_schema=False))
