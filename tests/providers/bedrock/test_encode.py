import string
from typing import Any

import orjson
import pytest
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from moa._messages import ImagePart, Message, ReplyOptions, Sampling, TextPart, ToolCall
from moa.errors import BadRequest, UnsupportedInput
from moa.providers._base import ModelRequest
from moa.providers._bedrock import encode
from moa.providers._endpoint import Endpoint
from moa.providers._known_refusals import known_refusals
from moa.providers._reshaping import without_all
from tests.support.bedrock_calls import CONVERSE_INPUT, ask

CLAUDE = "us.anthropic.claude-3-haiku-20240307-v1:0"
LLAMA = "us.meta.llama3-2-3b-instruct-v1:0"
MIXTRAL = "mistral.mixtral-8x7b-instruct-v0:1"
WEATHER = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": {"type": "object"}}}


def said(role: Any, content: Any = "", **fields: Any) -> Message:
    return Message(role=role, content=content, **fields)


def text(value: str) -> dict[str, str]:
    return {"text": value}


def faults(request: ModelRequest) -> str:
    """What botocore's own service model finds wrong with a body, as it is sent."""
    sent = orjson.loads(encode.body(request))
    return str(ParamValidator().validate({"modelId": request.model, **sent}, CONVERSE_INPUT).generate_report())


# ── address ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("model", "encoded"),
    [
        ("anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-haiku-20240307-v1%3A0"),
        ("global.amazon.nova-2-lite-v1:0", "global.amazon.nova-2-lite-v1%3A0"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.meta.llama3-2-3b-instruct-v1:0",
            "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.meta.llama3-2-3b-instruct-v1%3A0",
        ),
    ],
)
def test_path_holds_the_model_id_percent_encoded(model: str, encoded: str) -> None:
    assert encode.path(ask(model=model, deltas=False)) == f"/model/{encoded}/converse"
    assert encode.path(ask(model=model, deltas=True)) == f"/model/{encoded}/converse-stream"


# ── sampling ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_body_has_nothing_but_messages_when_nothing_else_is_given() -> None:
    assert encode.fields(ask("Hi")) == {"messages": [{"role": "user", "content": [text("Hi")]}]}


def test_sampling_goes_to_the_inference_config() -> None:
    sampling = Sampling(temperature=0.0, top_p=0.9, max_tokens=512, stop=("END",), seed=3)

    assert encode.fields(ask(sampling=sampling))["inferenceConfig"] == {
        "temperature": 0.0,
        "topP": 0.9,
        "maxTokens": 512,
        "stopSequences": ["END"],
    }


@pytest.mark.parametrize(
    ("model", "stop", "asks"), [(CLAUDE, ("END",), True), (CLAUDE, (), False), (LLAMA, ("END",), False)]
)
def test_claude_is_asked_which_stop_sequence_ended_its_reply(model: str, stop: tuple[str, ...], asks: bool) -> None:
    request = ask(model=model, sampling=Sampling(stop=stop))

    assert ("additionalModelResponseFieldPaths" in encode.fields(request)) is asks
    assert faults(request) == ""


@pytest.mark.parametrize(
    ("model", "own"),
    [
        (CLAUDE, {"top_k": 250}),
        ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-v2:1", {"top_k": 250}),
        ("eu.amazon.nova-lite-v1:0", {"inferenceConfig": {"topK": 250}}),
        ("amazon.nova-2-lite-v1:0", {"inferenceConfig": {"topK": 250}}),
        ("cohere.command-r-plus-v1:0", {"k": 250}),
        ("mistral.mistral-7b-instruct-v0:2", {"top_k": 250}),
        ("mistral.mistral-large-2402-v1:0", {"top_k": 250}),
    ],
)
def test_top_k_goes_where_the_models_maker_wants_it(model: str, own: dict[str, Any]) -> None:
    encoded = encode.fields(ask(model=model, sampling=Sampling(top_k=250)))

    assert encoded["additionalModelRequestFields"] == own


@pytest.mark.parametrize("model", [LLAMA, "amazon.titan-text-express-v1", "maker.unheard-of-v1:0"])
def test_top_k_is_refused_where_the_model_has_none(model: str) -> None:
    with pytest.raises(BadRequest, match=r"no top_k is known .* extra\.additionalModelRequestFields"):
        encode.fields(ask(model=model, sampling=Sampling(top_k=250)))


