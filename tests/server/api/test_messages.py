"""The Messages API, asked with Anthropic's own client."""

from typing import Any

import anthropic
import pytest

from moa._mixture.loading import load
from moa._server.api.messages_request import read_messages_request
from tests.server.api.test_chat_completions import CALL, MIXED
from tests.support.model_server import Hang, Text
from tests.support.served import HELLO, served

WEATHER: Any = {"name": "weather", "description": "Tells it", "input_schema": {"type": "object", "properties": {}}}
ASKED: Any = {"model": "moa/duo", "max_tokens": 99, "messages": HELLO}


async def test_an_answer_comes_as_a_whole_message() -> None:
    async with served() as server:
        reply = await server.anthropic.messages.create(
            **ASKED, system="Be brief", stop_sequences=["END"], metadata={"user_id": "u1"}, extra_body={"top_k": 5}
        )

    assert [block.type for block in reply.content] == ["text"]
    assert (reply.content[0].text, reply.stop_reason) == ("This is writer", "end_turn")
    bill = server.upstream.bill
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (bill.input_tokens, bill.output_tokens)
    sent = {request.model: request.body for request in server.upstream.requests}["writer"]
    assert (sent["max_tokens"], sent["stop"], sent["top_k"], sent["user"]) == (99, ["END"], 5, "u1")


async def test_a_stream_is_read_by_the_client_with_proposals_as_thinking() -> None:
    async with served() as server:
        extra = {"moa": {"proposals": "reasoning"}}
        async with server.anthropic.messages.stream(**ASKED, extra_body=extra) as events:
            kinds = [event.type async for event in events]
            reply: Any = await events.get_final_message()

    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert [block.type for block in reply.content] == ["thinking", "text"]
    assert "This is one" in reply.content[0].thinking
    assert (reply.content[1].text, reply.stop_reason) == ("This is writer", "end_turn")
    assert reply.usage.output_tokens == server.upstream.bill.output_tokens


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_call_survives(stream: bool) -> None:
    async with served() as server:
        server.upstream.behave("writer", Text("I look", tool_calls=(CALL,), finish="tool_calls"))
        asked = {**ASKED, "tools": [WEATHER], "tool_choice": {"type": "any"}}
        if stream:
            async with server.anthropic.messages.stream(**asked) as events:
                reply: Any = await events.get_final_message()
        else:
            reply = await server.anthropic.messages.create(**asked)

    text, call = reply.content
    assert (text.text, reply.stop_reason) == ("I look", "tool_use")
    assert (call.id, call.name, call.input) == ("call_7", "weather", {"city": "Rome"})
    sent = {request.model: request.body for request in server.upstream.requests}["writer"]
    assert sent["tool_choice"] == "required"
    assert sent["tools"][0]["function"]["parameters"] == WEATHER["input_schema"]


async def test_tool_calls_whose_pieces_come_in_turns_are_blocks_one_after_another() -> None:
    async with served() as server:
        server.upstream.behave("writer", Text("I look", tool_calls=MIXED, finish="tool_calls"))
        async with server.anthropic.messages.stream(**ASKED, tools=[WEATHER]) as events:
            reply: Any = await events.get_final_message()

    assert [(block.id, block.name, block.input) for block in reply.content[1:]] == [
        ("call_a", "weather", {"city": "Rome"}),
        ("call_b", "weather", {"city": "Oslo"}),
    ]


async def test_an_unknown_model_is_not_found_in_the_apis_own_shape() -> None:
    async with served() as server:
        with pytest.raises(anthropic.NotFoundError) as caught:
            await server.anthropic.messages.create(**{**ASKED, "model": "moa/none"})

    body: Any = caught.value.body
    assert (body["type"], body["error"]["type"]) == ("error", "not_found_error")


async def test_a_failure_in_a_stream_is_an_error_event() -> None:
    hasty = load({"name": "duo", "layers": [], "aggregator": {"model": "lab/writer", "idle_timeout_s": 0.1}})
    async with served(hasty) as server:
        server.upstream.behave("writer", Hang(after=("one ",)))
        stream = await server.anthropic.messages.create(**ASKED, stream=True)
        with pytest.raises(anthropic.APIStatusError, match="broke off"):
            [event async for event in stream]


async def test_the_tokens_of_a_prompt_are_estimated_without_asking_any_model() -> None:
    async with served() as server:
        brief = await server.anthropic.messages.count_tokens(model="moa/duo", messages=HELLO)
        full = await server.anthropic.messages.count_tokens(
            model="moa/duo", messages=HELLO, system="Be brief. " * 40, tools=[WEATHER], tool_choice={"type": "any"}
        )
        with pytest.raises(anthropic.NotFoundError):
            await server.anthropic.messages.count_tokens(model="moa/none", messages=HELLO)

    assert 1 < brief.input_tokens < 10
    assert full.input_tokens > brief.input_tokens + 100
    assert server.upstream.requests == []


