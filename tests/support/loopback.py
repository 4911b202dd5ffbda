"""A server on loopback that counts its requests, and lets tests wait for what it has been asked."""

import asyncio
from collections.abc import Callable
from typing import Any, Self

from aiohttp import web


class LoopbackServer:
    """The server; `url` is known inside of its `async with` block.

    Attributes:
        requests: Number of requests so far.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.url = ""
        self._changed = asyncio.Condition()

    def routes(self) -> list[web.RouteDef]:
        """Return what the server answers."""
        raise NotImplementedError

    async def answered(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Answer a request with its route's handler."""
        response: web.StreamResponse = await handler(request)
        return response

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; it is looked at after each request to the server."""
        async with self._changed:
            await self._changed.wait_for(condition)

    async def __aenter__(self) -> Self:
        @web.middleware
        async def counted(request: web.Request, handler: Any) -> web.StreamResponse:
            self.requests += 1
            try:
                return await self.answered(request, handler)
            finally:
                async with self._changed:
                    self._changed.notify_all()

        app = web.Application(client_max_size=2**30, middlewares=[counted])
        app.add_routes(self.routes())
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._runner.cleanup()