@pytest.mark.parametrize(
    ("model", "effort", "fields"),
    [
        (CLAUDE, "high", {"outputConfig": {"effort": "high"}}),
        (
            "us.amazon.nova-2-lite-v1:0",
            "low",
            {"additionalModelRequestFields": {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}},
        ),
        (
            "us.amazon.nova-2-lite-v1:0",
            "none",
            {"additionalModelRequestFields": {"reasoningConfig": {"type": "disabled"}}},
        ),
        ("openai.gpt-oss-120b-1:0", "medium", {"additionalModelRequestFields": {"reasoning_effort": "medium"}}),
        ("us.openai.gpt-5.6-sol", "low", {"additionalModelRequestFields": {"reasoning": {"effort": "low"}}}),
    ],
)
def test_reasoning_effort_goes_where_the_models_maker_wants_it(model: str, effort: str, fields: dict[str, Any]) -> None:
    encoded = encode.fields(ask(model=model, sampling=Sampling(reasoning_effort=effort)))

    assert {key: value for key, value in encoded.items() if key != "messages"} == fields


def test_reasoning_effort_is_refused_where_the_model_has_none() -> None:
    with pytest.raises(BadRequest, match="no reasoning_effort is known"):
        encode.fields(ask(model=LLAMA, sampling=Sampling(reasoning_effort="high")))


def test_extra_is_merged_untouched_and_wins() -> None:
    extra = {
        "performanceConfig": {"latency": "optimized"},
        "additionalModelRequestFields": {"thinking": {"type": "adaptive"}},
        "inferenceConfig": {"temperature": 0.1},
    }
    encoded = encode.fields(ask(sampling=Sampling(temperature=0.7, top_p=1.0, top_k=5, extra=extra)))

    assert encoded["performanceConfig"] == {"latency": "optimized"}
    assert encoded["additionalModelRequestFields"] == {"top_k": 5, "thinking": {"type": "adaptive"}}
    assert encoded["inferenceConfig"] == {"temperature": 0.1, "topP": 1.0}
    assert extra["inferenceConfig"] == {"temperature": 0.1}


# ── conversation ─────────────────────────────────────────────────────────────────────────────────────────────────────


def shaped(request: ModelRequest) -> ModelRequest:
    """The request as the learnt profile sends it to a model of this family."""
    endpoint = Endpoint(name="bedrock", kind="bedrock")
    return without_all(request, known_refusals(endpoint, request.model))


def test_system_messages_go_to_the_system_field() -> None:
    messages = (said("system", "Be brief."), said("system", " "), said("system", "Be kind."), said("user", "Hi"))

    assert encode.fields(ask(messages=messages)) == {
        "messages": [{"role": "user", "content": [text("Hi")]}],
        "system": [text("Be brief."), text("Be kind.")],
    }


@pytest.mark.parametrize(
    "model",
    [MIXTRAL, "mistral.mistral-7b-instruct-v0:2", "amazon.titan-text-express-v1", "cohere.command-light-text-v14"],
)
def test_system_goes_into_the_first_user_turn_where_the_model_takes_none(model: str) -> None:
    messages = (said("system", "Be brief."), said("user", "Hi"), said("assistant", "Yes?"), said("user", "Go on"))

    assert encode.fields(shaped(ask(model=model, messages=messages))) == {
        "messages": [
            {"role": "user", "content": [text("Be brief.\n\nHi")]},
            {"role": "assistant", "content": [text("Yes?")]},
            {"role": "user", "content": [text("Go on")]},
        ]
    }


def test_system_goes_before_an_image_that_begins_the_first_user_turn() -> None:
    image = ImagePart(data=b"x", media_type="image/png")
    messages = (said("system", "Be brief."), said("user", (image,)))

    content = encode.fields(shaped(ask(model=MIXTRAL, messages=messages)))["messages"][0]["content"]
    assert [next(iter(block)) for block in content] == ["text", "image"]


def test_turns_of_the_same_role_in_a_row_become_one_and_blank_ones_go() -> None:
    turns = [("user", "a"), ("user", "b"), ("assistant", "  "), ("user", "c"), ("assistant", "d"), ("assistant", "e")]
    messages = tuple(said(role, content) for role, content in turns)

    assert encode.fields(ask(messages=messages))["messages"] == [
        {"role": "user", "content": [text("a"), text("b"), text("c")]},
        {"role": "assistant", "content": [text("d\n\ne")]},
    ]


