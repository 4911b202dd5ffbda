"""Conversations out of what callers give."""

import base64
from typing import Any

import pytest

from moa.errors import UsageError
from moa.messages import ImagePart, Message, TextPart, ToolCall, conversation

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
