"""Addresses and bodies as released clients really send them."""

import gzip
import json
import zlib
from typing import Any

import pytest

from moa._server.http.body_decoding import SLICE_BYTES, body_decoder
from moa._server.http.routes import canonical_path
from tests.support.served import HELLO, served

BODY = json.dumps({"model": "moa/solo", "messages": HELLO}).encode()
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        # https://github.com/chatanywhere/GPT_API_free/issues/433: a base address that ends with a slash
        ("//v1/messages", "/v1/messages"),
        # https://github.com/FerroxLabs/wayland/issues/1178: a base address with /v1, to which the client adds it
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/messages/count_tokens", "/v1/messages/count_tokens"),
        # https://github.com/tsundereraws/aisub-translator/issues/2: a base address without it
        ("/chat/completions", "/v1/chat/completions"),
        ("/responses", "/v1/responses"),
        ("/models/moa/duo", "/v1/models/moa/duo"),
        # https://github.com/sigoden/aichat/issues/767
        ("/v1//chat/completions/", "/v1/chat/completions"),
        ("/v1/models/", "/v1/models"),
        # Other addresses are taken as they are: what a proxy in front refuses has one spelling.
        ("//metrics", "//metrics"),
        ("/metrics/", "/metrics/"),
        ("/modelsx", "/modelsx"),
        ("/v1/../metrics", "/v1/../metrics"),
        ("/", "/"),
    ],
)
def test_an_address_is_found_however_a_clients_base_address_is_written(path: str, meant: str) -> None:
    assert canonical_path(path) == meant


async def test_every_spelling_of_an_address_is_answered_in_the_shape_of_its_api() -> None:
    message = {"model": "moa/solo", "max_tokens": 9, "messages": HELLO}
    async with served() as server:
        chat = await server.post("//v1/v1/chat/completions/", json.loads(BODY))
        messages = await server.post("/v1/v1/messages?beta=true", message)
        refused = await server.post("/v1/v1/messages", message | {"max_tokens": -1})

    assert (chat[0], chat[1]["object"]) == (200, "chat.completion")
    assert (messages[0], messages[1]["type"]) == (200, "message")
    assert (refused[0], refused[1]["type"]) == (400, "error")


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        # https://github.com/BerriAI/litellm/pull/41567, https://github.com/ollama/ollama/issues/12386
        ("gzip", gzip.compress(BODY, mtime=0)),
        ("deflate", zlib.compress(BODY)),
        ("identity", BODY),
        # https://github.com/Badgerati/Pode/issues/1604: editors and PowerShell put a byte order mark in front.
        ("", b"\xef\xbb\xbf" + BODY),
    ],
)
async def test_a_body_may_be_compressed_or_have_a_byte_order_mark(encoding: str, body: bytes) -> None:
    headers = JSON | ({"Content-Encoding": encoding} if encoding else {})
    async with (
        served() as server,
        server.http.post(f"{server.url}/v1/chat/completions", data=body, headers=headers) as response,
    ):
        assert response.status == 200, await response.text()


@pytest.mark.parametrize(
    ("encoding", "body", "status", "told"),
    [
        # https://github.com/QuantumNous/new-api/issues/4913: Codex compresses long conversations.
        ("zstd", b"\x28\xb5\x2f\xfd", 415, "enable_request_compression"),
        ("br", BODY, 415, "with 'br'"),
        ("gzip", BODY, 400, "not compressed as Content-Encoding says"),
        ("gzip", gzip.compress(BODY, mtime=0)[:-9], 400, "ends too early"),
        ("gzip", gzip.compress(b"[" * 30_000_000, mtime=0), 400, "levels deep"),
        ("gzip", gzip.compress(b" " * 30_000_000, mtime=0), 413, "more than 20,000,000 bytes"),
    ],
)
async def test_a_body_that_can_not_be_decoded_is_one_clear_error(
    encoding: str, body: bytes, status: int, told: str
) -> None:
    async with served() as server:
        headers = JSON | {"Content-Encoding": encoding}
        async with server.http.post(f"{server.url}/v1/chat/completions", data=body, headers=headers) as response:
            error: dict[str, Any] = (await response.json())["error"]

    assert response.status == status
    assert told in error["message"]


def test_a_body_is_decoded_in_slices_wherever_its_bytes_are_broken() -> None:
    whole = bytes(range(256)) * 1000
    packed, decoder = gzip.compress(whole), body_decoder("gzip")
    pieces = [packed[at : at + 7] for at in range(0, len(packed), 7)]

    decoded = [part for at, piece in enumerate(pieces, 1) for part in decoder.feed(piece, is_last=at == len(pieces))]

    assert b"".join(decoded) == whole
    assert max(map(len, decoded)) <= SLICE_BYTES


async def test_a_client_that_asks_for_a_websocket_is_told_to_go_on_without() -> None:
    # https://github.com/NVIDIA/NeMo-Relay/pull/994: at 426 Codex goes on by HTTP, at other statuses it tries again.
    asks = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "a" * 24,
    }
    async with served() as server:
        async with server.http.get(f"{server.url}/v1/responses", headers=asks) as response:
            assert response.status == 426
            assert response.headers["Upgrade"] == "HTTP/1.1"
        async with server.http.get(f"{server.url}/v1/responses") as response:
            assert response.status == 405
