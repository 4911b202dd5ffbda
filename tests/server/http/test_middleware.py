"""Who may come in, and what becomes of what doesn't fit."""

import json
import logging
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from starlette.applications import Starlette
from yarl import URL

from moa._server.api_keys import ApiKeys, KeySettings, hash_key
from moa._server.app import route_table
from moa._server.http.exchange import HttpExchange
from moa._server.http.middleware import ApiMiddleware
from moa._server.http.routes import Route, RouteTable
from moa._server.options import PAGE, ServerOptions
from tests.support.model_server import Status, Text
from tests.support.served import HELLO, SOLO, ServedModel, listening, served

CHAT = "/v1/chat/completions"
BODY = json.dumps({"model": "moa/solo", "messages": HELLO}).encode()
JSON = {"content-type": "application/json"}


def ring(**fields: Any) -> ApiKeys:
    return ApiKeys([KeySettings(name="alice", sha256=hash_key("moa-secret"), **fields)])


async def _post(
    server: ServedModel, body: bytes = BODY, path: str = CHAT, **headers: str
) -> tuple[int, dict[str, Any]]:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    async with server.http.post(f"{server.url}{path}", data=body, headers={**JSON, **headers}) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::1", "@"])
async def test_a_name_that_somebody_else_lets_point_here_is_refused(host: str) -> None:
    async with served() as server:
        status, reply = await _post(server, host=host)

    assert (status, reply["error"]["code"]) == (403, "wrong_host")
    assert server.upstream.requests == []


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:9"])
async def test_every_name_of_this_machine_is_taken(host: str) -> None:
    async with served() as server:
        status, _ = await _post(server, host=host)

    assert status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://"])
async def test_a_page_of_another_origin_may_not_spend_money(origin: str) -> None:
    async with served() as server:
        status, reply = await _post(server, origin=origin)

    assert (status, reply["error"]["code"]) == (403, "wrong_origin")
    assert server.upstream.requests == []


async def test_the_servers_own_page_may_and_so_may_an_origin_that_the_owner_names() -> None:
    async with served(cors_origins=("https://chat.example",)) as server:
        own, _ = await _post(server, origin=server.url)
        named, _ = await _post(server, origin="https://chat.example")
        async with server.http.options(
            f"{server.url}{CHAT}", headers={"origin": "https://chat.example", "access-control-request-method": "POST"}
        ) as preflight:
            allowed = preflight.headers["access-control-allow-origin"]
        async with server.http.get(f"{server.url}/v1/nothing", headers={"origin": "https://chat.example"}) as refused:
            readable = refused.headers["access-control-expose-headers"]

    assert (own, named, allowed) == (200, 200, "https://chat.example")
    assert {"retry-after", "x-request-id"} <= set(readable.split(", "))


async def test_no_other_origin_is_allowed_by_default() -> None:
    async with (
        served() as server,
        server.http.options(
            f"{server.url}{CHAT}", headers={"origin": "https://chat.example", "access-control-request-method": "POST"}
        ) as preflight,
    ):
        assert preflight.status == 403
        assert "access-control-allow-origin" not in preflight.headers


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_what_a_form_can_send_is_refused(kind: str) -> None:
    async with served() as server:
        status, reply = await _post(server, content_type=kind)

    assert (status, reply["error"]["code"]) == (415, "unsupported_media_type")


async def test_json_with_a_charset_is_json() -> None:
    async with served() as server:
        status, _ = await _post(server, content_type="Application/JSON; charset=utf-8")

    assert status == 200


BAD = [
    b"",
    b"{",
    b"[]",
    b'"x"',
    b"null",
    b"\xff\xfe{}",
    b'{"model": "\xe9"}',
    b"NaN",
    b"[" * 100_000,
    b'{"a":"\\ud800"}',
]


@pytest.mark.parametrize("body", BAD, ids=lambda body: repr(body[:12]))
@pytest.mark.parametrize("path", [CHAT, "/v1/responses", "/v1/messages", "/api/runs", "/api/check", "/api/yaml"])
async def test_a_body_that_is_no_json_object_is_refused(shared: ServedModel, body: bytes, path: str) -> None:
    status, reply = await _post(shared, body, path)

    assert status == 400
    assert "error" in reply


