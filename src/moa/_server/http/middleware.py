"""The outermost layer: checks every request, dispatches it, adds headers to its reply, and turns errors into replies.

Cross-site request forgery and DNS rebinding are refused here: Host and Origin are checked on loopback too, as a page in
an operator's browser must not be able to spend their money.
"""

import asyncio
import logging
import re
from urllib.parse import urlsplit

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from moa._server.api.apis import api_of
from moa._server.http.address_rates import AddressRates
from moa._server.http.client_addresses import forwarded_client
from moa._server.http.errors import INTERNAL, RequestError, error_response
from moa._server.http.exchange import CLIENT_CLOSED_REQUEST, ClientGone, HeaderList, HttpExchange
from moa._server.http.routes import Route, RouteTable, canonical_path
from moa._server.options import ServerOptions
from moa.errors import MoaError

access_log = logging.getLogger("moa.server.access")
error_log = logging.getLogger("moa.server.errors")

_EVERYWHERE: HeaderList = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_API_HEADERS: HeaderList = [*_EVERYWHERE, (b"cache-control", b"no-store")]
_PAGE_HEADERS: HeaderList = [
    *_EVERYWHERE,
    (b"cache-control", b"no-cache"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
]

_SINGLE = frozenset((b"authorization", b"x-api-key", b"api-key", b"content-type", b"origin"))
"""Headers that decide what is allowed, and so must not be read differently by a proxy in front."""

_OLLAMA = "this is not Ollama's API: set up an OpenAI-compatible service in the client, with the address of /v1"
_OTHERS_ADDRESSES = {
    "/completions": "set the client to chat models, so that it calls /v1/chat/completions",
    "/embeddings": "there are no embeddings here: give the client another service for them",
    "/api/chat": _OLLAMA,
    "/api/generate": _OLLAMA,
    "/api/tags": _OLLAMA,
}
"""Addresses of other servers that clients may take this one for, with what to do."""

_STOPPING = RequestError(503, "shutting_down", "the server had to stop before the answer was whole", retry_after_s=5)


STRANGERS_PER_MINUTE = 6_000
"""Requests without a valid key that one address may make in a minute, probes aside."""


class ApiMiddleware:
    """Serves every HTTP request.

    Args:
        app: Gets what is no HTTP request: the life cycle of the process.
        options: How the server behaves.
        routes: What there is. What isn't marked as open needs a key, and so does every address that isn't there.
    """

    def __init__(self, app: ASGIApp, options: ServerOptions, routes: RouteTable) -> None:
        self._app, self._options, self._routes = app, options, routes
        self._strangers = AddressRates(STRANGERS_PER_MINUTE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["path"] = canonical_path(scope["path"])
        methods = self._routes.at(scope["path"])
        route = methods.get(scope["method"])
        is_page = route is not None and route.is_open and route.tag is None
        exchange = HttpExchange(scope, receive, send, _PAGE_HEADERS if is_page else _API_HEADERS)
        if self._options.trusted_proxies:
            forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
            exchange.client = forwarded_client(exchange.client, forwarded, self._options.trusted_proxies)
        try:
            self._check_site(exchange)
            await self._check_key(exchange, route)
            await self._route(exchange, route, methods).handle(exchange)
        except (RequestError, MoaError) as error:
            await self._fail(exchange, error_response(error, show_details=self._options.shows_error_details), error)
        except ClientGone:
            exchange.client_gone = True
        except asyncio.CancelledError:
            if exchange.aborted:
                await self._fail(exchange, _STOPPING, _STOPPING)
            elif not exchange.client_gone:
                raise
        except Exception as error:
            error_log.exception("%s %s failed", exchange.method, exchange.raw_path, extra={"request_id": exchange.id})
            await self._fail(exchange, INTERNAL, error)
        finally:
            _log_access(exchange)

    def _check_site(self, exchange: HttpExchange) -> None:
        """Refuse cross-site requests, and names of other hosts that resolve to this one (DNS rebinding)."""
        host = exchange.header(b"host")
        names = [value for name, value in exchange.scope["headers"] if name == b"host"]
        if len(names) > 1 or (self._options.hosts and _hostname(host) not in self._options.hosts):
            name = _hostname(host)
            advice = f": moa serve --allow-host {name} adds the name" if name else ""
            raise RequestError(403, "wrong_host", f"this server is not called {host!r:.80}{advice}")
        repeated = len(exchange.headers) < len(exchange.scope["headers"]) and _repeated(exchange)
        if repeated:
            raise RequestError(400, "invalid_request", f"the header {repeated} is there more than once: send one")
        origin = exchange.header(b"origin")
        if origin and urlsplit(origin).netloc != host and origin not in self._options.cors_origins:
            raise RequestError(403, "wrong_origin", "pages of other origins may not call this server")

    async def _check_key(self, exchange: HttpExchange, route: Route | None) -> None:
        """Identify the caller, wherever that isn't marked as open, and count the request against its rate."""
        keys = self._options.keys
        if keys is None:
            return
        if route is not None and route.is_open:
            if route.tag is None:  # the page's files; probes must be answered whatever else goes on
                self._strangers.check(exchange.client, exchange.started_at)
            return
        sent = [key for name in api_of(exchange).key_headers if (key := _key_in(exchange, name))]
        caller = next((caller for key in sent if (caller := keys.caller(key)) is not None), None)
        if caller is None:
            self._strangers.check(exchange.client, exchange.started_at)
        if not sent:
            message = "send an API key: Authorization: Bearer KEY, or x-api-key: KEY"
            raise RequestError(401, "missing_api_key", message)
        if caller is None:
            raise RequestError(401, "invalid_api_key", "this server doesn't know the API key")
        exchange.caller = caller
        await caller.check_rate(exchange.started_at, is_look_up=exchange.method != "POST")

    def _route(self, exchange: HttpExchange, route: Route | None, methods: dict[str, Route]) -> Route:
        """Return the route of a request, which takes its method and the type of its body."""
        if not methods:
            advice = next((advice for end, advice in _OTHERS_ADDRESSES.items() if exchange.path.endswith(end)), None)
            message = f"there is nothing at {exchange.path:.200}: {advice or 'GET /openapi.json lists all addresses'}"
            raise RequestError(404, "not_found", message)
        if route is None and exchange.header(b"upgrade").lower() == "websocket":
            # Codex goes on without WebSockets at this status alone; at others it tries again.
            message = "there are no WebSockets here: send requests, and read streams as server-sent events"
            raise RequestError(426, "upgrade_required", message)
        if route is None:
            allow = ", ".join(methods)
            message = f"{exchange.path:.200} takes {allow}, not {exchange.method:.20}"
            raise RequestError(405, "method_not_allowed", message, allow=allow)
        if route.method == "POST":
            # A form of another site can't send JSON.
            kind = exchange.header(b"content-type").partition(";")[0].strip().lower()
            if kind != "application/json":
                message = "send JSON, with the header Content-Type: application/json"
                raise RequestError(415, "unsupported_media_type", message)
        return route

    async def _fail(self, exchange: HttpExchange, failure: RequestError, error: Exception) -> None:
        exchange.log_fields["error"] = failure.code
        if not isinstance(error, RequestError) and failure.status >= 500:
            error_log.warning("%s", error, extra={"request_id": exchange.id})
        if exchange.status == 0:
            body = orjson.dumps(api_of(exchange).encode_error(failure, exchange.id))
            await exchange.reply(failure.status, body, _error_headers(failure))
        elif exchange.encode_error is not None:
            await exchange.end(exchange.encode_error(failure))


def _key_in(exchange: HttpExchange, name: bytes) -> str:
    """The API key in a header; empty if there is none."""
    value = exchange.header(name)
    if name != b"authorization":
        return value
    scheme, _, token = value.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _repeated(exchange: HttpExchange) -> str:
    """The first header that may not be there twice and is; empty if there is none."""
    names = [name for name, _ in exchange.scope["headers"] if name in _SINGLE]
    return next((name.decode() for name in names if names.count(name) > 1), "")


_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,253}))(?::[0-9]{0,5})?")


