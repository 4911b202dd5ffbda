"""A stand-in for Bedrock's runtime on loopback: Converse and ConverseStream, scripted, with books of what it was asked.

    async with BedrockServer(Says("Hello, ", "world.")) as server:
        ... call server.url ...
    server.seen[0].body

Replies are taken in the order of the requests, the last one again and again; or `by_model` picks them.
"""

import asyncio
import hmac
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import unquote

import orjson
from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from tests.support import event_stream

CREDENTIALS = ReadOnlyCredentials("AKIDLOOPBACK", "loopback-secret", "loopback-session-token")
REGION = "eu-central-1"

_ROUTE = re.compile(r"/model/(?P<model>[^/]+)/(?P<operation>converse|converse-stream)")


class Says:
    """A reply: pieces of text, and optionally reasoning before them and tool calls after them.

    Args:
        texts: Pieces, one delta each.
        reasoning: Pieces of reasoning.
        tools: Tool calls: id, name, and the pieces of the arguments' JSON.
        stop: Converse's stop reason.
        usage: Converse's usage; None leaves it out of the reply.
        extra: Further fields of the reply, or of the stream's last event.
        hold: Waited for before the last piece of text is sent.
    """

    def __init__(
        self,
        *texts: str,
        reasoning: Sequence[str] = (),
        tools: Sequence[tuple[str, str, Sequence[str]]] = (),
        stop: str = "end_turn",
        usage: Mapping[str, int] | None = None,
        extra: Mapping[str, Any] | None = None,
        hold: asyncio.Event | None = None,
    ) -> None:
        self.texts, self.reasoning, self.tools, self.stop, self.hold = texts, reasoning, tools, stop, hold
        counts = {"inputTokens": 7, "outputTokens": len(texts), "totalTokens": 7 + len(texts)}
        self.usage = dict(counts if usage is None else usage)
        self.extra = dict(extra or {})

    def whole(self) -> bytes:
        """The reply of Converse."""
        return orjson.dumps(
            {
                "output": {"message": {"role": "assistant", "content": list(self._blocks())}},
                "stopReason": self.stop,
                "usage": self.usage,
                "metrics": {"latencyMs": 12},
                **self.extra,
            }
        )

    def _blocks(self) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = []
        if self.reasoning:
            blocks.append({"reasoningContent": {"reasoningText": {"text": "".join(self.reasoning)}}})
        if self.texts:
            blocks.append({"text": "".join(self.texts)})
        for call_id, name, pieces in self.tools:
            blocks.append(
                {"toolUse": {"toolUseId": call_id, "name": name, "input": orjson.loads("".join(pieces) or "{}")}}
            )
        return blocks

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """The events of ConverseStream."""
        told: list[tuple[str, dict[str, Any]]] = [("messageStart", {"role": "assistant"})]
        groups = [
            [{"reasoningContent": {"text": piece}} for piece in self.reasoning],
            [{"text": t} for t in self.texts],
        ]
        starts: list[dict[str, Any] | None] = [None, None]
        for call_id, name, pieces in self.tools:
            groups.append([{"toolUse": {"input": piece}} for piece in pieces])
            starts.append({"toolUse": {"toolUseId": call_id, "name": name}})
        at = 0
        for start, deltas in zip(starts, groups, strict=True):
            if start is None and not deltas:
                continue
            if start is not None:
                told.append(("contentBlockStart", {"contentBlockIndex": at, "start": start}))
            # The padding is Bedrock's own, against guessing texts by the lengths of packets.
            told += [
                ("contentBlockDelta", {"contentBlockIndex": at, "delta": delta, "p": "abcdef"}) for delta in deltas
            ]
            told.append(("contentBlockStop", {"contentBlockIndex": at}))
            at += 1
        told.append(("messageStop", {"stopReason": self.stop}))
        told.append(("metadata", {"usage": self.usage, "metrics": {"latencyMs": 12}, **self.extra}))
        return told

    def frames(self) -> list[bytes]:
        """The events of ConverseStream, written."""
        return [event_stream.event(kind, told) for kind, told in self.events()]


@dataclass(frozen=True)
class Fails:
    """A refusal before anything was written."""

    status: int
    code: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sends:
    """Bytes as they are, in both operations; `cut` breaks the connection off after them, `hold` keeps it open."""

    pieces: Sequence[bytes]
    cut: bool = False
    hold: asyncio.Event | None = None


Reply = Says | Fails | Sends


