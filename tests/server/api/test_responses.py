"""The Responses API, asked with OpenAI's own client."""

from typing import Any

import pytest

from moa._mixture.loading import load
from tests.server.api.test_chat_completions import CALL, MIXED, City
from tests.support.model_server import Hang, Text
from tests.support.served import served

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {}},
    "strict": False,
}


async def test_an_answer_comes_as_a_whole_response() -> None:
    async with served() as server:
        reply = await server.openai.responses.create(
            model="moa/duo", input="Say hello", instructions="Be brief", metadata={"ticket": "7"}, max_output_tokens=9
        )

    assert (reply.output_text, reply.status, reply.metadata) == ("This is writer", "completed", {"ticket": "7"})
    assert reply.usage is not None
    assert reply.usage.total_tokens == server.upstream.bill.input_tokens + server.upstream.bill.output_tokens
    sent = {request.model: request.body for request in server.upstream.requests}
    assert sent["writer"]["max_tokens"] == 9
    assert sent["one"]["messages"][0] == {"role": "system", "content": "Be brief"}


async def test_a_stream_tells_items_parts_and_pieces_in_order() -> None:
    async with served() as server:
        stream = await server.openai.responses.create(model="moa/solo", input="Hi", stream=True)
        events = [event async for event in stream]

    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 3,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    last: Any = events[-1]
    assert last.response.output_text == "This is writer"
    assert last.response.moa["status"] == "complete"


async def test_the_clients_own_reading_of_a_stream_gives_the_same_response() -> None:
    async with served() as server:
        asked: Any = {"model": "moa/duo", "input": "Hi", "extra_body": {"moa": {"proposals": "reasoning"}}}
        async with server.openai.responses.stream(**asked) as events:
            kinds = [event.type async for event in events]
            reply = await events.get_final_response()

    assert kinds.index("response.reasoning_summary_text.delta") < kinds.index("response.output_text.delta")
    assert [item.type for item in reply.output] == ["reasoning", "message"]
    thoughts: Any = reply.output[0]
    assert "This is one" in thoughts.summary[0].text
    assert reply.output_text == "This is writer"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_call_survives(stream: bool) -> None:
    async with served() as server:
        server.upstream.behave("writer", Text("", tool_calls=(CALL,), finish="tool_calls"))
        asked: Any = {"model": "moa/solo", "input": "Hi", "tools": [WEATHER], "tool_choice": "required"}
        if stream:
            async with server.openai.responses.stream(**asked) as events:
                reply: Any = await events.get_final_response()
        else:
            reply = await server.openai.responses.create(**asked)

    [call] = reply.output
    assert (call.type, call.call_id, call.name, call.arguments) == (
        "function_call",
        "call_7",
        "weather",
        '{"city":"Rome"}',
    )
    assert server.upstream.requests[0].body["tools"][0]["function"]["name"] == "weather"


async def test_tool_calls_whose_pieces_come_in_turns_are_items_one_after_another() -> None:
    async with served() as server:
        server.upstream.behave("writer", Text("", tool_calls=MIXED, finish="tool_calls"))
        async with server.openai.responses.stream(model="moa/solo", input="Hi", tools=[WEATHER]) as events:
            reply: Any = await events.get_final_response()

    calls = [item for item in reply.output if item.type == "function_call"]
    assert [(call.call_id, call.name, call.arguments) for call in calls] == [
        ("call_a", "weather", '{"city":"Rome"}'),
        ("call_b", "weather", '{"city":"Oslo"}'),
    ]


async def test_a_json_schema_is_honoured() -> None:
    async with served() as server:
        server.upstream.behave("writer", Text('{"name": "Rome", "people": 3}'))
        reply = await server.openai.responses.parse(model="moa/solo", input="Hi", text_format=City)

    assert reply.output_parsed == City(name="Rome", people=3)
    assert server.upstream.requests[0].body["response_format"]["json_schema"]["name"] == "City"


async def test_a_failure_in_a_stream_is_a_failed_response() -> None:
    hasty = load({"name": "solo", "layers": [], "aggregator": {"model": "lab/writer", "idle_timeout_s": 0.1}})
    async with served(hasty) as server:
        server.upstream.behave("writer", Hang(after=("one ",)))
        stream = await server.openai.responses.create(model="moa/solo", input="Hi", stream=True)
        events: Any = [event async for event in stream]

    assert events[-1].type == "response.failed"
    assert events[-1].response.error.code == "server_error"
    assert events[-1].response.moa["code"] == "answer_interrupted"


async def test_an_answer_that_was_cut_off_is_incomplete() -> None:
    async with served() as server:
        server.upstream.behave("writer", Text("This is", finish="length"))
        reply = await server.openai.responses.create(model="moa/solo", input="Hi")

    assert reply.status == "incomplete"
    assert reply.incomplete_details is not None
    assert reply.incomplete_details.reason == "max_output_tokens"