async def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not() -> None:
    async def pieces() -> Any:
        for _ in range(30):
            yield b"x" * 1000

    async with served(max_body_bytes=20_000) as server:
        announced, reply = await _post(server, b" " * 20_001)
        async with server.http.post(f"{server.url}{CHAT}", data=pieces(), headers=JSON) as response:
            unannounced = response.status

    assert (announced, unannounced, reply["error"]["code"]) == (413, 413, "request_too_large")


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    from asyncio import open_connection

    async with served(body_timeout_s=0.05) as server:
        reader, writer = await open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n"
        writer.write(head.encode())
        status = await reader.readline()
        writer.close()

    assert b" 408 " in status


async def test_without_a_key_nobody_comes_in_where_there_are_keys() -> None:
    async with served(keys=ring()) as server:
        statuses = {}
        for path in ("/v1/models", "/api/mixtures", "/metrics", "/openapi.json", "/healthz", "/readyz"):
            async with server.http.get(f"{server.url}{path}") as response:
                statuses[path] = response.status
        status, reply = await _post(server)
        wrong, wrong_reply = await _post(server, authorization="Bearer moa-guess")

    assert statuses == {
        "/v1/models": 401,
        "/api/mixtures": 401,
        "/metrics": 401,
        "/openapi.json": 401,
        "/healthz": 200,
        "/readyz": 200,
    }
    assert (status, reply["error"]["code"]) == (401, "missing_api_key")
    assert (wrong, wrong_reply["error"]["code"]) == (401, "invalid_api_key")
    assert "moa-guess" not in json.dumps(wrong_reply)


async def test_an_address_that_nobody_declared_open_needs_a_key(tmp_path: Path) -> None:
    """Denied by default: what is added later is guarded unless it says otherwise."""
    (tmp_path / "app.js").write_text("1")
    options = ServerOptions(mixtures=(SOLO,), keys=ring(), page=tmp_path, hosts=())
    reached = []

    async def handle(exchange: HttpExchange) -> None:
        reached.append(exchange.path)
        await exchange.reply(200, b"{}")

    added = Route(method="GET", path="/v2/anything", handle=handle)
    opened = Route(method="GET", path="/v2/open", handle=handle, is_open=True)
    app = ApiMiddleware(Starlette(), options, RouteTable([added, opened]))
    async with listening(app) as url, aiohttp.ClientSession() as http:
        statuses = {}
        for path in ("/v2/anything", "/v2/nothing", "/app.js", "/v2/open", "/v2/open/below"):
            async with http.get(f"{url}{path}") as response:
                statuses[path] = response.status
        async with http.get(f"{url}/v2/anything", headers={"authorization": "Bearer moa-secret"}) as response:
            statuses["with a key"] = response.status

    assert statuses == {
        "/v2/anything": 401,
        "/v2/nothing": 401,
        "/app.js": 401,
        "/v2/open": 200,
        "/v2/open/below": 401,
        "with a key": 200,
    }
    assert reached == ["/v2/open", "/v2/anything"]


async def test_all_that_is_open_with_keys_are_the_probes_and_the_pages_own_files() -> None:
    async with served(keys=ring()) as server:
        table = route_table(server.app.state.service)
        files = {path.name for path in PAGE.iterdir()}

    assert {route.path for route in table.all if route.is_open} == {
        "/",
        "/healthz",
        "/readyz",
        *(f"/{name}" for name in files),
    }


@pytest.mark.parametrize(
    "path", ["/../pyproject.toml", "/..%2f..%2fapp.py", "/%2e%2e/app.py", "//etc/passwd", "/page/"]
)
async def test_nothing_but_the_pages_files_can_be_got(shared: ServedModel, path: str) -> None:
    async with shared.http.get(URL(f"{shared.url}{path}", encoded=True)) as response:
        assert response.status == 404


@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/models", "/v1/models/moa/solo", "/app.js"])
async def test_head_is_answered_wherever_get_is_without_a_body(shared: ServedModel, path: str) -> None:
    async with shared.http.get(f"{shared.url}{path}") as got, shared.http.head(f"{shared.url}{path}") as head:
        assert (head.status, head.headers["content-length"]) == (200, got.headers["content-length"])
        assert await head.read() == b""


async def test_one_right_key_is_enough_where_a_client_sends_two() -> None:
    """Anthropic's clients send both headers when both of their variables are set."""
    async with served(keys=ring()) as server:
        status, _ = await _post(server, authorization="Bearer left-over", x_api_key="moa-secret")

    assert status == 200


async def test_the_right_key_comes_in_by_either_header() -> None:
    async with served(keys=ring(), key="moa-secret") as server:
        await server.openai.chat.completions.create(model="moa/solo", messages=HELLO)
        await server.anthropic.messages.create(model="moa/solo", max_tokens=9, messages=HELLO)

    assert len(server.upstream.requests) == 2


