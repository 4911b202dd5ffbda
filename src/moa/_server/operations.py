"""Addresses for operators: whether the server lives, whether it takes requests, its metrics and its description."""

from collections.abc import Callable
from typing import Any

from moa._server.api.request_model import encode
from moa._server.http.exchange import HttpExchange
from moa._server.http.routes import Route
from moa._server.metrics import CONTENT_TYPE
from moa._server.options import ServerOptions
from moa._server.service import Service


def operation_routes(service: Service, description: Callable[[], dict[str, Any]]) -> list[Route]:
    """Return the addresses for operators.

    Args:
        service: The service.
        description: Returns the OpenAPI description of the whole server.
    """

    async def healthz(exchange: HttpExchange) -> None:
        await exchange.reply(200, encode({"status": "ok"}))

    async def readyz(exchange: HttpExchange) -> None:
        if service.inflight.is_closed:
            await exchange.reply(503, encode({"status": "shutting down"}))
        else:
            await exchange.reply(200, encode({"status": "ok", **_not_served(service.options)}))

    async def openapi(exchange: HttpExchange) -> None:
        await exchange.reply(200, encode(description()))

    async def metrics(exchange: HttpExchange) -> None:
        await exchange.reply(200, service.metrics.page(), content_type=CONTENT_TYPE.encode())

    tag = "operations"
    found = [
        Route("GET", "/healthz", healthz, "The process is alive.", tag, is_open=True),
        Route("GET", "/readyz", readyz, "New requests are taken.", tag, is_open=True),
        Route("GET", "/openapi.json", openapi, "This description.", tag),
    ]
    if service.options.has_metrics:
        found.append(Route("GET", "/metrics", metrics, "Counts and times for Prometheus.", tag))
    return found


def _not_served(options: ServerOptions) -> dict[str, Any]:
    """What was to be served and can't be; why, only for those who run the server themselves."""
    if not options.left_out:
        return {}
    return {"not_served": dict(options.left_out) if options.shows_error_details else sorted(options.left_out)}
