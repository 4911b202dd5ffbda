"""The models that OpenAI-compatible endpoints list themselves, for an operator who compares on their own machine."""

import asyncio
import logging

import aiohttp
import orjson

from moa._config.settings import Settings
from moa.providers._endpoint import Endpoint

log = logging.getLogger("moa.server.errors")

TIMEOUT_S = 5.0
"""Seconds that an endpoint has to list its models."""

MAX_AGE_S = 300.0
"""Seconds for which a list is good."""

MAX_BYTES = 8_000_000
MOST_MODELS = 2_000
"""Most of an endpoint's models; the largest lists of today have some hundreds."""


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
                timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
                async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
                    lists = await asyncio.gather(*(_listed(session, endpoint) for endpoint in self._endpoints))
                self._found = [reference for references in lists for reference in references]
                self._found_at = now
            return self._found


def _is_ready(endpoint: Endpoint, settings: Settings) -> bool:
    needs_key = endpoint.name in settings.key_variables
    return endpoint.kind == "openai" and bool(endpoint.base_url) and (endpoint.api_key is not None or not needs_key)


async def _listed(session: aiohttp.ClientSession, endpoint: Endpoint) -> list[str]:
    headers = dict(endpoint.headers)
    if endpoint.api_key is not None:
        headers["authorization"] = f"Bearer {endpoint.api_key.get_secret_value().strip()}"
    url = f"{(endpoint.base_url or '').rstrip('/')}/models"
    try:
        async with session.get(url, headers=headers, allow_redirects=False) as response:
            body = b""
            async for piece in response.content.iter_chunked(65_536):
                body += piece
                if len(body) > MAX_BYTES:
                    return []
            data = orjson.loads(body)["data"] if response.status == 200 else []
            ids = [model["id"] for model in data if isinstance(model, dict) and isinstance(model.get("id"), str)]
    except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        log.info("%s lists no models: %s", endpoint.name, type(error).__name__)
        return []
    return [f"{endpoint.name}/{identity}" for identity in sorted(ids)[:MOST_MODELS]]
