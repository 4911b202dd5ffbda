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
        Route(method="GET", path="/healthz", handle=healthz, summary="The process is alive.", tag=tag, is_open=True),
        Route(method="GET", path="/readyz", handle=readyz, summary="New requests are taken.", tag=tag, is_open=True),
        Route(method="GET", path="/openapi.json", handle=openapi, summary="This description.", tag=tag),
    ]
    if service.options.has_metrics:
        summary = "Counts and times for Prometheus."
        found.append(Route(method="GET", path="/metrics", handle=metrics, summary=summary, tag=tag))
    return found


def _not_served(options: ServerOptions) -> dict[str, Any]:
    """What was to be served and can't be; why, only for those who run the server themselves."""
    if not options.left_out:
        return {}
    return {"not_served": dict(options.left_out) if options.shows_error_details else sorted(options.left_out)}