@dataclass(frozen=True)
class Seen:
    """A request that came in."""

    model: str
    operation: str
    raw_path: str
    body: dict[str, Any]
    content: bytes
    headers: Mapping[str, str]
    signed: bool
    peer: object


class BedrockServer:
    """The stand-in; see the module's docstring."""

    def __init__(self, *replies: Reply, by_model: Callable[[str], Reply] | None = None) -> None:
        self._replies, self._by_model = list(replies), by_model
        self.seen: list[Seen] = []
        self.billed = {"inputTokens": 0, "outputTokens": 0}
        self.gone = asyncio.Event()
        self.url = ""

    def answer_by(self, by_model: Callable[[str], Reply]) -> None:
        """Pick replies by the model from now on; `seen[-1]` is the request that is answered."""
        self._by_model = by_model

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/{tail:.*}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        seen = await _seen(request)
        self.seen.append(seen)
        if not seen.signed:
            return _refusal(
                Fails(403, "InvalidSignatureException", "The request signature we calculated does not match.")
            )
        reply = self._by_model(seen.model) if self._by_model else self._next()
        try:
            return await self._give(request, reply, streamed=seen.operation == "converse-stream")
        except (asyncio.CancelledError, ConnectionResetError):
            self.gone.set()
            raise

    def _next(self) -> Reply:
        return self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]

    async def _give(self, request: web.Request, reply: Reply, *, streamed: bool) -> web.StreamResponse:
        match reply:
            case Fails():
                return _refusal(reply)
            case Sends():
                response = await _send(request, _each(reply.pieces), streamed=streamed, cut=reply.cut)
                if reply.hold is not None:
                    await reply.hold.wait()
                return response
            case Says():
                self._bill(reply)
                pieces = _held(reply) if streamed else _each([reply.whole()])
                return await _send(request, pieces, streamed=streamed, cut=False)

    def _bill(self, reply: Says) -> None:
        for key in self.billed:
            self.billed[key] += reply.usage.get(key, 0)


async def _each(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def _held(reply: Says) -> AsyncIterator[bytes]:
    frames = reply.frames()
    last_text = max((at for at, (kind, _) in enumerate(reply.events()) if kind == "contentBlockDelta"), default=-1)
    for at, frame in enumerate(frames):
        if at == last_text and reply.hold is not None:
            await reply.hold.wait()
        yield frame


async def _send(request: web.Request, pieces: AsyncIterator[bytes], *, streamed: bool, cut: bool) -> web.StreamResponse:
    kind = "application/vnd.amazon.eventstream" if streamed else "application/json"
    response = web.StreamResponse(headers={"content-type": kind, "x-amzn-requestid": "request-1"})
    await response.prepare(request)
    async for piece in pieces:
        await response.write(piece)
    if cut and request.transport is not None:
        request.transport.abort()
    return response


def _refusal(reply: Fails) -> web.Response:
    headers = {
        "x-amzn-errortype": f"{reply.code}:http://internal.amazon.com/coral/com.amazon.bedrock/",
        **reply.headers,
    }
    return web.json_response({"message": reply.message}, status=reply.status, headers=headers)


async def _seen(request: web.Request) -> Seen:
    content = await request.read()
    place = _ROUTE.fullmatch(request.raw_path.partition("?")[0])
    return Seen(
        model=unquote(place["model"]) if place else "",
        operation=place["operation"] if place else "",
        raw_path=request.raw_path,
        body=orjson.loads(content),
        content=content,
        headers=request.headers.copy(),
        signed=is_signed(request.raw_path, request.headers, content),
        peer=request.transport and request.transport.get_extra_info("peername"),
    )


def is_signed(raw_path: str, headers: Mapping[str, str], content: bytes) -> bool:
    """Return whether a request carries the signature that botocore makes of it with our credentials."""
    authorization = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=(\S+), SignedHeaders=(\S+), Signature=([0-9a-f]{64})",
        headers.get("Authorization", ""),
    )
    if authorization is None or headers.get("X-Amz-Security-Token") != CREDENTIALS.token:
        return False
    scope, names, signature = authorization.groups()
    auth = SigV4Auth(CREDENTIALS, "bedrock", REGION)
    request = AWSRequest(
        method="POST",
        url=f"http://{headers['Host']}{raw_path}",
        data=content,
        headers={name: headers[name] for name in names.split(";")},
    )
    request.context["timestamp"] = headers["X-Amz-Date"]
    expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    return scope == auth.scope(request) and hmac.compare_digest(signature, expected)
