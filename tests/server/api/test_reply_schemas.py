"""Replies against the published schemas, by the SDKs' own models in strict mode: typed clients take nothing less."""

import json
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.beta import BetaMessage
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.support.behaviours import completion
from tests.support.model_server import Raw, Text
from tests.support.served import HELLO, ServedModel, served

CALL = {"index": 0, "id": "call_7", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
CHAT_TOOL = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
RESPONSES_TOOL = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": None}
MESSAGES_TOOL = {"name": "weather", "input_schema": SCHEMA}
REPLIES = {
    "text": Text("It is", reasoning="hm"),
    "call": Text("I look", tool_calls=(CALL,), finish="tool_calls"),
    "cut": Text("It", finish="length"),
    "refused": Text("No", finish="content_filter"),
}
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"messages": HELLO, "tools": [CHAT_TOOL], "logprobs": True}),
    "responses": ("/v1/responses", {"input": "Hi", "tools": [RESPONSES_TOOL], "metadata": {"a": "b"}}),
    "messages": ("/v1/messages", {"messages": HELLO, "max_tokens": 9, "tools": [MESSAGES_TOOL]}),
}
WHOLE: dict[str, list[Any]] = {"chat": [ChatCompletion], "responses": [Response], "messages": [Message, BetaMessage]}
EVENTS: dict[str, Any] = {
    "chat": ChatCompletionChunk,
    "responses": ResponseStreamEvent,
    "messages": RawMessageStreamEvent,
}
REQUIRED = {
    "chat": "id object created model choices usage",
    "responses": (
        "id object created_at completed_at status incomplete_details model previous_response_id instructions output "
        "error tools tool_choice truncation parallel_tool_calls text top_p presence_penalty frequency_penalty "
        "top_logprobs temperature reasoning usage max_output_tokens max_tool_calls store background service_tier "
        "metadata safety_identifier prompt_cache_key"
    ),
    "messages": "id type role model content stop_reason stop_sequence stop_details container usage",
}
"""What the schemas require at the top of a reply: OpenAI's and Anthropic's OpenAPI files, and Open Responses'."""

USAGE = {
    "chat": "prompt_tokens completion_tokens total_tokens",
    "responses": "input_tokens input_tokens_details output_tokens output_tokens_details total_tokens",
    "messages": (
        "cache_creation cache_creation_input_tokens cache_read_input_tokens inference_geo input_tokens output_tokens "
        "server_tool_use service_tier"
    ),
}


async def _whole(server: ServedModel, api: str) -> dict[str, Any]:
    path, fields = ASKED[api]
    status, body = await server.post(path, {"model": "moa/solo", **fields})
    assert status == 200
    return body


@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize("api", ASKED)
async def test_a_whole_reply_is_one_of_the_published_schema(api: str, reply: str) -> None:
    async with served() as server:
        server.upstream.behave("writer", REPLIES[reply])
        body = await _whole(server, api)

    for model in WHOLE[api]:
        # Not by `validate_json`, which would read numbers out of texts.
        TypeAdapter(model).validate_python(body, strict=True)
    assert set(REQUIRED[api].split()) <= body.keys()
    assert set(USAGE[api].split()) <= body["usage"].keys()
    if api == "messages" and reply == "refused":
        assert body["stop_details"] == {"type": "refusal", "category": None, "explanation": None}


@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize("api", ASKED)
async def test_every_event_of_a_stream_is_one_of_the_published_schema(api: str, reply: str) -> None:
    path, fields = ASKED[api]
    async with served() as server:
        server.upstream.behave("writer", REPLIES[reply])
        async with server.http.post(f"{server.url}{path}", json={"model": "moa/solo", **fields, "stream": True}) as got:
            lines = (await got.text()).splitlines()

    events = [json.loads(line[6:]) for line in lines if line.startswith("data: ") and line != "data: [DONE]"]
    adapter: TypeAdapter[Any] = TypeAdapter(EVENTS[api])
    for event in events:
        if event.get("type") != "ping":
            adapter.validate_python(event, strict=True)
    ended = {"chat": {}, "responses": events[-1].get("response", {}), "messages": events[0].get("message", {})}[api]
    assert set(REQUIRED[api].split()) <= ended.keys() or api == "chat"


async def test_a_messages_streams_first_input_tokens_are_an_estimate_and_its_last_the_truth() -> None:
    path, fields = ASKED["messages"]
    async with served() as server:
        server.upstream.behave("writer", Text("It is", usage=(70, 3)))
        async with server.http.post(f"{server.url}{path}", json={"model": "moa/solo", **fields, "stream": True}) as got:
            lines = (await got.text()).splitlines()

    events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    [start] = [event for event in events if event["type"] == "message_start"]
    [end] = [event for event in events if event["type"] == "message_delta"]
    assert 10 < start["message"]["usage"]["input_tokens"] < 70
    assert end["usage"]["input_tokens"] == 70


async def test_cache_writes_are_counted_and_split_by_the_time_for_which_they_are_kept() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 2,
        "total_tokens": 102,
        "cache_creation_input_tokens": 60,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 40},
    }
    reply = json.loads(completion(Text("It is", usage=(100, 2)), {"model": "writer"})) | {"usage": usage}
    async with served() as server:
        server.upstream.behave("writer", Raw(json.dumps(reply).encode(), "application/json"))
        body, chat = await _whole(server, "messages"), await _whole(server, "chat")

    assert chat["usage"]["prompt_tokens_details"] == {"cached_tokens": 0, "cache_write_tokens": 60}
    assert body["usage"]["input_tokens"] == 40
    assert body["usage"]["cache_creation_input_tokens"] == 60
    assert body["usage"]["cache_creation"] == {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 40}
