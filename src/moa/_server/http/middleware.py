"""The outermost door: who may come in, what every reply carries, and what becomes of errors."""

import asyncio
import logging
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from moa._server.http.errors import INTERNAL, ErrorResponse, RequestError, anthropic_error, error_response, openai_error
from moa._server.http.exchange import GONE, VISIT, ClientGone, HeaderList, HttpExchange
from moa._server.options import ServerOptions
from moa.errors import MoaError

access_log = logging.getLogger("moa.server.access")
error_log = logging.getLogger("moa.server.errors")

OPEN_PATHS = ("/healthz", "/readyz")
"""What nobody needs a key for, beside the playground's own files."""

GUARDED = re.compile(r"/(v1|api|metrics|openapi\.json)(/|$)")
"""What needs a key, if there are keys."""

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


class ApiMiddleware:
    """Checks every request before the application sees it, and turns what it raises into replies.

    Host and Origin are checked on loopback too: a page in the browser of somebody who runs the server must not be able
    to spend their money, neither by a form, nor by a script, nor by a name that it lets point here.

    Args:
        app: The application.
        options: How the server behaves.
        doors: By address: what takes POST requests. They get there at once: the framework's layers cost more than all
            that is done here.
    """

    def __init__(self, app: ASGIApp, options: ServerOptions, doors: Mapping[str, ASGIApp]) -> None:
        self._app, self._options, self._doors = app, options, doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        guarded = GUARDED.match(scope["path"]) is not None
        extra = _API_HEADERS if guarded or scope["path"] in OPEN_PATHS else _PAGE_HEADERS
        visit = scope[VISIT] = HttpExchange(scope, receive, send, extra)
        try:
            self._check(visit, guarded=guarded)
            app = self._doors.get(visit.path, self._app) if visit.method == "POST" else self._app
            await app(scope, receive, visit.send)
        except (RequestError, MoaError) as error:
            await self._fail(visit, error_response(error, show_details=self._options.shows_error_details), error)
        except ClientGone:
            visit.gone = True
        except asyncio.CancelledError:
            if visit.cut_short:
                await self._fail(visit, error_response(_STOPPING, show_details=False), _STOPPING)
            elif not visit.gone:
                raise
        except Exception as error:
            error_log.exception("%s %s failed", visit.method, visit.raw_path, extra={"request_id": visit.id})
            await self._fail(visit, INTERNAL, error)
        finally:
            _note(visit)

    def _check(self, visit: HttpExchange, *, guarded: bool) -> None:
        host = visit.header(b"host")
        if self._options.hosts and _hostname(host) not in self._options.hosts:
            raise RequestError(403, "wrong_host", f"this server is not called {host!r:.80}")
        origin = visit.header(b"origin")
        if origin and urlsplit(origin).netloc != host and origin not in self._options.cors_origins:
            raise RequestError(403, "wrong_origin", "pages of other origins may not call this server")
        if guarded:
            self._identify(visit)
        if visit.method == "POST" and visit.path in self._doors:
            kind = visit.header(b"content-type").partition(";")[0].strip().lower()
            if kind != "application/json":
                raise RequestError(
                    415, "unsupported_media_type", "send JSON, with the header Content-Type: application/json"
                )

    def _identify(self, visit: HttpExchange) -> None:
        if self._options.keys is None:
            return
        scheme, _, token = visit.header(b"authorization").partition(" ")
        key = token.strip() if scheme.lower() == "bearer" else visit.header(b"x-api-key")
        if not key:
            message = "send an API key: Authorization: Bearer KEY, or x-api-key: KEY"
            raise RequestError(401, "missing_api_key", message)
        caller = self._options.keys.caller(key)
        if caller is None:
            raise RequestError(401, "invalid_api_key", "this server doesn't know the API key")
        visit.caller = caller

    async def _fail(self, visit: HttpExchange, failure: ErrorResponse, error: Exception) -> None:
        visit.notes["error"] = failure.code
        if not isinstance(error, RequestError) and failure.status >= 500:
            error_log.warning("%s", error, extra={"request_id": visit.id})
        if visit.status == 0:
            shape = anthropic_error if visit.path.startswith("/v1/messages") else openai_error
            await visit.reply(failure.status, orjson.dumps(shape(failure, visit.id)), _headers(failure))
        elif visit.in_band is not None:
            await visit.end(visit.in_band(failure))


_STOPPING = RequestError(503, "shutting_down", "the server had to stop before the answer was whole", retry_after_s=5)


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _headers(failure: ErrorResponse) -> HeaderList:
    headers: HeaderList = []
    if failure.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if failure.retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, round(failure.retry_after_s))).encode()))
    if failure.allow is not None:
        headers.append((b"allow", failure.allow.encode()))
    return headers


def _note(visit: HttpExchange) -> None:
    if not access_log.isEnabledFor(logging.INFO):
        return
    seconds = asyncio.get_running_loop().time() - visit.started_at
    status = GONE if visit.gone else visit.status
    facts = {
        "request_id": visit.id,
        "client": visit.client,
        "caller": visit.caller.name,
        "method": visit.method,
        "path": visit.raw_path,
        "status": status,
        "seconds": round(seconds, 4),
        **visit.notes,
    }
    access_log.info(
        "%s %s %s %d %.3f s", visit.client, visit.method, visit.raw_path, status, seconds, extra={"facts": facts}
    )
