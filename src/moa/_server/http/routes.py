"""The addresses of the server: what each takes, who may use it, and what clients of each expect."""

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import KW_ONLY, dataclass
from typing import Literal

from pydantic import BaseModel

from moa._server.http.exchange import HttpExchange


@dataclass(frozen=True, slots=True)
class Route:
    """One address and method.

    Attributes:
        method: HEAD is answered wherever GET is.
        path: Unquoted; one that ends with `/{...}` stands for every longer path.
        handle: Answers a request; RequestError and MoaError become error replies.
        summary: What it does, for the OpenAPI description.
        tag: Its group in the description; None leaves it out.
        body: What a request's body has to be.
        streams: Whether it may answer with a stream of events.
        is_open: Whether it needs no API key on a server that has keys. Everything that doesn't say so needs one.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    handle: Callable[[HttpExchange], Awaitable[None]]
    summary: str = ""
    tag: str | None = None
    _: KW_ONLY
    body: type[BaseModel] | None = None
    streams: bool = False
    is_open: bool = False


_API = "/v1/"
_BASE = re.compile(r"(?:/v1)*/(?=(?:chat/completions|responses|messages|models)(?:/|$))")


def canonical_path(path: str) -> str:
    """Return an address of the client APIs as it is listed; any other path as it is.

    Clients add paths to a base address that ends with a slash, or that has `/v1` where it should have none, or none
    where it should have it.
    """
    plain = _BASE.sub(_API, re.sub("/{2,}", "/", path).rstrip("/"), count=1)
    return plain if plain.startswith(_API) else path


class RouteTable:
    """All addresses of the server.

    Args:
        routes: Each address and method once.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self.all = tuple(routes)
        self._exact: dict[str, dict[str, Route]] = {}
        self._below: dict[str, dict[str, Route]] = {}
        for route in self.all:
            prefix, separator, _ = route.path.partition("{")
            methods = (self._below if separator else self._exact).setdefault(prefix, {})
            if route.method in methods:
                raise ValueError(f"{route.method} {route.path} is listed twice")
            methods[route.method] = route
            if route.method == "GET":
                methods["HEAD"] = route

    def at(self, path: str) -> dict[str, Route]:
        """Return what a path takes, by method; empty if there is nothing at the path."""
        found = self._exact.get(path)
        if found is None:
            found = next((methods for prefix, methods in self._below.items() if path.startswith(prefix)), {})
        return found
