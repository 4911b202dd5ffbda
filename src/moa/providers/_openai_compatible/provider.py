"""The provider: moves bytes between the transport and the pure parts, and nothing else."""

from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from importlib.metadata import version
from types import TracebackType

from yarl import URL

from moa.errors import BrokenReply, ConfigError, IdleTimedOut, ProviderError
from moa.providers._base import ModelRequest, Provider, ReplyEvent, ReplyStream, WholeReply
from moa.providers._endpoint import Endpoint
from moa.providers._error_body import parse_error_body
from moa.providers._error_mapping import map_error
from moa.providers._http import HttpRequest, HttpResponse, HttpTransport, Transport, drain
from moa.providers._openai_compatible.decode import StreamDecoder, decode_reply, split_choices
from moa.providers._openai_compatible.encode import encode
from moa.providers._redaction import Secrets, texts_of
from moa.providers._reply_context import ReplyContext
from moa.providers._thoughts import WITHOUT_PARSER


def open_openai_compatible(endpoint: Endpoint, transport: Transport | None = None) -> Provider:
    """Return a provider for models behind the OpenAI chat completions API.

    Args:
        endpoint: Where they are. `options` may hold `takes_seed` (default true; if false, no seed is sent) and
            `takes_cache_control` (whether marks for the prompt cache are sent; default true for routers known to pass
            them on).
        transport: What requests are sent with; by default the endpoint's own connections.

    Raises:
        ConfigError: The endpoint has no usable `base_url`, an option is wrong, or its certificates can't be read.
    """
    return OpenAICompatible(endpoint, transport)


class OpenAICompatible:
    """Calls models behind the chat completions API.

    Args:
        endpoint: Where they are.
        transport: What requests are sent with.
    """

    def __init__(self, endpoint: Endpoint, transport: Transport | None = None) -> None:
        self._url = address(endpoint, "chat/completions")
        options = _options(endpoint)
        self.takes_seed = options.get("takes_seed", True)
        self._takes_cache_control = options.get("takes_cache_control", _passes_marks_on(self._url))
        self._headers = headers_of(endpoint)
        self.secrets = Secrets(texts_of(endpoint))
        self._own = None
        if transport is None:
            transport = self._own = HttpTransport(
                limit=endpoint.limits.max_concurrency, proxy=endpoint.proxy, ca_bundle=endpoint.ca_bundle
            )
        self._transport: Transport = transport
        self._thinks: dict[str, bool] = {}

    def stream(self, request: ModelRequest) -> ReplyStream:
        """Open a reply.

        Raises:
            ProviderError: On entering or while iterating.
        """
        return _OpenReply(self, request)

    def thinks_in_text(self, model: str) -> bool:
        """Whether a model is expected to write its thoughts into its text, without an opening tag."""
        known = self._thinks.get(model)
        return bool(WITHOUT_PARSER.search(model)) if known is None else known

    def note_thoughts(self, model: str, *, in_text: bool) -> None:
        """Take in whether a whole reply of a model had its thoughts in its text."""
        self._thinks[model] = in_text

    def send(self, request: ModelRequest) -> AbstractAsyncContextManager[HttpResponse]:
        """Send a request."""
        return self._transport(
            HttpRequest(
                url=self._url,
                headers=self._headers,
                body=encode(request, takes_cache_control=self._takes_cache_control),
                reference=request.reference,
                idle_timeout_s=request.idle_timeout_s if request.deltas else None,
            )
        )

    async def samples(self, request: ModelRequest, count: int) -> list[list[ReplyEvent] | ProviderError]:
        """Return several replies to one request by one call (`n`); maybe fewer, where the service doesn't know `n`.

        Every `Finish` carries the usage of the whole call. A reply that a filter refused, say, is its error.

        Raises:
            ProviderError: There is no reply at all.
        """
        sampling = replace(request.sampling, extra={**request.sampling.extra, "n": count})
        request = replace(request, sampling=sampling, deltas=False)
        try:
            async with self.send(request) as response:
                body = await response.read()
                if not 200 <= response.status < 300:
                    raise self.rejection(request, response, body)
            choices, context = split_choices(body), self.context(request, response)
            return [self._decoded(choice, context, alone=len(choices) == 1) for choice in choices]
        except ProviderError as error:
            self.secrets.redact(error)
            raise

    def _decoded(self, body: bytes, context: ReplyContext, *, alone: bool) -> list[ReplyEvent] | ProviderError:
        try:
            return decode_reply(body, context)
        except ProviderError as error:
            if alone:
                raise
            self.secrets.redact(error)
            return error

    async def aclose(self) -> None:
        """Close the connections."""
        if self._own is not None:
            await self._own.aclose()

    def context(self, request: ModelRequest, response: HttpResponse) -> ReplyContext:
        """Return what is known of a reply before it is read."""
        return ReplyContext(request.reference, request, response.headers.get("x-request-id"), self.secrets)

    def rejection(self, request: ModelRequest, response: HttpResponse, body: bytes) -> ProviderError:
        """Return what a server's refusal means."""
        complaint, context = parse_error_body(body, self.secrets), self.context(request, response)
        return map_error(complaint, context, status=response.status, headers=response.headers)


