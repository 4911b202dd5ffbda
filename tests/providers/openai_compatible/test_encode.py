import base64
import json
from decimal import Decimal
from typing import Any

import pytest

from moa._messages import Message, ReplyOptions, Sampling, ServiceState, ToolCall, conversation
from moa.errors import BadRequest
from moa.providers._base import ModelRequest
from moa.providers._openai_compatible.encode import encode
from moa.providers._rejections import parts_of
from moa.providers._reshaping import without
from tests.providers.requests import ask

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def body_of(request: ModelRequest) -> dict[str, Any]:
    return json.loads(encode(request))


def test_encode_writes_nothing_that_was_not_asked_for() -> None:
    assert body_of(ask(deltas=False)) == {"model": "small", "messages": [{"role": "user", "content": "Say hello."}]}


def test_encode_asks_for_usage_when_the_reply_is_streamed() -> None:
    body = body_of(ask())

    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


def test_encode_writes_every_sampling_parameter() -> None:
    sampling = Sampling(
        temperature=0.0, top_p=0.9, top_k=40, max_tokens=5, stop=("a", "b"), seed=0, reasoning_effort="low"
    )

    body = body_of(ask(sampling=sampling, deltas=False))

    assert {name: value for name, value in body.items() if name not in ("model", "messages")} == {
        "temperature": 0.0,
        "top_p": 0.9,
        "top_k": 40,
        "max_tokens": 5,
        "stop": ["a", "b"],
        "seed": 0,
        "reasoning_effort": "low",
    }


def test_encode_lets_extra_win_untouched() -> None:
    sampling = Sampling(temperature=0.5, extra={"temperature": 0.1, "top_k": 3, "provider": {"order": ["x"]}})

    body = body_of(ask(sampling=sampling))

    assert (body["temperature"], body["top_k"], body["provider"]) == (0.1, 3, {"order": ["x"]})


def test_encode_writes_tools_and_formats_as_they_are() -> None:
    options = ReplyOptions(
        tools=(TOOL,), tool_choice="required", response_format={"type": "json_object"}, top_logprobs=2
    )

    body = body_of(ask(options=options))

    assert (body["tools"], body["tool_choice"], body["response_format"]) == (
        [TOOL],
        "required",
        {"type": "json_object"},
    )
    assert (body["logprobs"], body["top_logprobs"]) == (True, 2)


def test_encode_gives_messages_back_in_the_shape_in_which_they_came() -> None:
    pixel = base64.b64encode(b"png").decode()
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{pixel}", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://images.test/a.png"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"SF"}'}}
            ],
        },
        {"role": "tool", "content": "sunny", "tool_call_id": "c1"},
    ]

    request = ModelRequest(reference="lab/small", model="small", messages=conversation(messages))

    assert body_of(request)["messages"] == messages


def test_encode_avoids_what_the_service_refuses() -> None:
    avoid = frozenset({"max_tokens", "stream_options", "null_content"})
    call = ToolCall(id="1", name="f", arguments="{}")
    turns = (Message(role="user", content="hi"), Message(role="assistant", tool_calls=(call,)))

    body = body_of(ask(sampling=Sampling(max_tokens=7), avoid=avoid, messages=turns))

    assert body["max_completion_tokens"] == 7
    assert not {"max_tokens", "stream_options"} & body.keys()
    assert body["messages"][1]["content"] == ""


def test_calls_that_another_model_made_get_what_a_service_would_have_hung_on_them() -> None:
    signed = ServiceState("lab/small", {"extra_content": {"google": {"thought_signature": "own"}}})
    thought = ServiceState("lab/small", {"reasoning_content": "own"})
    foreign = [ToolCall(id=name, name="f", arguments="{}") for name in ("1", "2")]
    own = ToolCall(id="3", name="f", arguments="{}", state=signed)
    turns = (
        Message(role="user", content="hi"),
        Message(role="assistant", tool_calls=tuple(foreign)),
        *(Message(role="tool", content="x", tool_call_id=call.id) for call in foreign),
        Message(role="assistant", tool_calls=(own,), state=thought),
        Message(role="tool", content="x", tool_call_id="3"),
    )
    asked = ask(messages=turns)
    for part in ("thought_signature", "thoughts_of_calls"):
        assert part in parts_of(asked)
        asked = without(asked, part) or asked

    theirs, ours = (turn for turn in body_of(asked)["messages"] if turn["role"] == "assistant")
    skipped = {"google": {"thought_signature": "skip_thought_signature_validator"}}
    assert [call.get("extra_content") for call in theirs["tool_calls"]] == [skipped, None]
    assert theirs["reasoning_content"].isspace()
    assert ours["tool_calls"][0]["extra_content"] == signed.data["extra_content"]
    assert ours["reasoning_content"] == "own"


def test_half_of_a_character_is_written_as_the_replacement_character() -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "half \ud83d"}}

    body = body_of(
        ask(prompt="half \ud83d", sampling=Sampling(extra={"user": "\ud83d"}), options=ReplyOptions(tools=(tool,)))
    )

    assert body["messages"] == [{"role": "user", "content": "half \ufffd"}]
    assert (body["user"], body["tools"][0]["function"]["description"]) == ("\ufffd", "half \ufffd")


@pytest.mark.parametrize("extra", [{"x": Decimal(1)}, {"x": 2**70}])
def test_encode_turns_down_what_json_can_not_hold(extra: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="can't be written as JSON"):
        encode(ask(sampling=Sampling(extra=extra)))


MARK = {"type": "ephemeral"}


def test_marks_for_the_prompt_cache_are_parts_where_the_service_takes_them_and_else_nothing() -> None:
    request = ask(
        messages=(
            Message(role="system", content="Be brief.", cache_points=(9,), cache_ttl="1h"),
            Message(role="user", content="A book\nWhat of it?", cache_points=(6,)),
        ),
        options=ReplyOptions(tools=(TOOL | {"cache_control": MARK},)),
        deltas=False,
    )

    marked, plain = json.loads(encode(request, takes_cache_control=True)), body_of(request)

    hour = MARK | {"ttl": "1h"}
    assert marked["tools"] == [TOOL | {"cache_control": hour}]
    assert marked["messages"] == [
        {"role": "system", "content": [{"type": "text", "text": "Be brief.", "cache_control": hour}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "A book", "cache_control": MARK},
                {"type": "text", "text": "\nWhat of it?"},
            ],
        },
    ]
    assert plain["tools"] == [TOOL]
    assert [message["content"] for message in plain["messages"]] == ["Be brief.", "A book\nWhat of it?"]
