"""The normal form of a conversation, its shapes for some services, and what travels back to one service alone."""

import json
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa._messages import Conversation, ImagePart, Message, ReplyOptions, ServiceState, TextPart, ToolCall, message_dict
from moa.errors import Rejection
from moa.providers._base import ModelRequest
from moa.providers._bedrock import encode as bedrock
from moa.providers._conversations import GO_ON, NO_RESULT, OTHER_RESULT, RESHAPED, normal_form
from moa.providers._openai_compatible.encode import encode
from moa.providers._reshaping import without_all
from moa.providers._service_state import owner_of

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
PNG, JPEG = b"\x89PNG\r\n\x1a\nrest", b"\xff\xd8\xffrest"


def said(role: Any, content: Any = "", **fields: Any) -> Message:
    return Message(role=role, content=content, **fields)


def call(call_id: str, **fields: Any) -> ToolCall:
    return ToolCall(id=call_id, name="f", arguments="{}", **fields)


def result(call_id: str, content: Any = "done") -> Message:
    return said("tool", content, tool_call_id=call_id)


def roles(conversation: Conversation) -> list[str]:
    return [turn.role for turn in conversation]


def test_calls_of_one_turn_that_came_one_by_one_are_one_turn_with_their_results_behind_it() -> None:
    form = normal_form(
        (
            said("user", "Compare."),
            said("assistant", "I look."),
            said("assistant", tool_calls=(call("c1"),)),
            said("assistant", tool_calls=(call("c2"),)),
            result("c1"),
            said("user", "Hurry."),
            result("c2"),
        )
    )

    assert roles(form) == ["user", "assistant", "tool", "tool", "user"]
    assert (form[1].text, [each.id for each in form[1].tool_calls]) == ("I look.", ["c1", "c2"])
    assert [turn.tool_call_id for turn in form[2:4]] == ["c1", "c2"]


def test_system_texts_are_one_and_first_and_blank_turns_are_left_out() -> None:
    form = normal_form(
        (said("system", "Be brief."), said("user", "Hi"), said("assistant", " "), said("system", "Be kind."))
    )

    assert [(turn.role, turn.text) for turn in form] == [("system", "Be brief.\n\nBe kind."), ("user", "Hi")]


def test_a_call_without_a_result_gets_one_and_ids_are_used_once() -> None:
    turns = (said("user", "Go"), said("assistant", tool_calls=(call("0"), call("1"))), result("0", "first"))
    again = (said("assistant", tool_calls=(call("0"),)), result("0", "second"), said("user", "Thanks"))

    form = normal_form(turns + again)

    ids = [each.id for turn in form for each in turn.tool_calls]
    assert len(set(ids)) == 3
    results = {turn.tool_call_id: turn.text for turn in form if turn.role == "tool"}
    assert results == {ids[0]: "first", ids[1]: NO_RESULT, ids[2]: "second"}


def test_results_without_a_call_of_their_own_become_turns_of_the_user() -> None:
    """Clients cut their histories off at the front, and answer a call twice: services refuse both for ever."""
    turns = (result("gone", "old"), said("user", "Go"), said("assistant", tool_calls=(call("0"), call("1"))))
    answers = (
        result("0", "first"),
        result("0", "again"),
        result("1", (TextPart(text="second"),)),
        said("user", "Thanks"),
    )

    form = normal_form(turns + answers)

    assert roles(form) == ["user", "user", "assistant", "tool", "tool", "user", "user"]
    assert [turn.text for turn in form if turn.role == "user"] == [
        f"{OTHER_RESULT}\n\nold",
        "Go",
        f"{OTHER_RESULT}\n\nagain",
        "Thanks",
    ]
    assert normal_form((said("user", "Go"), result("gone", "late")))[-1].text == f"{OTHER_RESULT}\n\nlate"


def test_an_image_is_named_by_its_bytes() -> None:
    images = (ImagePart(data=JPEG, media_type="image/png"), ImagePart(data=PNG, media_type="image/png"))

    (turn,) = normal_form((said("user", images),))

    assert [image.media_type for image in turn.images] == ["image/jpeg", "image/png"]


def test_a_plain_conversation_comes_back_as_it_is() -> None:
    plain = (said("system", "Be brief."), said("user", "Hi"), said("assistant", "Yes?"), said("user", "Go on"))

    assert normal_form(plain) is plain


CONTENTS = st.sampled_from(["", " ", "a", "b"])
TURNS = st.lists(
    st.one_of(
        st.builds(said, st.sampled_from(["system", "user", "assistant"]), CONTENTS),
        st.builds(lambda ids: said("assistant", tool_calls=tuple(map(call, ids))), st.lists(st.sampled_from("xyz"))),
        st.builds(result, st.sampled_from("xyz")),
    ),
    max_size=10,
)


@given(TURNS)
def test_the_normal_form_holds_every_text_once_and_is_its_own_normal_form(turns: list[Message]) -> None:
    form = normal_form(tuple(turns))

    assert normal_form(form) == form
    texts = [text for turn in turns for text in turn.text.split()]
    found = " ".join(turn.text for turn in form).replace(OTHER_RESULT, "").replace(NO_RESULT, "")
    assert sorted(found.split()) == sorted(texts)
    assert roles(form).count("system") <= 1
    assert all(one.role != "assistant" or two.role != "assistant" for one, two in pairwise(form))
    for at, turn in enumerate(form):
        answered = []
        for later in form[at + 1 :]:
            if later.role != "tool":
                break
            answered.append(later.tool_call_id)
        if at + 1 < len(form):
            assert {each.id for each in turn.tool_calls} <= set(answered)
    calls = [each.id for turn in form for each in turn.tool_calls]
    assert {turn.tool_call_id for turn in form if turn.role == "tool"} <= set(calls)


