"""The models that OpenAI-compatible endpoints list themselves, for an operator who compares on their own machine."""

import asyncio
import logging

from moa._config.settings import Settings
from moa.errors import ProviderError
from moa.providers._endpoint import Endpoint
from moa.providers._model_lists import list_models

log = logging.getLogger("moa.server.errors")

MAX_AGE_S = 300.0
"""Seconds for which a list is good."""


class EndpointModels:
    """Asks every endpoint that has an address and its key, each for itself; one that doesn't answer is left out.

    Args:
        settings: The endpoints.
    """

    def __init__(self, settings: Settings) -> None:
        self._endpoints = [endpoint for endpoint in settings.endpoints.values() if _is_ready(endpoint, settings)]
        self._lock = asyncio.Lock()
        self._found: list[str] = []
        self._found_at: float | None = None

    async def references(self) -> list[str]:
        """Return `endpoint/model-id` of each model, endpoint by endpoint."""
        now = asyncio.get_running_loop().time()
        async with self._lock:
            if self._found_at is None or now - self._found_at > MAX_AGE_S:
                lists = await asyncio.gather(*map(_listed, self._endpoints))
                self._found = [reference for references in lists for reference in references]
                self._found_at = now
            return self._found


def _is_ready(endpoint: Endpoint, settings: Settings) -> bool:
    needs_key = endpoint.name in settings.key_variables
    return endpoint.kind == "openai" and bool(endpoint.base_url) and (endpoint.api_key is not None or not needs_key)


async def _listed(endpoint: Endpoint) -> list[str]:
    try:
        models = await list_models(endpoint)
    except ProviderError as error:
        log.info("%s: %s", endpoint.name, error.args[0])
        return []
    return sorted(f"{endpoint.name}/{model.id}" for model in models if model.status != "retired")
