"""What a service wants back with its message goes through each API's client, unread, and to that service alone."""

import json
from typing import Any

import pytest

from moa._messages import MOST_STATE_BYTES, Message, ServiceState
from moa._server.api.carried_state import unpacked_states, with_state
from moa._server.http.errors import RequestError
from moa.providers._base import Finish, ModelRequest, ToolCallDelta
from moa.providers._scripted import Script, ScriptedProvider
from tests.support.served import HELLO, SOLO, ServedModel, served

WANTED = ServiceState("lab/writer", {"reasoning_content": "hm"})
OF_CALL = ServiceState("lab/writer", {"thought_signature": "sig"})
FUNCTION = {"name": "look", "parameters": {"type": "object", "properties": {}}}


def script(request: ModelRequest) -> Script:
    if request.messages[-1].role == "tool":
        return "done"
    call = ToolCallDelta(index=0, id="c1", name="look", arguments="{}", state=OF_CALL)
    return ["I look", call, Finish(reason="tool_calls", state=WANTED)]


async def _chat(server: ServedModel, stream: bool) -> None:
    asked: Any = {"model": "moa/solo", "tools": [{"type": "function", "function": FUNCTION}]}
    if stream:
        async with server.openai.chat.completions.stream(**asked, messages=HELLO) as events:
            reply: Any = await events.get_final_completion()
    else:
        reply = await server.openai.chat.completions.create(**asked, messages=HELLO)
    turn = reply.choices[0].message.model_dump(exclude_none=True)
    result: Any = {"role": "tool", "tool_call_id": "c1", "content": "seen"}
    await server.openai.chat.completions.create(**asked, messages=[*HELLO, turn, result])


async def _responses(server: ServedModel, stream: bool) -> None:
    asked: Any = {"model": "moa/solo", "tools": [{"type": "function", **FUNCTION}], "store": False}
    if stream:
        async with server.openai.responses.stream(**asked, input="Hi") as events:
            reply: Any = await events.get_final_response()
    else:
        reply = await server.openai.responses.create(**asked, input="Hi")
    items = [item.model_dump(exclude_none=True) for item in reply.output]
    result: Any = {"type": "function_call_output", "call_id": "c1", "output": "seen"}
    again: Any = [{"role": "user", "content": "Hi"}, *items, result]
    await server.openai.responses.create(**asked, input=again)


async def _messages(server: ServedModel, stream: bool) -> None:
    tool = {"name": "look", "input_schema": FUNCTION["parameters"]}
    asked: Any = {"model": "moa/solo", "max_tokens": 99, "tools": [tool]}
    if stream:
        async with server.anthropic.messages.stream(**asked, messages=HELLO) as events:
            reply: Any = await events.get_final_message()
    else:
        reply = await server.anthropic.messages.create(**asked, messages=HELLO)
    result = {"type": "tool_result", "tool_use_id": "c1", "content": "seen"}
    again: Any = [*HELLO, {"role": "assistant", "content": reply.content}, {"role": "user", "content": [result]}]
    await server.anthropic.messages.create(**asked, messages=again)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("converse", [_chat, _responses, _messages])
async def test_what_a_service_wants_back_goes_round_by_the_client(converse: Any, stream: bool) -> None:
    models = ScriptedProvider(script)
    async with served(SOLO, providers={"lab": models}) as server:
        await converse(server, stream)

    [turn] = [message for message in models.requests[-1].messages if message.role == "assistant"]
    assert (turn.text, turn.state, turn.tool_calls[0].state) == ("I look", WANTED, OF_CALL)


@pytest.mark.parametrize("forged", ["", "x", "!!!", "eJw", "A" * 100])
def test_a_text_that_is_not_ours_is_left_out(forged: str) -> None:
    message = Message(role="assistant", content="x")

    assert with_state(message, unpacked_states([forged])[0]) == message


def _packed(data: dict[str, Any]) -> str:
    return ServiceState("lab/writer", data).pack()


@pytest.mark.parametrize(
    "packed",
    [
        [_packed({"message": "x" * (MOST_STATE_BYTES - 100)})] * 5,
        [_packed({"message": {"x": [[]] * 30_000}})] * 4,
        [_packed({"message": {"x": json.loads("[" * 200 + "]" * 200)}})],
    ],
    ids=["bytes", "values", "levels"],
)
def test_a_few_kilobytes_are_not_unpacked_to_more_than_a_body_may_have(packed: list[str]) -> None:
    """As with CVE-2025-69223 of aiohttp, which unpacked what a client had packed without end."""
    assert len("".join(packed)) < 30_000
    with pytest.raises(RequestError) as caught:
        unpacked_states(packed)

    assert caught.value.status in (400, 413)


def test_a_conversation_may_carry_many_small_states() -> None:
    assert unpacked_states([None, *[WANTED.pack()] * 1_000]) == [None, *[WANTED] * 1_000]
