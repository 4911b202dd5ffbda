"""Conversations out of what callers give."""

import base64
from typing import Any

import pytest

from moa._messages import ImagePart, Message, TextPart, ToolCall, conversation
from moa.errors import UsageError

PNG = b"\x89PNG\r\n"


def test_a_text_is_one_user_turn_behind_the_system_message() -> None:
    assert conversation("hi", system="be brief") == (
        Message(role="system", content="be brief"),
        Message(role="user", content="hi"),
    )


def test_messages_in_the_openai_shape_become_values() -> None:
    data = base64.b64encode(PNG).decode()
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages: list[dict[str, Any]] = [
        {"role": "developer", "content": "be brief"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what is it?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
            ],
        },
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "42", "tool_call_id": "1"},
    ]

    assert conversation(messages) == (
        Message(role="system", content="be brief"),
        Message(
            role="user",
            content=(
                TextPart(text="what is it?"),
                ImagePart(data=PNG, media_type="image/png", detail="low"),
                ImagePart(url="https://example.org/a.png"),
            ),
        ),
        Message(role="assistant", tool_calls=(ToolCall(id="1", name="f", arguments="{}"),)),
        Message(role="tool", content="42", tool_call_id="1"),
    )


def test_images_go_to_the_last_user_turn() -> None:
    image = ImagePart(data=PNG, media_type="image/png")
    talk = conversation([{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}], images=[image])

    assert talk[0].images == (image,)
    assert talk[0].text == "one"


def test_a_turn_that_gets_images_keeps_its_name() -> None:
    image = ImagePart(url="https://example.org/a.png")

    assert conversation([{"role": "user", "name": "ann", "content": "one"}], images=[image])[0].name == "ann"


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        (None, "the prompt is None: give text, or messages as a list"),
        (5, "the prompt is of type int: give text"),
        (b"hi", "the prompt is of type bytes"),
        ({"role": "user", "content": "hi"}, "the prompt is a mapping: give text, or messages in a list"),
        (Message(role="user", content="hi"), "the prompt is of type Message: give text, or messages in a list"),
        (["hi"], r"message 1 is text \('hi'\): give a Message, or a mapping"),
        ([{"role": "user", "content": "hi"}, None], "message 2 is None: give a Message"),
        ([{"role": "user", "contnet": "hi"}], "message 1 has the unknown key 'contnet': did you mean 'content'"),
        ([{"role": "user", "content": "hi", "zzz": 1}], r"unknown key 'zzz'\. Known are role, content"),
        ([{"role": "user", "content": "hi"}, {"role": "user", "content": " \n"}], "the prompt is empty"),
        ([{"role": "system", "content": "hi"}, {"role": "user", "content": ""}], "the prompt is empty"),
        (" ", "the prompt is empty"),
        ([], "the conversation is empty"),
    ],
)
def test_what_is_no_conversation_is_refused_in_a_sentence(prompt: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        conversation(prompt)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (["a.png"], r"image 1 is text \('a.png'\): give an ImagePart"),
        ([ImagePart(url="https://x.test/a"), PNG], "image 2 is of type bytes"),
        ("a.png", r"images is text \('a.png'\): give a list"),
        (ImagePart(url="https://x.test/a"), "images is of type ImagePart: give a list"),
    ],
)
def test_what_is_no_image_is_refused_in_a_sentence(images: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        conversation("what is it?", images=images)


def test_a_services_reply_may_be_sent_back_as_it_came() -> None:
    reply = {"role": "assistant", "content": "hello", "refusal": None, "annotations": [], "reasoning_content": "hm"}

    talk = conversation([{"role": "user", "content": "hi"}, reply, {"role": "user", "content": "again"}])

    assert talk[1] == Message(role="assistant", content="hello")


def test_an_image_alone_is_a_prompt() -> None:
    image = ImagePart(url="https://example.org/a.png")

    assert conversation("", images=[image])[0].images == (image,)


@pytest.mark.parametrize(
    "content",
    [
        5,
        [{"type": "video", "url": "x"}],
        [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}],
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64,%%%"}}],
        [{"type": "image_url", "image_url": {"url": "data:text/html;base64,aGk="}}],
    ],
)
def test_content_that_makes_no_sense_is_refused(content: object) -> None:
    with pytest.raises(UsageError):
        conversation([{"role": "user", "content": content}])


def test_half_of_a_character_is_read_as_the_replacement_character_wherever_a_text_stands() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": '{"x": "\ud83d"}'}}
    turns = conversation(
        [
            {
                "role": "user",
                "content": [{"type": "text", "text": "a \ud83d"}, {"type": "text", "text": "\ude00 b 😀"}],
            },
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "half \ud83d"},
        ],
        system="\ud83d",
    )

    assert [turn.content for turn in turns] == ["\ufffd", "a \ufffd\n\ufffd b 😀", "", "half \ufffd"]
    assert turns[2].tool_calls[0].arguments == '{"x": "\ufffd"}'


def test_a_conversation_that_ends_with_calls_of_tools_is_refused_before_anything_is_bought() -> None:
    call = ToolCall(id="c", name="weather", arguments="{}")

    with pytest.raises(UsageError, match=r"calls of tools \(weather\): add a tool message"):
        conversation([Message(role="user", content="hi"), Message(role="assistant", tool_calls=(call,))])