def test_conversation_that_begins_with_the_assistant_gets_a_user_turn_in_front() -> None:
    messages = (said("assistant", "Welcome!"), said("user", "Hi"))

    assert encode.fields(ask(messages=messages))["messages"] == [
        {"role": "user", "content": [text(encode.OPENING)]},
        {"role": "assistant", "content": [text("Welcome!")]},
        {"role": "user", "content": [text("Hi")]},
    ]


def test_conversation_without_any_text_is_refused() -> None:
    with pytest.raises(BadRequest, match="no text"):
        encode.fields(ask(messages=(said("system", "Be brief."), said("user", " \n"))))


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [("image/png", "png"), ("image/jpeg", "jpeg"), ("IMAGE/JPG", "jpeg"), ("image/gif", "gif"), ("image/webp", "webp")],
)
def test_image_is_sent_as_bytes(media_type: str, kind: str) -> None:
    parts = (TextPart(text="What is it?"), ImagePart(data=b"\x00\x01", media_type=media_type))

    assert encode.fields(ask(messages=(said("user", parts),)))["messages"][0]["content"] == [
        text("What is it?"),
        {"image": {"format": kind, "source": {"bytes": "AAE="}}},
    ]


@pytest.mark.parametrize(
    "image", [ImagePart(url="https://example.org/a.png"), ImagePart(data=b"x", media_type="image/tiff")]
)
def test_image_that_bedrock_cant_take_is_refused(image: ImagePart) -> None:
    with pytest.raises(UnsupportedInput, match="image"):
        encode.fields(ask(messages=(said("user", (image,)),)))


def test_half_of_a_character_is_written_as_the_replacement_character() -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "half \ud83d", "parameters": {}}}

    content = encode.body(ask("half \ud83d", options=ReplyOptions(tools=(tool,)))).decode()

    assert content.count("half \ufffd") == 2


# ── tools and formats ────────────────────────────────────────────────────────────────────────────────────────────────

TOOL_TURNS = (
    said("user", "Rome?"),
    said("assistant", "Let me look.", tool_calls=(ToolCall(id="t1", name="weather", arguments='{"city": "Rome"}'),)),
    said("tool", "sunny", tool_call_id="t1"),
    said("user", "And now?"),
)


def test_tool_turns_become_tool_use_and_tool_result() -> None:
    encoded = encode.fields(ask(messages=TOOL_TURNS, options=ReplyOptions(tools=(WEATHER,))))

    assert encoded["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                text("Let me look."),
                {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Rome"}}},
            ],
        },
        {
            "role": "user",
            "content": [{"toolResult": {"toolUseId": "t1", "content": [text("sunny")]}}, text("And now?")],
        },
    ]
    spec = {"name": "weather", "description": "d", "inputSchema": {"json": {"type": "object"}}}
    assert encoded["toolConfig"] == {"tools": [{"toolSpec": spec}]}


@pytest.mark.parametrize("options", [ReplyOptions(), ReplyOptions(tools=(WEATHER,), tool_choice="none")])
def test_tool_turns_become_text_where_no_tools_are_offered(options: ReplyOptions) -> None:
    encoded = encode.fields(ask(messages=TOOL_TURNS, options=options))

    assert "toolConfig" not in encoded
    assert encoded["messages"][1:] == [
        {"role": "assistant", "content": [text('Let me look.\nI call the tool weather with {"city": "Rome"}')]},
        {"role": "user", "content": [text("Result of the tool weather:\nsunny"), text("And now?")]},
    ]


@pytest.mark.parametrize(
    ("choice", "encoded"),
    [
        ("auto", {"auto": {}}),
        ("required", {"any": {}}),
        ({"type": "function", "function": {"name": "weather"}}, {"tool": {"name": "weather"}}),
    ],
)
def test_tool_choice_is_said_in_converses_words(choice: Any, encoded: dict[str, Any]) -> None:
    options = ReplyOptions(tools=(WEATHER,), tool_choice=choice)

    assert encode.fields(ask(options=options))["toolConfig"]["toolChoice"] == encoded


def test_tool_without_parameters_takes_an_empty_object_and_may_be_strict() -> None:
    tool = {"type": "function", "function": {"name": "now", "strict": True}}

    assert encode.fields(ask(options=ReplyOptions(tools=(tool,))))["toolConfig"]["tools"] == [
        {"toolSpec": {"name": "now", "inputSchema": {"json": {"type": "object", "properties": {}}}, "strict": True}}
    ]


