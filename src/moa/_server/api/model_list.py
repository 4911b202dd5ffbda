"""The lists of models: `GET /v1/models` and each model's own address."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

from moa._config.settings import Settings
from moa._pricing.table import context_window
from moa._server.api.apis import MESSAGES, api_of
from moa._server.api.request_model import encode
from moa._server.http.exchange import HttpExchange
from moa._server.http.routes import Route
from moa._server.models import ServedModel
from moa._server.service import Service

PATH = "/v1/models"


def model_routes(service: Service) -> list[Route]:
    """Return the addresses at which clients learn which models there are."""
    created, settings = int(time.time()), service.engine.settings

    async def list_models(exchange: HttpExchange) -> None:
        make = anthropic_model_list if api_of(exchange) is MESSAGES else model_list
        await exchange.reply(200, encode(await asyncio.to_thread(make, service.models.all, settings, created)))

    async def get_model(exchange: HttpExchange) -> None:
        served = service.models.get(exchange.path.removeprefix(f"{PATH}/"))
        make = anthropic_model_dict if api_of(exchange) is MESSAGES else model_dict
        await exchange.reply(200, encode(await asyncio.to_thread(make, served, settings, created)))

    return [
        Route("GET", PATH, list_models, "List the models.", "models"),
        Route("GET", PATH + "/{model}", get_model, "Show one model.", "models"),
    ]


def model_list(models: tuple[ServedModel, ...], settings: Settings, created: int) -> dict[str, Any]:
    """Return all models in the OpenAI API's shape."""
    return {"object": "list", "data": [model_dict(served, settings, created) for served in models]}


def model_dict(served: ServedModel, settings: Settings, created: int) -> dict[str, Any]:
    """Return a model in the OpenAI API's shape.

    Args:
        served: Which.
        settings: The endpoints.
        created: What the API calls so, as seconds since 1970: when the server was started.
    """
    owner = "moa" if served.is_mixture else served.id.partition("/")[0]
    entry: dict[str, Any] = {"id": served.id, "object": "model", "created": created, "owned_by": owner}
    return {**entry, "context_length": context_length(served, settings), "description": served.mixture.description}


def anthropic_model_list(models: tuple[ServedModel, ...], settings: Settings, created: int) -> dict[str, Any]:
    """Return all models in the Anthropic API's shape, on one page."""
    data = [anthropic_model_dict(served, settings, created) for served in models]
    return {"data": data, "has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]}


def anthropic_model_dict(served: ServedModel, settings: Settings, created: int) -> dict[str, Any]:
    """Return a model in the Anthropic API's shape; what is unknown of a mixture is null."""
    return {
        "id": served.id,
        "type": "model",
        "display_name": served.mixture.description or served.id,
        "created_at": datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z"),
        "max_input_tokens": context_length(served, settings),
        "max_tokens": None,
        "capabilities": None,
        "lifecycle": "active",
        "line": None,
        "deprecated_at": None,
        "retires_at": None,
    }


def context_length(served: ServedModel, settings: Settings) -> int | None:
    """Return how many tokens fit in, prompt and reply together: the least of all members; None if any is unknown."""
    windows = [_window(reference, settings) for reference in served.mixture.references]
    known = [window for window in windows if window is not None]
    return min(known) if len(known) == len(windows) else None


def _window(reference: str, settings: Settings) -> int | None:
    name, _, model = reference.partition("/")
    endpoint = settings.endpoints.get(name)
    if endpoint is None:
        return None
    if endpoint.kind == "local":
        return int(endpoint.options.get("context", 8192))
    return context_window(endpoint.price_provider, model) if endpoint.price_provider else None