async def test_a_key_has_a_rate_of_its_own() -> None:
    async with served(keys=ring(requests_per_minute=1), key="moa-secret") as server:
        await server.openai.chat.completions.create(model="moa/solo", messages=HELLO)
        with pytest.raises(openai.RateLimitError) as caught:
            await server.openai.chat.completions.create(model="moa/solo", messages=HELLO)

    assert 0 < int(caught.value.response.headers["retry-after"]) <= 60


async def test_a_key_has_a_budget_that_all_of_its_runs_share() -> None:
    async with served(keys=ring(budget_usd=0.0004), key="moa-secret") as server:
        server.upstream.behave("writer", Text("x", usage=(100, 150)))
        await server.openai.chat.completions.create(model="moa/solo", messages=HELLO)
        with pytest.raises(openai.APIStatusError) as caught:
            await server.openai.chat.completions.create(model="moa/solo", messages=HELLO)

    assert caught.value.status_code == 402
    assert len(server.upstream.requests) == 1


async def test_every_reply_has_the_headers_of_security_and_the_page_a_strict_policy() -> None:
    async with served() as server:
        async with server.http.get(f"{server.url}/v1/models") as response:
            api = response.headers
        async with server.http.get(f"{server.url}/") as response:
            page = response.headers

    assert api["x-content-type-options"] == page["x-content-type-options"] == "nosniff"
    assert api["cache-control"] == "no-store"
    assert api["x-request-id"].startswith("req-")
    policy = page["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", CHAT, 405), ("GET", "/v1/nope", 404), ("PUT", "/v1/models", 405)]
)
async def test_wrong_paths_and_methods_are_told_in_the_same_shape(method: str, path: str, status: int) -> None:
    async with served() as server, server.http.request(method, f"{server.url}{path}", json={}) as response:
        assert response.status == status
        assert (await response.json())["error"]["type"] == "invalid_request_error"


async def test_a_mistake_of_ours_shows_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    async with served() as server:
        server.app.state.service.models.mixtures = None  # whatever reads it, fails
        status, reply = await server.chat()

    assert (status, reply["error"]["code"]) == (500, "internal_error")
    assert "NoneType" not in json.dumps(reply)
    assert "NoneType" in caplog.text


async def test_strangers_are_not_told_what_services_say() -> None:
    async with served(keys=ring(), key="moa-secret") as server:
        server.upstream.behave("writer", Status(500, {"error": {"message": "disk /srv/models is full"}}))
        with pytest.raises(openai.InternalServerError) as caught:
            await server.openai.chat.completions.create(model="moa/solo", messages=HELLO)
        server.upstream.behave("one", Status(500, {"error": {"message": "disk /srv/models is full"}}))
        server.upstream.behave("writer", Text("fine"))
        whole = await server.openai.chat.completions.create(
            model="moa/duo", messages=HELLO, extra_body={"moa": {"ledger": True}}
        )

    assert "/srv/models" not in str(caught.value)
    assert "/srv/models" not in whole.model_dump_json()


async def test_the_access_log_holds_who_and_what_but_no_prompt_and_no_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "moa.server.access")
    async with served(keys=ring(), key="moa-secret") as server:
        await server.openai.chat.completions.create(
            model="moa/solo", messages=[{"role": "user", "content": "my private plan"}]
        )

    [record] = [record for record in caplog.records if record.name == "moa.server.access"]
    facts: Any = record.__dict__["facts"]
    assert (facts["caller"], facts["status"], facts["mixture"], facts["run"]) == ("alice", 200, "solo", "complete")
    assert "private" not in str(record.__dict__)
    assert "moa-secret" not in str(record.__dict__)


async def test_the_access_log_holds_the_prompt_when_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "moa.server.access")
    async with served(log_prompts=True) as server:
        await server.chat()

    assert [record.__dict__["facts"].get("prompt") for record in caplog.records if "facts" in record.__dict__] == [
        "Say hello"
    ]


@pytest.mark.parametrize(
    ("path", "says"), [("/v1/completions", "chat"), ("/v1/embeddings", "embeddings"), ("/api/chat", "Ollama")]
)
async def test_addresses_of_other_servers_say_what_to_set_in_the_client(path: str, says: str) -> None:
    async with served() as server:
        status, body = await server.post(path, {"model": "moa/duo", "prompt": "Hi"})

    assert (status, says in body["error"]["message"]) == (404, True)
