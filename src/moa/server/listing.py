"""What `GET /v1/models` says of each model."""

from typing import Any

from moa.config.settings import Settings
from moa.price_table import context_window
from moa.server.menu import Menu, Served


def model_dict(served: Served, settings: Settings, created: int) -> dict[str, Any]:
    """Return a model in the OpenAI API's shape.

    Args:
        served: Which.
        settings: The endpoints.
        created: What the API calls so, as seconds since 1970: when the server was started.
    """
    owner = "moa" if served.is_mixture else served.id.partition("/")[0]
    entry: dict[str, Any] = {"id": served.id, "object": "model", "created": created, "owned_by": owner}
    return {**entry, "context_length": context_length(served, settings), "description": served.mixture.description}


def context_length(served: Served, settings: Settings) -> int | None:
    """Return how many tokens fit in, prompt and reply together: the least of all members; None if nobody knows one."""
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


def model_list(menu: Menu, settings: Settings, created: int) -> dict[str, Any]:
    """Return all models in the OpenAI API's shape."""
    return {"object": "list", "data": [model_dict(served, settings, created) for served in menu.all]}


def needs_prices(menu: Menu, settings: Settings) -> bool:
    """Whether anything that is served is priced, or measured, by the table of prices."""
    names = {reference.partition("/")[0] for reference in menu.references}
    return any(settings.endpoints[name].price_provider for name in names if name in settings.endpoints)