@pytest.mark.parametrize("arguments", ["{", "[1]"])
def test_tool_call_whose_arguments_are_no_object_is_refused(arguments: str) -> None:
    messages = (said("user", "a"), said("assistant", tool_calls=(ToolCall(id="1", name="w", arguments=arguments),)))

    with pytest.raises(BadRequest, match="arguments of the tool call w"):
        encode.fields(ask(messages=messages, options=ReplyOptions(tools=(WEATHER,))))


def test_json_schema_goes_to_the_output_config() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}
    encoded = encode.fields(ask(options=ReplyOptions(response_format=wanted)))

    definition = encoded["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert (encoded["outputConfig"]["textFormat"]["type"], definition["name"]) == ("json_schema", "n")
    assert orjson.loads(definition["schema"]) == schema


def test_plain_text_format_is_nothing_special() -> None:
    assert encode.fields(ask("Hi", options=ReplyOptions(response_format={"type": "text"}))) == encode.fields(ask("Hi"))


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (ReplyOptions(response_format={"type": "json_object"}), UnsupportedInput),
        (ReplyOptions(tools=({"type": "web_search"},)), UnsupportedInput),
        (ReplyOptions(tools=(WEATHER,), tool_choice="sometimes"), BadRequest),
        (ReplyOptions(top_logprobs=0), BadRequest),
    ],
)
def test_option_that_converse_doesnt_have_is_refused(options: ReplyOptions, kind: type[BadRequest]) -> None:
    with pytest.raises(kind) as caught:
        encode.fields(ask(options=options))
    assert type(caught.value) is kind


# ── botocore's service model as the judge ────────────────────────────────────────────────────────────────────────────

NAMES = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=20)
PARTS = st.lists(
    st.builds(TextPart, text=st.text(max_size=20))
    | st.builds(ImagePart, data=st.binary(min_size=1, max_size=8), media_type=st.just("image/png")),
    max_size=3,
).map(tuple)
CALLS = st.lists(
    st.builds(ToolCall, id=NAMES, name=NAMES, arguments=st.sampled_from(["", "{}", '{"a": [1, null, "x"]}'])),
    max_size=2,
).map(tuple)
MESSAGES = st.lists(
    st.builds(Message, role=st.sampled_from(["user", "system"]), content=st.text(max_size=20) | PARTS)
    | st.builds(Message, role=st.just("assistant"), content=st.text(max_size=20), tool_calls=CALLS)
    | st.builds(Message, role=st.just("tool"), content=st.text(max_size=20), tool_call_id=NAMES),
    max_size=6,
).map(lambda turns: (*turns, Message(role="user", content="Hi")))
SAMPLING = st.builds(
    Sampling,
    temperature=st.none() | st.floats(0, 1),
    top_p=st.none() | st.floats(0, 1),
    top_k=st.none() | st.integers(1, 500),
    max_tokens=st.none() | st.integers(1, 4096),
    stop=st.lists(st.text(min_size=1, max_size=5), max_size=3).map(tuple),
)
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
OPTIONS = st.builds(
    ReplyOptions,
    tools=st.sampled_from([(), (WEATHER,)]),
    tool_choice=st.sampled_from([None, "auto", "none", "required"]),
    response_format=st.sampled_from([None, SCHEMA] if "outputConfig" in CONVERSE_INPUT.members else [None]),
)


@pytest.mark.slow
@given(
    messages=MESSAGES,
    sampling=SAMPLING,
    options=OPTIONS,
    model=st.sampled_from([CLAUDE, MIXTRAL, "amazon.nova-lite-v1:0"]),
)
def test_body_satisfies_botocores_service_model_and_alternates(
    messages: tuple[Message, ...], sampling: Sampling, options: ReplyOptions, model: str
) -> None:
    request = ask(model=model, messages=messages, sampling=sampling, options=options)
    before = repr(request)

    assert faults(request) == ""
    roles = [turn["role"] for turn in encode.fields(request)["messages"]]
    assert roles == [("user", "assistant")[at % 2] for at in range(len(roles))]
    assert all(turn["content"] for turn in encode.fields(request)["messages"])
    assert repr(request) == before


@given(messages=MESSAGES)
def test_every_text_of_a_conversation_reaches_the_body(messages: tuple[Message, ...]) -> None:
    whole = encode.body(ask(messages=messages)).decode()

    for message in messages:
        for part in message.text.split("\n"):
            if part.strip():
                assert orjson.dumps(part).decode()[1:-1] in whole


def test_validator_of_these_tests_finds_faults() -> None:
    assert "Invalid type for parameter" in faults(ask(sampling=Sampling(extra={"inferenceConfig": "high"})))


