"""What requests may hold: everything else is refused by name, before anything is sent."""

from typing import Any

import pytest

from moa._messages import ImagePart, Message, TextPart, ToolCall
from moa._server.api.chat_request import read_chat_request
from moa._server.api.conversations import Conversations
from moa._server.api.messages_request import read_messages_request
from moa._server.api.request_model import read_json
from moa._server.api.responses_request import read_responses_request, with_stored_items
from moa._server.http.errors import RequestError
from moa._state.memory import MemoryStore

CONVERSATIONS = Conversations(MemoryStore(), "alice")
HELLO = [{"role": "user", "content": "Say hello"}]

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"n": 2}, "n"),
    ({"n": True}, "n"),
    ({"audio": {"voice": "x"}}, "audio"),
    ({"modalities": ["audio"]}, "modalities"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"web_search_options": {}}, "web_search_options"),
    ({"temperture": 1}, "temperture"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": 3}, "temperature"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
    ({"stop": [1]}, "stop"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [{"type": "mcp"}]}, "tools.0"),
    ({"response_format": {"type": "grammar"}}, "response_format"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages.0.content.0"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.tool_call_id"),
    ({"messages": [{"role": "user", "content": "x", "colour": 1}]}, "messages.0.colour"),
    ({"moa": {"ledgr": True}}, "moa.ledgr"),
    ({"moa": {"budget_usd": -1}}, "moa.budget_usd"),
]


@pytest.mark.parametrize(("given", "param"), REFUSED, ids=lambda value: str(value)[:40])
async def test_a_chat_request_that_cannot_be_honoured_is_refused_by_name(given: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_chat_request({"model": "m", "messages": HELLO, **given})

    assert (caught.value.status, caught.value.param) == (400, param)
    assert param.rpartition(".")[2] in caught.value.message or param == "messages"


RESPONSES_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ({"tools": [{"type": "mcp"}]}, "tools.0"),
    ({"input": 5}, "input"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0"),
    ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input.0.content.0"),
    ({"input": [{"role": "user", "content": ["text"]}]}, "input.0.content.0"),
    ({"text": {"format": {"type": "grammar"}}}, "text.format"),
    ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice"),
    ({"colour": 1}, "colour"),
]


@pytest.mark.parametrize(("given", "param"), RESPONSES_REFUSED, ids=lambda value: str(value)[:40])
async def test_a_responses_request_that_cannot_be_honoured_is_refused_by_name(
    given: dict[str, Any], param: str
) -> None:
    with pytest.raises(RequestError) as caught:
        read_responses_request(await with_stored_items({"model": "m", "input": "Hi", **given}, CONVERSATIONS))

    assert (caught.value.status, caught.value.param) == (400, param)


FILE = {"type": "file", "file_id": "f"}
MESSAGES_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"container": "c"}, "container"),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0"),
    ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ({"system": 5}, "system"),
    (
        {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "f"}}]}]},
        "messages.0.content.0.source",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file"}}]}]},
        "messages.0.content.0.source",
    ),
    ({"output_config": {"format": {"type": "xml"}}}, "output_config.format"),
    ({"max_tokens": None}, "max_tokens"),
    ({"temperature": 1.5}, "temperature"),
    ({"colour": 1}, "colour"),
]


@pytest.mark.parametrize(("given", "param"), MESSAGES_REFUSED, ids=lambda value: str(value)[:40])
async def test_a_messages_request_that_cannot_be_honoured_is_refused_by_name(given: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_messages_request({"model": "m", "max_tokens": 9, "messages": HELLO, **given})

    assert (caught.value.status, caught.value.param) == (400, param)


async def test_a_messages_request_becomes_the_conversation_that_it_is() -> None:
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "Look", "cache_control": {"type": "ephemeral"}}, IMAGE]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "text", "text": "I look it up"},
                {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "sky"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "blue"}]},
                {"type": "text", "text": "And?"},
            ],
        },
    ]
    body = {"model": "m", "max_tokens": 9, "system": [{"type": "text", "text": "Be brief"}], "messages": turns}

    request = read_messages_request(body)

    assert request.messages == (
        Message(role="system", content="Be brief"),
        Message(role="user", content=(TextPart(text="Look"), ImagePart(data=b"hello", media_type="image/png"))),
        Message(
            role="assistant",
            content="I look it up",
            tool_calls=(ToolCall(id="t1", name="look", arguments='{"at":"sky"}'),),
        ),
        Message(role="tool", content="blue", tool_call_id="t1"),
        Message(role="user", content="And?"),
    )


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}}


async def test_a_responses_request_becomes_the_conversation_that_it_is() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Sunny."}]},
        {"role": "user", "content": "Thanks"},
    ]

    request = read_responses_request(
        await with_stored_items({"model": "m", "instructions": "Be brief", "input": items}, CONVERSATIONS)
    )

    assert request.messages == (
        Message(role="system", content="Be brief"),
        Message(role="user", content="Weather?"),
        Message(role="assistant", tool_calls=(ToolCall(id="c1", name="weather", arguments="{}"),)),
        Message(role="tool", content="sunny", tool_call_id="c1"),
        Message(role="assistant", content="Sunny."),
        Message(role="user", content="Thanks"),
    )


def test_half_of_a_character_in_a_body_is_read_as_the_replacement_character() -> None:
    """JavaScript writes a text that was cut inside of an emoji with an escape of its half."""
    body = b'{"model": "m", "messages": [{"role": "user", "content": "Deploy failed \\ud83d, \\ud83d\\ude00"}]}'

    assert read_json(body)["messages"][0]["content"] == "Deploy failed \ufffd, 😀"


@pytest.mark.parametrize("body", [b'{"a": "\\ud83d", "b": NaN}', b'{"a": "\\ud83d"', b'{"a": "\xed\xa0\xbd"}'])
def test_half_of_a_character_excuses_nothing_else(body: bytes) -> None:
    with pytest.raises(RequestError, match="not valid JSON"):
        read_json(body)


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_prompt_that_is_only_a_system_message_is_asked_as_the_users(role: str) -> None:
    """As title generators send it, and OpenAI's models take it."""
    chat = read_chat_request({"model": "m", "messages": [{"role": role, "content": "A title for: cats"}]})
    response = read_responses_request({"model": "m", "input": [{"role": role, "content": "A title for: cats"}]})

    assert [[(turn.role, turn.text) for turn in each.messages] for each in (chat, response)] == [
        [("user", "A title for: cats")]
    ] * 2


def test_what_tools_of_openai_did_in_an_earlier_turn_is_shown_as_text() -> None:
    """A conversation that began at OpenAI went on nowhere else, as its searches were refused."""
    items = [
        {"role": "user", "content": "Who won?"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "cup"}},
        {"type": "image_generation_call", "id": "ig_1", "result": "iVBOR" * 1000, "revised_prompt": "A cup"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Rome."}]},
        {"type": "function_call_output", "name": "create_thread", "output": "Go on"},
    ]
    request = read_responses_request({"model": "m", "input": items})

    assert [(turn.role, turn.text) for turn in request.messages] == [
        ("user", "Who won?"),
        ("assistant", '[web_search_call: {"action":{"query":"cup"}}]'),
        ("assistant", '[image_generation_call: {"revised_prompt":"A cup"}]'),
        ("assistant", "Rome."),
        ("tool", "Go on"),
    ]
