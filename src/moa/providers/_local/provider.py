"""The provider: starts the model's server when it is first called, then speaks the OpenAI API to it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from moa.errors import ConfigError, ModelNotFound
from moa.providers._base import ModelRequest, Provider, ReplyEvent
from moa.providers._endpoint import Endpoint
from moa.providers._local.server import EMBEDDED, PROCESS_SERVERS, RunningServer, Servers, ServerSettings, llama_cpp
from moa.providers._openai_compatible import open_openai_compatible

_OPTIONS = ("context", "slots", "threads")


def open_local(endpoint: Endpoint, servers: Servers = PROCESS_SERVERS) -> Provider:
    """Return a provider for models that run on this machine's processor.

    `smollm2-135m` is the embedded model; any other id is the absolute path of a GGUF file. A model is loaded on its
    first call, in a thread, and shared by everything in the process that uses the same settings; the time it takes
    (a first download of 98 MB included) counts as part of that call.

    Args:
        endpoint: `options` may hold whole numbers from 1:

            - `slots`: replies written side by side, by default `max_concurrency`, else 1. With one, the same request
              with the same seed always gives the same reply; with more, what is computed beside it may change the
              last bits of its arithmetic and so, rarely, its words.
            - `context`: tokens of a prompt and its reply together, by default 8192, the window of the embedded model.
              A longer prompt is an error.
            - `threads`: threads that compute, by default one fewer than there are cores, from 1 to 4.
        servers: Where running servers are kept; by default this process's own.

    Raises:
        MissingDependency: xllamacpp isn't installed.
        ConfigError: An option that isn't one.
    """
    llama_cpp()
    return LocalProvider(endpoint, servers)


class LocalProvider:
    """Calls models that run in this process; like every provider it belongs to one event loop, its servers don't.

    Args:
        endpoint: As for `open_local`.
        servers: Where running servers are kept.
    """

    def __init__(self, endpoint: Endpoint, servers: Servers) -> None:
        self.takes_seed = True
        self._endpoint, self._servers = endpoint, servers
        self._settings = _settings(endpoint)
        self._adapters: dict[str, Provider] = {}

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        """Open a reply; the first one of a model loads it.

        Raises:
            ProviderError: On entering or while iterating.
        """
        adapter = await self._adapter(request)
        async with adapter.stream(request) as events:
            yield events

    async def _adapter(self, request: ModelRequest) -> Provider:
        known = self._adapters.get(request.model)
        if known is not None:
            return known
        if request.model != EMBEDDED and not Path(request.model).is_absolute():
            raise ModelNotFound(
                f"there is no local model {request.model!r}: use {EMBEDDED}, or the absolute path of a GGUF file "
                f"({self._endpoint.name}//path/to/model.gguf)",
                model=request.reference,
            )
        settings = replace(self._settings, model=request.model)
        server = await asyncio.wrap_future(self._servers.running(settings, request.reference))
        # Another call may have been here while this one waited.
        if request.model not in self._adapters:
            self._adapters[request.model] = open_openai_compatible(_served(self._endpoint.name, server))
        return self._adapters[request.model]

    async def aclose(self) -> None:
        """Close the connections; the model stays loaded for others until the process ends."""
        adapters, self._adapters = list(self._adapters.values()), {}
        for adapter in adapters:
            await adapter.aclose()


def _served(name: str, server: RunningServer) -> Endpoint:
    # llama.cpp closes kept connections without a word, and a new one on loopback costs next to nothing.
    headers = {"Connection": "close"}
    return Endpoint(name=name, kind="openai", base_url=server.base_url, api_key=server.api_key, headers=headers)


def _settings(endpoint: Endpoint) -> ServerSettings:
    slots = {"slots": endpoint.limits.max_concurrency} if endpoint.limits.max_concurrency else {}
    return ServerSettings(model=EMBEDDED, **(slots | _numbers(endpoint.name, endpoint.options)))


def _numbers(name: str, options: Mapping[str, Any]) -> dict[str, int]:
    for option, value in options.items():
        key = f"endpoints.{name}.options.{option}"
        if option not in _OPTIONS:
            raise ConfigError(f"unknown option: a local endpoint takes {', '.join(_OPTIONS)}", key=key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"must be a whole number from 1, not {value!r}", key=key)
    return dict(options)
