import asyncio
import contextlib
import gzip
import inspect
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import client_exceptions
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from moa.errors import BrokenReply, ConfigError, ConnectionFailed, IdleTimedOut, ProviderError
from moa.providers._http import LARGE_BODY_BYTES, MAX_BODY_BYTES, HttpRequest, HttpTransport

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[str]:
    """Serve raw connections on loopback; gives the address."""

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError):
            await serve(reader, writer)

    server = await asyncio.start_server(closing, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        server.close()


def answering(*replies: bytes, close: bool = True) -> Serve:
    """Return a server that answers the requests of one connection with these bytes; `close`: and then hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in replies:
            await request_on(reader)
            writer.write(reply)
            await writer.drain()
        if not close:
            await reader.read()

    return serve


async def request_on(reader: asyncio.StreamReader) -> None:
    _, length = await head_on(reader)
    await reader.readexactly(length)


async def head_on(reader: asyncio.StreamReader) -> tuple[bytes, int]:
    head = await reader.readuntil(b"\r\n\r\n")
    (length,) = (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    return head, length


def response(body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    head = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % (len(body) if length is None else length), *headers]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    opened = HttpTransport()
    yield opened
    await opened.aclose()


def post(url: str, **fields: Any) -> HttpRequest:
    return HttpRequest(url=url, headers={}, body=b"{}", reference="lab/small", **fields)


async def read(transport: HttpTransport, url: str, **fields: Any) -> bytes:
    async with transport(post(url, **fields)) as reply:
        return await reply.read()


async def test_transport_gives_status_headers_and_body(transport: HttpTransport) -> None:
    async with listening(answering(response(b"hello", b"X-Request-Id: r1"))) as url, transport(post(url)) as reply:
        assert (reply.status, reply.headers["x-request-id"], await reply.read()) == (200, "r1", b"hello")


async def test_transport_does_not_follow_redirects(transport: HttpTransport) -> None:
    moved = b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"

    async with listening(answering(moved)) as url, transport(post(url)) as reply:
        assert reply.status == 307


async def test_refused_connection_is_a_connection_failure(transport: HttpTransport, unused_tcp_port: int) -> None:
    with pytest.raises(
        ConnectionFailed, match=f"no reply from http://127.0.0.1:{unused_tcp_port}: connection refused$"
    ):
        await read(transport, f"http://127.0.0.1:{unused_tcp_port}/v1?key=secret")


async def test_a_server_without_tls_and_an_unknown_host_are_told_in_plain_words(transport: HttpTransport) -> None:
    async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.write(response(b"hello"))

    async with listening(no_tls) as url:
        with pytest.raises(ConnectionFailed, match=r": TLS failed: [a-z ]+$"):
            await read(transport, url.replace("http://", "https://"))
    with pytest.raises(ConnectionFailed) as caught:
        await read(transport, "http://no-such-host.invalid/v1")

    assert "ssl:" not in str(caught.value)


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 200"])
async def test_connection_closed_before_the_headers_is_a_connection_failure(
    transport: HttpTransport, reply: bytes
) -> None:
    async with listening(answering(reply)) as url:
        with pytest.raises(ConnectionFailed) as caught:
            await read(transport, url)

    assert not caught.value.ask_again


@pytest.mark.parametrize("reply", [b"SSH-2.0-OpenSSH_9\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n"])
async def test_answer_that_is_no_http_is_a_broken_reply_that_hides_the_address(
    transport: HttpTransport, reply: bytes
) -> None:
    async with listening(answering(reply)) as url:
        with pytest.raises(BrokenReply, match="is not HTTP") as caught:
            await read(transport, url + "?key=secret")

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "reply",
    [
        response(b"half", length=8),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n\r\n",
        response(b"no gzip at all", b"Content-Encoding: gzip"),
    ],
)
async def test_body_that_breaks_off_is_a_broken_reply(transport: HttpTransport, reply: bytes) -> None:
    async with listening(answering(reply)) as url:
        with pytest.raises(BrokenReply) as caught:
            await read(transport, url)
    assert ("the connection was closed before its end" in str(caught.value)) == (b"half" in reply)


async def test_body_that_unpacks_to_far_more_than_a_reply_is_given_up(transport: HttpTransport) -> None:
    bomb = gzip.compress(bytes(MAX_BODY_BYTES + 1), compresslevel=1)

    async with listening(answering(response(bomb, b"Content-Encoding: gzip"))) as url:
        with pytest.raises(BrokenReply, match="larger than"):
            await read(transport, url)


async def test_body_that_announces_far_more_than_a_reply_is_not_read(transport: HttpTransport) -> None:
    async with listening(answering(response(b"", length=2**40), close=False)) as url:
        with pytest.raises(BrokenReply, match="larger than"):
            await read(transport, url)


async def test_silence_in_the_body_is_an_idle_timeout(transport: HttpTransport) -> None:
    async with listening(answering(response(b"half", length=8), close=False)) as url:
        with pytest.raises(IdleTimedOut, match=r"silent for 0\.02 s"):
            await read(transport, url, idle_timeout_s=0.02)


async def test_time_in_which_nobody_reads_is_no_silence(transport: HttpTransport) -> None:
    finish = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_on(reader)
        writer.write(response(b"half", length=8))
        await finish.wait()
        writer.write(b"more")

    async with listening(serve) as url, transport(post(url, idle_timeout_s=0.02)) as reply:
        chunks = reply.chunks()
        assert await anext(chunks) == b"half"
        await asyncio.sleep(0.07)  # longer than the limit, whatever else runs: this is the time in question
        finish.set()
        assert await anext(chunks) == b"more"


async def test_stale_connection_is_told_from_a_dead_server(transport: HttpTransport) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await request_on(reader)
        writer.write(response(b"ok"))
        await request_on(reader)
        writer.transport.abort()

    async with listening(serve) as url:
        assert await read(transport, url) == b"ok"
        with pytest.raises(ConnectionFailed) as caught:
            await read(transport, url)
        assert caught.value.ask_again
        assert await read(transport, url) == b"ok"

    assert connections == 2


async def test_leaving_the_block_early_closes_the_connection(transport: HttpTransport) -> None:
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_on(reader)
        writer.write(response(b"half", length=8))
        assert await reader.read() == b""
        closed.set()

    async with listening(serve) as url:
        async with transport(post(url)) as reply:
            assert await anext(reply.chunks()) == b"half"
        async with asyncio.timeout(5):
            await closed.wait()


async def test_cancelling_a_call_closes_its_connection_before_the_headers(transport: HttpTransport) -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_on(reader)
        asked.set()
        assert await reader.read() == b""
        closed.set()

    async with listening(serve) as url:
        call = asyncio.create_task(read(transport, url))
        await asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with asyncio.timeout(5):
            await closed.wait()


def test_request_shows_neither_headers_nor_address_nor_body() -> None:
    request = HttpRequest(url="http://x/?key=s3cret", headers={"a": "s3cret"}, body=b"s3cret", reference="lab/small")

    assert "s3cret" not in repr(request)


def test_certificates_that_can_not_be_read_are_turned_down(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()

    for path in (tmp_path / "missing.pem", tmp_path / "empty.pem"):
        with pytest.raises(ConfigError, match=path.name):
            HttpTransport(ca_bundle=str(path))


def test_proxy_of_another_kind_is_turned_down() -> None:
    with pytest.raises(ConfigError, match="http"):
        HttpTransport(proxy="socks5://127.0.0.1:1")


# -- every error of the library below ------------------------------------------------------------------------------


def client_errors() -> Iterator[type[aiohttp.ClientError]]:
    """Give every error that aiohttp's client may raise, but those of web sockets."""
    for _, kind in inspect.getmembers(client_exceptions, inspect.isclass):
        if issubclass(kind, aiohttp.ClientError) and "WS" not in kind.__name__:
            yield kind


def example(kind: type[aiohttp.ClientError]) -> aiohttp.ClientError:
    """Return such an error, made as aiohttp makes it."""
    key = ConnectionKey("models.test", 443, True, True, None, None, None)
    info = SimpleNamespace(real_url=URL("http://models.test/?key=secret"))
    arguments: list[tuple[Any, ...]] = [
        (),
        (key, OSError(1, "x")),
        (key, ssl.SSLCertVerificationError("x")),
        ("path", key, OSError(1, "x")),
        (info, ()),
        (URL("http://models.test/?key=secret"),),
        (b"got", b"expected", "models.test", 443),
    ]
    for given in arguments:
        try:
            error = kind(*given)
            str(error)
        except (TypeError, AttributeError):
            continue
        return error
    raise AssertionError(f"no way to make a {kind.__name__}")


@pytest.mark.parametrize("size", [10, LARGE_BODY_BYTES], ids=["small", "large"])
@pytest.mark.parametrize("kind", list(client_errors()), ids=lambda kind: kind.__name__)
async def test_every_client_error_becomes_ours(kind: type[aiohttp.ClientError], size: int) -> None:
    class Failing(HttpTransport):
        def _open_session(self) -> Any:
            async def fail(*args: object, **fields: object) -> None:
                raise example(kind)

            return SimpleNamespace(request=fail, connector=SimpleNamespace(connect=fail), timeout=None)

    with pytest.raises(ProviderError) as caught:
        async with Failing()(replace(post("http://models.test/v1?key=secret"), body=b" " * size)):
            pass

    assert type(caught.value) in (ConnectionFailed, BrokenReply)
    assert caught.value.retryable


# -- small requests, which are written without aiohttp's session ---------------------------------------------------


@pytest.mark.parametrize("headers", [{}, {"Accept": "text/plain", "X-Api-Key": "k", "Content-Type": "text/json"}])
async def test_small_and_large_request_have_the_same_beginning(
    transport: HttpTransport, headers: dict[str, str]
) -> None:
    heads: list[list[bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            head, length = await head_on(reader)
            await reader.readexactly(length)
            of_the_body = (b"Content-Length", b"Content-Type: application/octet-stream")
            heads.append(sorted(line for line in head.split(b"\r\n") if not line.startswith(of_the_body)))
            writer.write(response(b"ok"))

    async with listening(serve) as url:
        for size in (10, LARGE_BODY_BYTES):
            request = replace(post(f"{url}/a%20b?c=%C3%A4"), headers=headers, body=b" " * size)
            async with transport(request) as reply:
                assert await reply.read() == b"ok"

    assert heads[0] == heads[1]
    assert heads[0][-1].startswith(b"X-Api-Key" if headers else b"User-Agent")


async def test_body_of_each_request_is_sent_whole(transport: HttpTransport) -> None:
    bodies = [b"", b"{}", b"x" * (LARGE_BODY_BYTES - 1), b"y" * LARGE_BODY_BYTES, b"{}"]
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in bodies:
            _, length = await head_on(reader)
            received.append(await reader.readexactly(length))
            writer.write(response(b"ok"))

    async with listening(serve) as url:
        for body in bodies:
            async with transport(replace(post(url), body=body)) as reply:
                assert await reply.read() == b"ok"

    assert received == bodies


async def test_headers_may_change_from_request_to_request(transport: HttpTransport) -> None:
    signatures: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            head, length = await head_on(reader)
            await reader.readexactly(length)
            signatures.append(next(line for line in head.split(b"\r\n") if line.startswith(b"Authorization")))
            writer.write(response(b"ok"))

    async with listening(serve) as url:
        for signature in ("one", "two"):
            async with transport(replace(post(url), headers={"Authorization": signature})) as reply:
                await reply.read()

    assert signatures == [b"Authorization: one", b"Authorization: two"]


async def test_header_with_a_line_break_is_not_sent(transport: HttpTransport) -> None:
    with pytest.raises(ValueError, match="line break"):
        async with transport(replace(post("http://127.0.0.1:9/"), headers={"X": "a\r\nInjected: b"})):
            pass


async def test_interim_responses_are_passed_over(transport: HttpTransport) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"

    async with listening(answering(early + early + response(b"hello"))) as url:
        assert await read(transport, url) == b"hello"


async def test_body_without_a_length_ends_with_its_connection(transport: HttpTransport) -> None:
    async with listening(answering(b"HTTP/1.1 200 OK\r\n\r\nhello")) as url:
        assert await read(transport, url) == b"hello"


async def test_connection_is_kept_after_a_whole_reply_and_not_if_the_server_says_so(transport: HttpTransport) -> None:
    connections = 0
    replies = [response(b"one"), response(b"two", b"Connection: close")]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answering(*replies)(reader, writer)

    async with listening(serve) as url:
        got = [await read(transport, url) for _ in range(4)]

    assert (got, connections) == ([b"one", b"two"] * 2, 2)


OK = b"HTTP/1.1 200 OK\r\n"
PACKED = gzip.compress(b"hello")
REPLIES = {
    "early hints": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK + b"Content-Length: 5\r\n\r\nhello",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    "trailers": OK + b"Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: 1\r\n\r\n",
    "packed": OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(PACKED) + PACKED,
    "not packed": OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
    "length and chunks": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "another protocol": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "no chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "too short": OK + b"Content-Length: 9\r\n\r\nhello",
    "too long": OK + b"Content-Length: 5\r\n\r\nhello, and more",
    "huge header": OK + b"X: " + b"a" * 20_000 + b"\r\nContent-Length: 5\r\n\r\nhello",
    "cookie": OK + b"Set-Cookie: a=b\r\nContent-Length: 5\r\n\r\nhello",
    "nothing": b"",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
}


@pytest.mark.parametrize("raw", REPLIES.values(), ids=REPLIES)
async def test_replies_to_small_requests_are_read_as_aiohttps_session_reads_them(raw: bytes) -> None:
    async def outcome(size: int) -> object:
        async with listening(answering(raw)) as url, contextlib.aclosing(HttpTransport()) as transport:
            try:
                async with transport(replace(post(url), body=b" " * size)) as reply:
                    return reply.status, sorted(reply.headers.items()), await reply.read()
            except ProviderError as error:
                return type(error), error.maybe_billed, error.ask_again

    assert await outcome(10) == await outcome(LARGE_BODY_BYTES)
