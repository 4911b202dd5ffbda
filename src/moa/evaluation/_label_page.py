"""Labelling pairs in a browser: a page on this machine alone, one pair at a time, blind."""

import asyncio
import base64
import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files

from aiohttp import web
from aiohttp.typedefs import Handler

from moa._validation.file_errors import port_reason
from moa.errors import UsageError
from moa.evaluation._report.html_report import environment
from moa.evaluation._runner.labels import Labels

_CHOICES = ("a", "b", "tie")
_LINGER_S = 0.5


@asynccontextmanager
async def labelling_page(labels: Labels, rater: str, count: int, *, port: int = 0) -> AsyncIterator["LabelPage"]:
    """Serve the page while the block runs.

    Only this machine can reach it, and only with the address's token: requests under another name (DNS rebinding) or
    from another page (CSRF) are refused.

    Args:
        labels: What there is to label.
        rater: Who labels.
        count: How many pairs at most.
        port: 0 takes a free one.

    Raises:
        UsageError: Another program listens at the port, or the user may not.
    """
    page = LabelPage(labels, rater, count)
    app = web.Application(middlewares=[page.guarded])
    app.add_routes([web.get("/", page.show), web.post("/", page.take)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        try:
            await site.start()
        except OSError as error:
            raise UsageError(f"can't listen at 127.0.0.1:{port}: {port_reason(error)}") from None
        page.host = f"127.0.0.1:{runner.addresses[0][1]}"
        yield page
    finally:
        await runner.cleanup()


class LabelPage:
    """The page.

    Attributes:
        done: Set once the browser has been shown that nothing is left.
    """

    def __init__(self, labels: Labels, rater: str, count: int) -> None:
        self.token, self.host, self.done = secrets.token_urlsafe(16), "", asyncio.Event()
        self._labels, self._rater, self._count = labels, rater, count
        self._style = (files("moa.evaluation._report") / "templates" / "label.css").read_text(encoding="utf-8")
        self._template = environment(autoescape=True).get_template("label.html.j2")
        digest = base64.b64encode(hashlib.sha256(self._style.encode()).digest()).decode()
        self._headers = {
            "Content-Security-Policy": (
                f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; "
                "frame-ancestors 'none'"
            ),
            "Referrer-Policy": "same-origin",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }

    @property
    def address(self) -> str:
        """What to open."""
        return f"http://{self.host}/?token={self.token}"

    @web.middleware
    async def guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what doesn't come from the page itself, or from who was given its address."""
        own = f"http://{self.host}"
        if request.host != self.host or request.headers.get("Origin", own) != own:
            raise web.HTTPForbidden(text="This page answers under its own address alone.")
        if not secrets.compare_digest(request.query.get("token", "").encode(), self.token.encode()):
            raise web.HTTPForbidden(text="Open the whole address that the command has printed.")
        response = await handler(request)
        response.headers.update(self._headers)
        return response

    async def show(self, request: web.Request) -> web.Response:
        """The next pair."""
        left = self._labels.left(self._rater, self._count)
        html = self._template.render(shown=left[0] if left else None, token=self.token, style=self._style)
        if not left:
            # Once this answer is out: the connection ends with the page.
            asyncio.get_running_loop().call_later(_LINGER_S, self.done.set)
        return web.Response(text=html, content_type="text/html")

    async def take(self, request: web.Request) -> web.Response:
        """Keep a choice and go on to the next pair."""
        form = await request.post()
        left = self._labels.left(self._rater, self._count)
        choice = form.get("choice")
        # Sent twice, or from an older page: the pair that is asked about now is another one.
        if left and str(left[0].pair.index) == form.get("index") and choice in _CHOICES:
            await self._labels.keep(left[0].pair, self._rater, left[0].preference(str(choice)))
        raise web.HTTPSeeOther(f"/?token={self.token}")