async def test_max_tokens_0_which_asks_to_cache_a_prompt_is_answered_at_once_by_an_empty_message() -> None:
    """Agents call it before a user's first turn; a gateway that refused it failed at their start."""
    async with served() as server:
        reply = await server.anthropic.messages.create(**{**ASKED, "max_tokens": 0})
        with pytest.raises(anthropic.NotFoundError):
            await server.anthropic.messages.create(**{**ASKED, "max_tokens": 0, "model": "moa/none"})
        with pytest.raises(anthropic.BadRequestError, match="stream"):
            await server.anthropic.messages.create(**{**ASKED, "max_tokens": 0}, stream=True)

    assert (reply.content, reply.stop_reason, reply.usage.output_tokens) == ([], "max_tokens", 0)
    assert server.upstream.requests == []


async def test_a_text_has_a_list_of_citations_which_is_empty() -> None:
    """The SDK's type requires the field, and Vercel's client takes no null for a list: it read no whole answer."""
    async with served() as server:
        _, whole = await server.post("/v1/messages", ASKED)
        async with server.http.post(f"{server.url}/v1/messages", json={**ASKED, "stream": True}) as response:
            streamed = await response.text()

    assert whole["content"] == [{"type": "text", "text": "This is writer", "citations": []}]
    assert '"content_block":{"type":"text","text":"","citations":[]}' in streamed


@pytest.mark.parametrize("stream", [False, True])
async def test_the_stop_sequence_that_ended_an_answer_is_told(stream: bool) -> None:
    """Where the service tells it, as vLLM's does by `stop_reason`: clients could not tell it from an ordinary end."""
    async with served() as server:
        for told, reason, found in (
            ("END", "stop_sequence", "END"),
            (None, "end_turn", None),
            (128_009, "end_turn", None),
        ):
            server.upstream.behave("writer", Text("One", stop_reason=told))
            if stream:
                async with server.anthropic.messages.stream(**ASKED, stop_sequences=["STOP", "END"]) as events:
                    reply: Any = await events.get_final_message()
            else:
                reply = await server.anthropic.messages.create(**ASKED, stop_sequences=["STOP", "END"])

            assert (reply.stop_reason, reply.stop_sequence) == (reason, found)


async def test_a_conversation_without_messages_is_refused_in_one_sentence() -> None:
    async with served() as server:
        with pytest.raises(anthropic.BadRequestError) as caught:
            await server.anthropic.messages.create(**{**ASKED, "messages": []})

    body: Any = caught.value.body
    assert body["error"]["message"] == "messages: expected a list that is not empty, got a list of 0"


async def test_anthropics_client_lists_models_in_its_own_shape_and_openais_in_its_own() -> None:
    async with served() as server:
        listed = [model async for model in server.anthropic.models.list()]
        one = await server.anthropic.models.retrieve("moa/duo")
        others = [model.id async for model in server.openai.models.list()]
        with pytest.raises(anthropic.NotFoundError) as caught:
            await server.anthropic.models.retrieve("moa/dou")

    assert [model.id for model in listed] == others
    assert (one.type, one.display_name, one.lifecycle) == ("model", "Two propose, one writes", "active")
    assert caught.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]


async def test_a_clients_cache_marks_are_carried_to_where_they_stood() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    body: Any = {
        "model": "moa/solo",
        "max_tokens": 50,
        "system": [{"type": "text", "text": "Be brief.", **mark}, {"type": "text", "text": "Be kind.", **mark}],
        "tools": [WEATHER | {"cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "A book", **mark}, {"type": "text", "text": "Well?"}],
            },
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": {}, **mark}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "20 C", **mark}]},
        ],
    }

    request = read_messages_request(body)

    assert [(message.role, message.content, message.cache_points) for message in request.messages] == [
        ("system", "Be brief.\n\nBe kind.", (9, 19)),
        ("user", "A book\nWell?", (6,)),
        ("assistant", "", (0,)),
        ("tool", "20 C", (4,)),
    ]
    assert {message.cache_ttl for message in request.messages} == {None}
    assert [tool["cache_control"] for tool in request.options.tools] == [{"type": "ephemeral", "ttl": "1h"}]


def _calling_the_first_tool(body: dict[str, Any], _: int) -> Text:
    function = {"name": body["tools"][0]["function"]["name"], "arguments": "{}"}
    return Text("", tool_calls=({"id": "c1", "function": function},), finish="tool_calls")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tools_name_of_more_than_64_characters_is_shortened_for_services_and_whole_for_the_client(
    stream: bool,
) -> None:
    """The API takes 128, and coding agents name MCP tools so; OpenAI's and Bedrock's models take 64."""
    name = "mcp__" + "database_" * 8
    asked: Any = {**ASKED, "tools": [{**WEATHER, "name": name}], "tool_choice": {"type": "tool", "name": name}}
    async with served() as server:
        server.upstream.behave("writer", _calling_the_first_tool)
        if stream:
            async with server.anthropic.messages.stream(**asked) as events:
                reply: Any = await events.get_final_message()
        else:
            reply = await server.anthropic.messages.create(**asked)
        call = reply.content[-1]
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
        turns = [*HELLO, {"role": "assistant", "content": [call.to_dict()]}, {"role": "user", "content": [result]}]
        await server.anthropic.messages.create(**{**asked, "messages": turns})

    sent = server.upstream.requests[-1].body
    short = sent["tools"][0]["function"]["name"]
    assert (call.name, len(short)) == (name, 64)
    assert sent["tool_choice"]["function"]["name"] == short
    assert [each["function"]["name"] for turn in sent["messages"] for each in turn.get("tool_calls") or ()] == [short]
