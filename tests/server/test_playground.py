"""The playground's own API."""

from typing import Any

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from moa._config.settings import Settings
from moa._mixture.loading import load
from moa._server.api_keys import ApiKeys, KeySettings, hash_key
from moa._server.playground import listed_references
from moa.providers._endpoint import Endpoint
from tests.support.model_server import Status, Text
from tests.support.served import DUO, HELLO, SOLO, ServedModel, served


async def _events(server: ServedModel, **fields: Any) -> list[dict[str, Any]]:
    body = {"mixture": "duo", "messages": HELLO, **fields}
    async with server.http.post(f"{server.url}/api/runs", json=body) as response:
        assert response.status == 200, await response.text()
        text = await response.text()
    return [orjson.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: ")]


async def test_mixtures_are_listed_with_their_layers() -> None:
    async with served(DUO) as server, server.http.get(f"{server.url}/api/mixtures") as response:
        [mixture] = await response.json()

    assert mixture["name"] == "duo"
    assert mixture["layers"] == [[{"agent": "one", "model": "lab/one"}, {"agent": "two", "model": "lab/two"}]]
    assert mixture["aggregator"] == {"agent": "aggregator", "model": "lab/writer"}
    assert load(mixture["mixture"]) == DUO


async def test_a_run_tells_every_event_and_ends_with_the_answer() -> None:
    async with served() as server:
        events = await _events(server, seed=3)

    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["run_started", "layer_started"]
    assert kinds[-1] == "run_finished"
    assert kinds.count("proposal_finished") == 2
    text = "".join(event["text"] for event in events if event["type"] == "answer_delta")
    assert text == events[-1]["answer"]["text"] == "This is writer"
    assert events[-1]["answer"]["seed"] == 3
    told = {(event["layer"], event["index"]) for event in events if event["type"] == "proposal_delta"}
    assert told == {(1, 0), (1, 1)}
    finished = [event["proposal"] for event in events if event["type"] == "proposal_finished"]
    assert sorted((proposal["index"], proposal["text"]) for proposal in finished) == [
        (0, "This is one"),
        (1, "This is two"),
    ]


async def test_a_mixture_that_the_page_brings_runs() -> None:
    async with served() as server:
        server.upstream.behave("new", Text("from new"))
        events = await _events(server, mixture={"name": "mine", "layers": [], "aggregator": {"model": "lab/new"}})

    assert events[-1]["answer"]["text"] == "from new"
    assert events[0]["mixture"] == "mine"


async def test_a_failure_is_the_last_event() -> None:
    async with served() as server:
        server.upstream.behave("writer", Status(500))
        events = await _events(server)

    assert events[-1]["type"] == "error"
    assert events[-1]["error"]["code"] == "service_failed"


async def test_what_is_wrong_with_a_run_is_told_before_it_begins() -> None:
    async with served() as server:
        cases = [{"mixture": "none"}, {"mixture": 5}, {"messages": []}, {"mixture": {"layers": []}}, {"colour": 1}]
        found = [await server.post("/api/runs", {"mixture": "duo", "messages": HELLO, **case}) for case in cases]

    assert [status for status, _ in found] == [404, 400, 400, 400, 400]
    assert all(reply["error"]["message"] for _, reply in found)


async def test_a_file_is_checked_and_its_fault_has_a_line() -> None:
    async with served() as server:
        _, good = await server.post("/api/check", {"yaml": "layers: []\naggregator: {model: lab/one}\n"})
        _, bad = await server.post("/api/check", {"yaml": "layers: []\naggregatr: {model: lab/one}\n"})
        _, broken = await server.post("/api/check", {"yaml": "layers: [\n"})
        _, forbidden = await server.post(
            "/api/check", {"yaml": "layers: []\naggregator: {model: lab/one}\nprompt: x.j2"}
        )
        _, no_mapping = await server.post("/api/check", {"yaml": "- 1"})

    assert good["ok"] is True
    assert good["mixture"]["aggregator"]["model"] == "lab/one"
    assert (bad["error"]["line"], bad["error"]["key"]) == (2, "aggregatr")
    assert "did you mean 'aggregator'" in bad["error"]["message"]
    assert broken["error"]["line"] is not None
    assert "default or numbered" in forbidden["error"]["message"]
    assert "error" in no_mapping


async def test_a_mixture_becomes_a_file_that_is_the_same_mixture() -> None:
    async with served() as server:
        _, reply = await server.post("/api/yaml", {"mixture": DUO.as_dict()})
        _, checked = await server.post("/api/check", {"yaml": reply["yaml"]})

    assert load(checked["mixture"]["mixture"]) == DUO


async def test_where_requests_may_name_any_model_the_page_is_offered_what_endpoints_list() -> None:
    async def models(request: web.Request) -> web.Response:
        assert request.headers["authorization"] == "Bearer secret"
        return web.json_response({"data": [{"id": "served"}, {"id": "b"}, {"id": "a"}, {"broken": 1}]})

    app = web.Application()
    app.router.add_get("/v1/models", models)
    async with TestServer(app) as listing:
        endpoint = Endpoint(
            name="paid", kind="openai", base_url=str(listing.make_url("/v1")), api_key=SecretStr("secret")
        )
        nowhere = Endpoint(name="gone", kind="openai", base_url="http://127.0.0.1:9/v1")
        keyless = Endpoint(name="keyless", kind="openai", base_url=str(listing.make_url("/v1")))
        settings = Settings(
            endpoints={each.name: each for each in (endpoint, nowhere, keyless)}, key_variables={"keyless": "KEY"}
        )
        found = await listed_references(settings)

    assert found == ["paid/a", "paid/b", "paid/served"]


async def test_models_to_compare_with_are_served_alone_and_with_keys_no_others_are_offered() -> None:
    keys = ApiKeys([KeySettings(name="alice", sha256=hash_key("moa-alice"))])
    named = {"authorization": "Bearer moa-alice"}
    async with served(SOLO, compare_with=("lab/paid-for",), keys=keys, key="moa-alice") as server:
        async with server.http.get(f"{server.url}/api/models", headers=named) as response:
            offered = await response.json()
        server.upstream.behave("paid-for", Text("dear"))
        reply = await server.openai.chat.completions.create(model="lab/paid-for", messages=HELLO)

    assert offered == {"served": ["lab/paid-for", "lab/writer"], "others": []}
    assert reply.choices[0].message.content == "dear"
