"""A client that writes bytes of HTTP, for what no client library would send."""

import asyncio
import json

from tests.support.served import HELLO, ServedModel

CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}
PATHS = [CHAT, "/v1/responses", "/v1/messages", "/v1/messages/count_tokens", "/api/runs", "/api/check", "/api/yaml"]


async def connect(server: ServedModel, address: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    port = int(server.url.rpartition(":")[2])
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))


def head(path: str = CHAT, length: int = 1000, *more: str, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", "content-type: application/json"]
    return "\r\n".join([*lines, f"content-length: {length}", *more, "", ""]).encode()


def ask() -> bytes:
    body = json.dumps({"model": "moa/solo", "messages": HELLO}).encode()
    return head(CHAT, len(body)) + body


def healthz(*headers: str) -> bytes:
    return "\r\n".join(["GET /healthz HTTP/1.1", "host: localhost", *headers, "", ""]).encode()


async def read_reply(reader: asyncio.StreamReader) -> int:
    """Return a reply's status; its body is read."""
    text = (await reader.readuntil(b"\r\n\r\n")).decode()
    lengths = [line for line in text.lower().split("\r\n") if line.startswith("content-length:")]
    await reader.readexactly(int(lengths[0].partition(":")[2]))
    return int(text.split()[1])


async def is_closed(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(5):
            return await reader.read() == b""
    except ConnectionResetError:
        return True
