"""What services say of their models' end, in the shapes that their APIs define."""

import asyncio
import json
from datetime import date
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from anthropic.types import ModelInfo
from botocore.parsers import RestJSONParser
from genai_prices import Usage, calc_price
from openai.types import Model as OpenAiModel
from pydantic import SecretStr

from moa._config.settings import load_settings
from moa._messages import Message
from moa._runtime.model_lists import lifecycle_notes, model_lists
from moa.errors import ConnectionFailed, ModelNotFound
from moa.providers._base import ModelRequest
from moa.providers._bedrock.error_mapping import from_response
from moa.providers._endpoint import Endpoint
from moa.providers._model_lists import ListedModel, _from_bedrock, _from_openai, list_models
from moa.providers._reply_context import ReplyContext
from moa.providers._successors import _SUCCESSORS, successor

TODAY = date(2026, 11, 26)
LEGACY = {"status": "LEGACY", "legacyTime": "2026-06-01T00:00:00Z", "endOfLifeTime": "2027-01-15T00:00:00Z"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def test_the_keys_read_from_bedrock_are_those_of_its_service_model() -> None:
    operation = botocore.session.get_session().get_service_model("bedrock").operation_model("ListFoundationModels")
    summary = operation.output_shape.members["modelSummaries"].member
    assert {"modelId", "modelLifecycle"} <= set(summary.members)
    assert set(LEGACY) <= set(summary.members["modelLifecycle"].members)
    body = {"modelSummaries": [{"modelArn": "a", "modelId": "amazon.nova-lite-v1:0", "modelLifecycle": LEGACY}]}
    raw = {"body": json.dumps(body).encode(), "headers": {}, "status_code": 200}
    parsed = RestJSONParser().parse(raw, operation.output_shape)["modelSummaries"][0]["modelLifecycle"]

    (listed,) = _from_bedrock(body)

    assert listed.ends_on == parsed["endOfLifeTime"].date()
    assert listed.note(TODAY) == "retires in 50 days (2027-01-15)"


@pytest.mark.parametrize(
    ("row", "note"),
    [
        ({"shutdown_date": "2027-01-15"}, "retires in 50 days (2027-01-15)"),
        ({"lifecycle": "retired", "retires_at": "2026-04-01T00:00:00Z"}, "retired since 2026-04-01"),
        ({"deprecation": "2026-11-27", "deprecation_replacement_model": "b"}, "retires in 1 day (2026-11-27); use b"),
        ({"active": False}, "retired"),
        ({"lifecycle": "deprecated"}, "legacy: closed to new users, or to be retired"),
        ({"shutdown_date": "2028-01-01"}, None),
        ({"shutdown_date": "some day"}, None),
        ({"shutdown_date": 1e30}, None),
        ({"shutdown_date": True}, None),
        ({}, None),
    ],
)
def test_each_way_of_saying_it_is_read(row: dict[str, Any], note: str | None) -> None:
    (listed,) = _from_openai({"data": [{"id": "a", **row}, {"id": 7}, None]})
    assert listed.note(TODAY) == note


def test_lists_in_the_types_of_the_openai_and_anthropic_sdks_are_read() -> None:
    openai = OpenAiModel(id="gpt-4o", created=1, object="model", owned_by="openai", shutdown_date="2027-01-15")
    claude = ModelInfo.model_validate(
        {
            "id": "claude-3-haiku-20240307",
            "created_at": "2024-03-07T00:00:00Z",
            "display_name": "Claude 3 Haiku",
            "lifecycle": "retired",
            "retires_at": "2026-04-01T00:00:00Z",
            "max_input_tokens": 200_000,
            "type": "model",
        }
    )

    first, second = _from_openai({"data": [one.model_dump(mode="json") for one in (openai, claude)]})

    assert (first.note(TODAY), first.status) == ("retires in 50 days (2027-01-15)", "active")
    assert (second.note(TODAY), second.context_window) == ("retired since 2026-04-01", 200_000)


@pytest.mark.parametrize(
    "message",
    [
        # griptape-ai/griptape-nodes-engine #4498, langchain-ai/langchain-aws #1245
        "This model version has reached the end of its life. Please refer to the AWS documentation for more details.",
        # awslabs/llmeter #35
        "Access denied. This Model is marked by provider as Legacy and you have not been actively using the model in "
        "the last 15 days. Please upgrade to an active model on Amazon Bedrock",
    ],
)
def test_what_bedrock_says_of_a_model_that_is_gone_names_a_later_one(message: str) -> None:
    request = ModelRequest(
        reference="bedrock/us.anthropic.claude-3-5-sonnet-20241022-v2:0",
        model="us.anthropic.claude-3-5-sonnet-20241022-v2:0",
        messages=(Message(role="user", content="Hello"),),
    )
    headers, body = {"x-amzn-errortype": "ResourceNotFoundException"}, json.dumps({"message": message}).encode()
    error = from_response(404, headers, body, ReplyContext(request.reference, request))

    assert isinstance(error, ModelNotFound)
    assert "a later model is us.anthropic.claude-sonnet-5-5" in str(error)
    assert not error.rejects


def test_every_successor_is_priced() -> None:
    makers = {"claude": "anthropic", "gpt": "openai", "nova": "us.amazon.", "mistral": "mistral.", "llama4": "us.meta."}
    for _, name in _SUCCESSORS:
        maker = makers[name.split("-")[0]]
        model, provider = (f"{maker}{name}", "aws") if maker.endswith(".") else (name, maker)
        assert calc_price(Usage(input_tokens=1, output_tokens=1), model, provider_id=provider).total_price > 0


@pytest.mark.parametrize(
    ("model", "instead"),
    [
        ("gpt-4o-2024-08-06", "gpt-6.1-sol"),
        ("o3-2025-04-16", "gpt-6.1-sol"),
        ("gpt-5.1-codex-mini", "gpt-6.1-terra"),
        ("anthropic.claude-3-haiku-20240307-v1:0", "us.anthropic.claude-haiku-5-5"),
        ("jp.anthropic.claude-sonnet-4-20250514-v1:0", "jp.anthropic.claude-sonnet-5-5"),
        ("openai.gpt-oss-120b-1:0", None),
        ("claude-haiku-5-5", None),
        ("us.meta.llama3-2-3b-instruct-v1:0", "us.meta.llama4-scout-17b-instruct-v1:0"),
        ("mistral.mixtral-8x7b-instruct-v0:1", "mistral.mistral-large-3-675b-instruct"),
        ("amazon.nova-lite-v1:0:300k", "us.amazon.nova-2-lite-v1:0"),
        ("anthropic.claude-v2:1", "us.anthropic.claude-opus-5-5"),
        ("gpt-4-1106-preview", "gpt-6.1-sol"),
        ("gpt-4.1-nano-2025-04-14", "gpt-6-luna"),
        ("gpt-6.1-sol", None),
        ("anthropic/claude-3-haiku:beta", "anthropic/claude-haiku-5-5"),
        # Forks, and models that services host themselves: nobody but them says when these end.
        ("someone/llama-3.2-3b-instruct-myfork", None),
        ("someone/mistral-7b-instruct-v0.2", None),
        ("mistralai/Mixtral-8x22B-Instruct-v0.1", None),
        ("llama3.2", None),
        ("gpt-4-myfork", None),
        ("ft:gpt-4o-mini-2024-07-18:acme::9abc", None),
        ("claude-3-haiku-distilled-7b", None),
        ("o3de-coder", None),
    ],
)
def test_a_successor_is_named_as_its_service_would(model: str, instead: str | None) -> None:
    assert successor(model) == instead


@pytest.mark.parametrize(("served", "ending"), [(True, "; gpt-6.1-sol is served today"), (False, "")])
def test_a_successor_is_named_only_where_the_endpoint_lists_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, served: bool, ending: str
) -> None:
    calls = []

    async def listed(endpoint: Any) -> tuple[ListedModel, ...]:
        calls.append(endpoint.name)
        old = ListedModel(id="gpt-4o", ends_on=date(2027, 1, 15))
        return (old, ListedModel(id="gpt-6.1-sol")) if served else (old,)

    monkeypatch.setattr("moa._runtime.model_lists.list_models", listed)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    settings = load_settings(None)

    for _ in range(2):
        (note,) = asyncio.run(lifecycle_notes(["openai/gpt-4o"], settings, today=TODAY))
        assert note == f"openai/gpt-4o: retires in 50 days (2027-01-15){ending}"
    assert calls == ["openai"], "remembered for a day"

    asyncio.run(model_lists(settings, ["openai"], now=lambda: 4e9))
    assert calls == ["openai", "openai"]