def _hostname(host: str) -> str:
    """The name in a Host header, without its port; empty if it is anything else than a name or an address."""
    found = _HOST.fullmatch(host)
    return (found[1] or found[2]).lower() if found else ""


def _error_headers(failure: RequestError) -> HeaderList:
    headers: HeaderList = []
    if failure.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if failure.status == 426:
        headers.append((b"upgrade", b"HTTP/1.1"))
    if failure.retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, round(failure.retry_after_s))).encode()))
    if failure.allow is not None:
        headers.append((b"allow", failure.allow.encode()))
    return headers


def _log_access(exchange: HttpExchange) -> None:
    if not access_log.isEnabledFor(logging.INFO):
        return
    seconds = asyncio.get_running_loop().time() - exchange.started_at
    status = CLIENT_CLOSED_REQUEST if exchange.client_gone else exchange.status
    facts = {
        "request_id": exchange.id,
        "client": exchange.client,
        "caller": exchange.caller.name,
        "method": exchange.method,
        "path": exchange.raw_path,
        "status": status,
        "seconds": round(seconds, 4),
        **exchange.log_fields,
    }
    access_log.info(
        "%s %s %s %d %.3f s",
        exchange.client,
        exchange.method,
        exchange.raw_path,
        status,
        seconds,
        extra={"facts": facts},
    )
