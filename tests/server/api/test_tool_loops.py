"""Tool loops of real clients through the server: proposers are asked once, and every request begins with the last."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.model_server import Text
from tests.support.served import ServedModel, served

STEPS = 4
SCHEMA: Any = {"type": "object", "properties": {"city": {"type": "string"}}}


async def _chat_completions(server: ServedModel) -> None:
    tool: Any = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
    messages: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Warm where?"}]
    for _ in range(STEPS):
        reply = await server.openai.chat.completions.create(model="moa/duo", messages=messages, tools=[tool])
        message = reply.choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        messages += [{"role": "tool", "tool_call_id": call.id, "content": "20 C"} for call in message.tool_calls or ()]


async def _messages(server: ServedModel) -> None:
    tool: Any = {"name": "weather", "input_schema": SCHEMA}
    messages: list[Any] = [{"role": "user", "content": "Warm where?"}]
    for _ in range(STEPS):
        asked = {"model": "moa/duo", "max_tokens": 50, "system": "Be brief.", "messages": messages, "tools": [tool]}
        async with server.anthropic.messages.stream(**asked) as events:
            reply = await events.get_final_message()
        messages.append({"role": "assistant", "content": [block.model_dump() for block in reply.content]})
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": "20 C"}
            for block in reply.content
            if block.type == "tool_use"
        ]
        reminder = {"type": "text", "text": "<system-reminder>The list of tasks is empty.</system-reminder>"}
        messages.append({"role": "user", "content": [*results, reminder]})


async def _responses(server: ServedModel) -> None:
    tool: Any = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}
    items: list[Any] = [{"role": "user", "content": "Warm where?"}]
    for _ in range(STEPS):
        reply = await server.openai.responses.create(
            model="moa/duo", instructions="Be brief.", input=items, tools=[tool], store=False
        )
        calls = [item for item in reply.output if item.type == "function_call"]
        items += [
            {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments}
            for call in calls
        ]
        items += [{"type": "function_call_output", "call_id": call.call_id, "output": "20 C"} for call in calls]


@pytest.mark.parametrize("client", [_chat_completions, _messages, _responses], ids=lambda client: client.__name__[1:])
async def test_a_clients_tool_loop_asks_proposers_once_and_every_request_begins_with_the_one_before(
    client: Callable[[ServedModel], Awaitable[None]],
) -> None:
    async with served() as server:
        server.upstream.behave(
            "writer",
            lambda body, number: Text("", tool_calls=(_call(number),), finish="tool_calls"),
        )
        await client(server)
        requests = server.upstream.requests

    assert sorted(request.model for request in requests) == ["one", "two", *["writer"] * STEPS]
    earlier: list[str] = []
    for request in requests:
        if request.model == "writer":
            sent = [json.dumps(message) for message in request.body["messages"]]
            assert sent[: len(earlier)] == earlier
            earlier = sent
    assert "Responses from models:" in earlier[2]


def _call(number: int) -> dict[str, Any]:
    return {"id": f"call_{number}", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
