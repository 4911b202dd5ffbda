"""The newest helpers of the official SDKs: parsing into types, thinking, streams, and runners of tools."""

from typing import Any

import pytest
from anthropic import beta_async_tool
from pydantic import BaseModel

from tests.support.model_server import Text
from tests.support.served import HELLO, served

CALL = {"index": 0, "id": "call_7", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}


class Weather(BaseModel):
    """What is parsed."""

    city: str
    degrees: int


WEATHER = Text('{"city": "Rome", "degrees": 21}', reasoning="hm")
EXPECTED = Weather(city="Rome", degrees=21)


async def test_openais_parse_gives_a_typed_answer_in_both_apis_and_in_streams() -> None:
    async with served() as server:
        server.upstream.behave("writer", WEATHER)
        chat = await server.openai.chat.completions.parse(model="moa/solo", messages=HELLO, response_format=Weather)
        async with server.openai.chat.completions.stream(
            model="moa/solo", messages=HELLO, response_format=Weather
        ) as events:
            streamed = await events.get_final_completion()
        response = await server.openai.responses.parse(model="moa/solo", input="Hi", text_format=Weather)
        sent = server.upstream.requests[-1].body["response_format"]["json_schema"]

    assert chat.choices[0].message.parsed == streamed.choices[0].message.parsed == response.output_parsed == EXPECTED
    assert (sent["name"], sent["strict"]) == ("Weather", True)


async def test_anthropics_parse_gives_a_typed_answer() -> None:
    async with served() as server:
        server.upstream.behave("writer", WEATHER)
        message = await server.anthropic.messages.parse(
            model="moa/solo", max_tokens=99, messages=HELLO, output_format=Weather
        )
        sent = server.upstream.requests[-1].body["response_format"]["json_schema"]["schema"]

    assert message.parsed_output == EXPECTED
    assert sent["properties"].keys() == {"city", "degrees"}


@pytest.mark.parametrize("thinking", [{"type": "adaptive"}, {"type": "enabled", "budget_tokens": 1024}])
async def test_thoughts_come_as_blocks_and_go_back_unread(thinking: Any) -> None:
    asked: Any = {"model": "moa/solo", "max_tokens": 2048, "thinking": thinking}
    async with served() as server:
        server.upstream.behave("writer", Text("It is", reasoning="I wonder"))
        async with server.anthropic.messages.stream(**asked, messages=HELLO) as events:
            message = await events.get_final_message()
        again: Any = [*HELLO, {"role": "assistant", "content": message.content}, {"role": "user", "content": "Why?"}]
        await server.anthropic.messages.create(**asked, messages=again)
        sent = server.upstream.requests[-1].body["messages"]

    assert [block.type for block in message.content] == ["thinking", "text"]
    assert sent[1] == {"role": "assistant", "content": "It is"}


async def test_a_runner_streams_through_a_tool_and_may_change_its_tools() -> None:
    @beta_async_tool
    async def weather(city: str) -> str:
        """Tell the weather.

        Args:
            city: Where.
        """
        return f"Sunny in {city}"

    def answers(body: Any, number: int) -> Text:
        last = body["messages"][-1]
        return Text(f"It says: {last['content']}") if last["role"] == "tool" else Text("", tool_calls=(CALL,))

    async with served() as server:
        server.upstream.behave("writer", answers)
        runner = server.anthropic.beta.messages.tool_runner(
            model="moa/solo", max_tokens=99, tools=[weather], messages=HELLO, stream=True
        )
        texts = []
        async for stream in runner:
            texts += [event.text async for event in stream if event.type == "text"]

    assert "".join(texts) == "It says: Sunny in Rome"