async def test_a_key_that_a_service_lists_is_not_kept() -> None:
    key = "sk-planted-0123456789"

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "small"}, {"id": request.headers["authorization"]}]})

    app = web.Application()
    app.router.add_get("/v1/models", models)
    async with TestServer(app) as server:
        endpoint = Endpoint(name="lab", kind="openai", base_url=str(server.make_url("/v1")), api_key=SecretStr(key))
        listed = await list_models(endpoint)

    assert [one.id for one in listed] == ["small", "Bearer ***"]


async def test_a_list_is_asked_for_as_the_models_are() -> None:
    asked: list[tuple[str, str | None]] = []

    async def models(request: web.Request) -> web.Response:
        asked.append((request.path_qs, request.headers.get("x-team")))
        return web.json_response({"data": [{"id": "small"}]})

    app = web.Application()
    app.router.add_get("/openai/models", models)
    async with TestServer(app) as server:
        endpoint = Endpoint(
            name="lab",
            kind="openai",
            base_url=str(server.make_url("/openai/chat/completions")),
            query={"api-version": "2026-01-01"},
            headers={"x-team": "a"},
        )
        (model,) = await list_models(endpoint)

    assert model.id == "small"
    assert asked == [("/openai/models?api-version=2026-01-01", "a")]


async def test_a_list_is_asked_for_through_the_endpoints_proxy() -> None:
    endpoint = Endpoint(name="lab", kind="openai", base_url="http://models.test/v1", proxy="http://127.0.0.1:9")

    with pytest.raises(ConnectionFailed, match="connection refused"):
        await list_models(endpoint)