class _OpenReply:
    """One request and its reply. A class in place of a generator: every call passes here."""

    __slots__ = ("_exchange", "_provider", "_request")

    def __init__(self, provider: OpenAICompatible, request: ModelRequest) -> None:
        self._provider, self._request = provider, request

    async def __aenter__(self) -> AsyncIterator[ReplyEvent]:
        self._exchange = self._provider.send(self._request)
        try:
            response = await self._exchange.__aenter__()
            try:
                return await self._events(response)
            except BaseException as error:
                await self._exchange.__aexit__(type(error), error, error.__traceback__)
                raise
        except ProviderError as error:
            self._provider.secrets.redact(error)
            raise

    async def _events(self, response: HttpResponse) -> AsyncIterator[ReplyEvent]:
        request = self._request
        if not 200 <= response.status < 300:
            raise self._provider.rejection(request, response, await response.read())
        if _is_stream(response, request):
            return _StreamedReply(response, request, self._provider)
        return WholeReply(decode_reply(await response.read(), self._provider.context(request, response)))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exchange.__aexit__(kind, error, trace)
        if isinstance(error, ProviderError):
            self._provider.secrets.redact(error)


class _StreamedReply:
    """The events of a reply while it comes: no generator, so that nothing is left behind when it is dropped."""

    def __init__(self, response: HttpResponse, request: ModelRequest, provider: OpenAICompatible) -> None:
        self._chunks = response.chunks()
        holds = provider.thinks_in_text(request.model)
        self._decoder = StreamDecoder(provider.context(request, response), holds=holds)
        self._provider, self._model = provider, request.model
        self._ready: deque[ReplyEvent] = deque()
        self._failure: ProviderError | None = None
        self._ended = False

    def __aiter__(self) -> AsyncIterator[ReplyEvent]:
        return self

    async def __anext__(self) -> ReplyEvent:
        while not self._ready:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                raise StopAsyncIteration
            await self._more()
        return self._ready.popleft()

    async def _more(self) -> None:
        decoder = self._decoder
        try:
            chunk = await anext(self._chunks, None)
        except (BrokenReply, IdleTimedOut):
            # All text had come before the connection failed: at most the usage is lost.
            if not decoder.whole:
                raise
            chunk = None
        if chunk is not None:
            self._take(decoder.feed(chunk))
            if self._failure or not decoder.done:
                return
            await drain(self._chunks)
        self._ended = True
        self._take(decoder.end())
        if self._failure is None:
            self._provider.note_thoughts(self._model, in_text=decoder.thinks_in_text)

    def _take(self, events: Iterable[ReplyEvent]) -> None:
        # What came before an error is handed out first: it was generated and is paid for, so it belongs in the ledger.
        try:
            self._ready.extend(events)
        except ProviderError as error:
            self._failure = error


def _is_stream(response: HttpResponse, request: ModelRequest) -> bool:
    """Whether the body is a stream: what the server says counts more than what was asked for."""
    kind = response.headers.get("content-type", "").lower()
    return "event-stream" in kind or (request.deltas and "json" not in kind and "html" not in kind)


_OPTIONS = ("takes_seed", "takes_cache_control")
_PASS_MARKS_ON = ("openrouter.ai", "aliyuncs.com", "ai-gateway.vercel.sh")
"""Services that take `cache_control` in parts of messages. Sources: the guides to prompt caching of OpenRouter, Alibaba
Cloud Model Studio and Vercel AI Gateway."""


def _options(endpoint: Endpoint) -> dict[str, bool]:
    for option, value in endpoint.options.items():
        key = f"endpoints.{endpoint.name}.options.{option}"
        if option not in _OPTIONS:
            raise ConfigError(f"unknown option: an endpoint of kind openai takes {' and '.join(_OPTIONS)}", key=key)
        if not isinstance(value, bool):
            raise ConfigError(f"must be true or false, not {value!r}", key=key)
    return dict(endpoint.options)


def _passes_marks_on(url: str) -> bool:
    host = URL(url).host or ""
    return any(host == name or host.endswith(f".{name}") for name in _PASS_MARKS_ON)


def address(endpoint: Endpoint, path: str) -> str:
    """Return the address of a path of the endpoint's API.

    Raises:
        ConfigError: The endpoint has no usable `base_url`.
    """
    try:
        url = URL(endpoint.base_url or "")
    except ValueError as error:
        raise ConfigError(f"{endpoint.base_url!r} is not an address: {error}", key=_key(endpoint)) from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError(f"{endpoint.base_url!r} is not an http(s) address", key=_key(endpoint))
    if url.path.endswith("/chat/completions"):
        url = url.parent.parent
    return str((url / path).extend_query(endpoint.query))


def _key(endpoint: Endpoint) -> str:
    return f"endpoints.{endpoint.name}.base_url"


def headers_of(endpoint: Endpoint) -> dict[str, str]:
    """Return the headers of every request to an endpoint.

    Raises:
        ConfigError: One of them has a character that headers can't have.
    """
    headers = {"Content-Type": "application/json", "User-Agent": f"mixture-of-agents/{version('mixture-of-agents')}"}
    if endpoint.api_key is not None:
        headers["Authorization"] = f"Bearer {endpoint.api_key.get_secret_value().strip()}"
    headers |= endpoint.headers
    for name, value in headers.items():
        if not value.isprintable():
            raise ConfigError(
                "it contains a line break or another character that headers can't have",
                key=f"endpoints.{endpoint.name}.headers.{name}",
            )
    return headers