@pytest.mark.parametrize("part", sorted(RESHAPED))
@given(turns=TURNS)
def test_each_shape_keeps_every_text(part: str, turns: list[Message]) -> None:
    form = normal_form(tuple(turns))

    shaped = RESHAPED[part](form)

    texts = [text for turn in form for text in turn.text.split()]
    assert not set(texts) - {text for turn in shaped for text in turn.text.split()}


def sent(request: ModelRequest) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = json.loads(encode(request))["messages"]
    return messages


def asked(reference: str, *turns: Message) -> ModelRequest:
    model = reference.partition("/")[2]
    return ModelRequest(reference=reference, model=model, messages=turns, options=ReplyOptions(tools=(TOOL,)))


def test_shapes_for_services_that_refuse_the_normal_form() -> None:
    request = asked("lab/m", said("system", "Be brief."), said("user", "One."), said("user", "Two.", name="bob"))
    parts = ("system", "alternation", "name")

    assert sent(without_all(request, map(Rejection, parts))) == [
        {"role": "user", "content": "Be brief.\n\nOne.\n\nTwo."}
    ]
    ends = without_all(asked("lab/m", said("user", "Hi"), said("assistant", "Well")), [Rejection("prefill")])
    assert sent(ends)[-1] == {"role": "user", "content": GO_ON}


def test_an_image_in_a_tools_result_is_shown_behind_the_results() -> None:
    image = ImagePart(data=PNG, media_type="image/png")
    turns = (
        said("user", "Look"),
        said("assistant", tool_calls=(call("a"), call("b"))),
        result("a", (TextPart(text="a page"), image)),
        result("b"),
        said("user", "And?"),
    )

    messages = sent(asked("lab/m", *turns))
    blocks = bedrock.fields(asked("bedrock/anthropic.claude-x", *turns))["messages"][-1]["content"]

    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool", "user"]
    assert [part["type"] for part in messages[-1]["content"]] == ["text", "image_url", "text"]
    assert [next(iter(block)) for block in blocks[0]["toolResult"]["content"]] == ["text", "image"]


def test_ids_that_a_service_refuses_are_written_in_nine_letters_alike_in_call_and_result() -> None:
    turns = (said("user", "Go"), said("assistant", tool_calls=(call("call_0fypS1hVX"),)), result("call_0fypS1hVX"))

    _, calls, answer = sent(without_all(asked("lab/m", *turns), [Rejection("tool_call_id")]))

    (short,) = {calls["tool_calls"][0]["id"], answer["tool_call_id"]}
    assert len(short) == 9
    assert short.isalnum()
    long = bedrock.fields(
        asked("bedrock/m", said("user", "Go"), said("assistant", tool_calls=(call("a:b"),)), result("a:b"))
    )
    assert long["messages"][1]["content"][0]["toolUse"]["toolUseId"].isalnum()


STATE = ServiceState("deepseek/deepseek", {"reasoning_content": "hm", "role": "system"})
SIGNED = ServiceState("gemini/gemini", {"extra_content": {"google": {"thought_signature": "c2ln"}}, "id": "forged"})


def test_state_travels_back_to_its_own_service_and_to_no_other() -> None:
    turn = said("assistant", tool_calls=(call("a", state=SIGNED),), state=STATE)
    turns = (said("user", "Go"), turn, result("a"))

    to_deepseek = sent(asked("deepseek/deepseek-reasoner", *turns))[1]
    to_gemini = sent(asked("gemini/gemini-2.5-pro", *turns))[1]
    to_mistral = sent(asked("mistral/mistral-large", *turns))[1]

    assert (to_deepseek["reasoning_content"], to_deepseek["role"]) == ("hm", "assistant")
    assert "extra_content" not in to_deepseek["tool_calls"][0]
    assert to_gemini["tool_calls"][0] == message_dict(turn)["tool_calls"][0] | {
        "extra_content": SIGNED.data["extra_content"]
    }
    assert "reasoning_content" not in to_gemini
    assert to_mistral == message_dict(turn)


def test_signed_thoughts_go_before_the_calls_of_their_model_on_bedrock_alone() -> None:
    thought = {"reasoningText": {"text": "hm", "signature": "s"}}
    state = ServiceState("bedrock/anthropic.claude", {"reasoningContent": [thought, {"other": 1}, "x"]})
    turns = (said("user", "Go"), said("assistant", tool_calls=(call("a"),), state=state), result("a"))

    own = bedrock.fields(asked("bedrock/us.anthropic.claude-opus-4-v1:0", *turns))["messages"][1]["content"]
    other = bedrock.fields(asked("bedrock/amazon.nova-pro-v1:0", *turns))["messages"][1]["content"]

    assert own[0] == {"reasoningContent": thought}
    assert [next(iter(block)) for block in own] == ["reasoningContent", "toolUse"]
    assert [next(iter(block)) for block in other] == ["toolUse"]


def test_state_is_packed_as_one_text_and_whatever_else_is_no_state() -> None:
    assert ServiceState.unpack(STATE.pack()) == STATE
    for forged in ("", "x", "ü", STATE.pack()[:-4], orjson.dumps([1]).decode()):
        assert ServiceState.unpack(forged) is None


@pytest.mark.parametrize(
    ("reference", "owner"),
    [
        ("bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "bedrock/anthropic.claude"),
        ("bedrock/anthropic.claude-opus-4-v1:0", "bedrock/anthropic.claude"),
        ("openrouter/google/gemini-2.5-pro", "openrouter/gemini"),
        ("deepseek/deepseek-chat", "deepseek/deepseek"),
    ],
)
def test_state_belongs_to_an_endpoint_and_a_family_of_models(reference: str, owner: str) -> None:
    assert owner_of(reference) == owner