POINT = {"cachePoint": {"type": "default"}}


def _marked(role: Any, content: Any, *points: int, **fields: Any) -> Message:
    return Message(role=role, content=content, cache_points=points, **fields)


def test_cache_points_stand_behind_the_blocks_that_they_end() -> None:
    call = ToolCall(id="c1", name="look", arguments="{}")
    tools = ReplyOptions(tools=({"type": "function", "function": {"name": "look"}},))
    request = ask(
        messages=(
            _marked("system", "Be brief.\n\nAn editor.", len("Be brief.")),
            _marked("user", "A book\nWhat of it?", len("A book")),
            _marked("user", "Responses from models:"),
            _marked("assistant", "I look", len("I look"), tool_calls=(call,)),
            _marked("tool", "found", len("found"), tool_call_id="c1"),
        ),
        options=tools,
    )

    encoded = encode.fields(request)

    assert faults(request) == ""
    assert encoded["system"] == [{"text": "Be brief."}, POINT, {"text": "\n\nAn editor."}]
    user, assistant, results = encoded["messages"]
    assert user["content"] == [{"text": "A book"}, POINT, {"text": "\nWhat of it?"}, {"text": "Responses from models:"}]
    assert assistant["content"][1:] == [{"toolUse": {"toolUseId": "c1", "name": "look", "input": {}}}, POINT]
    assert results["content"] == [{"toolResult": {"toolUseId": "c1", "content": [{"text": "found"}]}}, POINT]


def test_of_more_than_four_cache_points_the_last_ones_are_sent() -> None:
    talk = [_marked("system", "Be brief.", 9), _marked("user", "one two three", 3, 7)]
    talk += [_marked("assistant", "yes", 3), _marked("user", "four", 4), _marked("user", "five", 4)]

    encoded = encode.fields(ask(messages=tuple(talk)))

    assert encoded["system"] == [{"text": "Be brief."}]
    assert encoded["messages"] == [
        {"role": "user", "content": [{"text": "one two"}, POINT, {"text": " three"}]},
        {"role": "assistant", "content": [{"text": "yes"}, POINT]},
        {"role": "user", "content": [{"text": "four"}, POINT, {"text": "five"}, POINT]},
    ]


HOUR = {"cachePoint": {"type": "default", "ttl": "1h"}}


def _tool(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}, **fields}


def test_a_clients_marks_on_tools_and_calls_become_cache_points_behind_them() -> None:
    marked = _tool("look", cache_control={"type": "ephemeral"})
    call = ToolCall(id="c1", name="look", arguments="{}")
    request = ask(
        messages=(
            _marked("user", "hi"),
            _marked("assistant", "", 0, tool_calls=(call,)),
            _marked("tool", "found", tool_call_id="c1"),
        ),
        options=ReplyOptions(tools=(marked, _tool("find"))),
    )

    encoded = encode.fields(request)

    assert faults(request) == ""
    assert ["cachePoint" in tool for tool in encoded["toolConfig"]["tools"]] == [False, True, False]
    assert encoded["messages"][1]["content"] == [{"toolUse": {"toolUseId": "c1", "name": "look", "input": {}}}, POINT]


def test_a_mark_for_an_hour_is_kept_and_none_for_less_stands_in_front_of_it() -> None:
    # Source: https://github.com/strands-agents/sdk-typescript/pull/1089: times don't grow from the tools to the turns.
    tools = (_tool("look", cache_control={"type": "ephemeral"}),)
    messages = (
        _marked("system", "Be brief.", 9),
        _marked("user", "a book", 6, cache_ttl="1h"),
        _marked("user", "well?", 5),
    )
    request = ask(messages=messages, options=ReplyOptions(tools=tools))

    encoded = encode.fields(request)

    assert faults(request) == ""
    assert encoded["toolConfig"]["tools"][-1] == HOUR
    assert encoded["system"][-1] == HOUR
    assert encoded["messages"] == [{"role": "user", "content": [{"text": "a book"}, HOUR, {"text": "well?"}, POINT]}]


def test_marks_on_tools_are_the_first_to_go_of_more_than_four() -> None:
    tools = (_tool("look", cache_control={"type": "ephemeral"}),)
    talk = tuple(_marked("user", text, len(text)) for text in ("one", "two", "three", "four"))

    encoded = encode.fields(ask(messages=talk, options=ReplyOptions(tools=tools)))

    assert len(encoded["toolConfig"]["tools"]) == 1
    assert str(encoded["messages"]).count("cachePoint") == 4
