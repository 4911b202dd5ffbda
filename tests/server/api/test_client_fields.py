"""What clients send beyond a plain conversation: taken, passed on, translated, or refused with what to do about it."""

import base64
import json
from typing import Any

import pytest

from moa._messages import ImagePart, TextPart
from moa._server.api.apis import APIS, CHAT, MESSAGES, RESPONSES, Api, meant_api
from moa._server.api.request import ApiRequest
from moa._server.http.errors import RequestError
from tests.support.model_server import Text
from tests.support.served import HELLO, ServedModel, served

PNG = base64.b64encode(b"\x89PNG").decode()
FUNCTION = {"name": "look", "parameters": {"type": "object", "properties": {}}}
WEATHER = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}


def chat(**fields: Any) -> ApiRequest:
    return CHAT.read({"model": "m", "messages": HELLO, **fields})


def responses(**fields: Any) -> ApiRequest:
    return RESPONSES.read({"model": "m", "input": "Hi", **fields})


def messages(**fields: Any) -> ApiRequest:
    return MESSAGES.read({"model": "m", "max_tokens": 9, "messages": HELLO, **fields})


RESULT = {"role": "tool", "tool_call_id": "c", "content": "seen"}


def turns(request: ApiRequest) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in request.messages]


@pytest.mark.parametrize(
    ("thinking", "effort"),
    [
        ({"type": "adaptive"}, None),
        ({"type": "adaptive", "display": "summarized"}, None),
        ({"type": "between_tools"}, None),
        ({"type": "disabled"}, None),
        ({"type": "enabled", "budget_tokens": 1024}, "low"),
        ({"type": "enabled", "budget_tokens": 10_000, "display": "omitted"}, "medium"),
        ({"type": "enabled", "budget_tokens": 31_999}, "high"),
    ],
)
def test_thinking_becomes_an_effort_or_nothing(thinking: dict[str, Any], effort: str | None) -> None:
    assert messages(thinking=thinking).sampling.reasoning_effort == effort
    assert messages(thinking=thinking, output_config={"effort": "max"}).sampling.reasoning_effort == "max"


def test_claude_codes_own_fields_are_taken_and_a_long_user_is_told_by_its_hash() -> None:
    request = messages(
        thinking={"type": "adaptive"},
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        metadata={"user_id": "u" * 200},
        system=[{"type": "text", "text": "Be brief", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        output_config={"effort": "high", "task_budget": {"type": "tokens", "total": 9}},
        tools=[{**WEATHER, "eager_input_streaming": True, "defer_loading": False, "input_examples": [{}]}],
    )

    assert turns(request)[0] == ("system", "Be brief")
    assert request.sampling.reasoning_effort == "high"
    assert len(request.sampling.extra["user"]) == 64
    assert request.echo == {"context_management": {"applied_edits": []}}
    assert request.options.tools[0]["function"].keys() == {"name", "parameters"}


def test_images_in_a_tools_result_stay_in_it_and_documents_become_text() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": PNG}
    request = messages(
        messages=[
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {}}]},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "seen"}, image]},
                    {
                        "type": "document",
                        "title": "Notes",
                        "source": {"type": "text", "data": "Ten", "media_type": "a/b"},
                    },
                    {"type": "document", "title": "Plan", "source": pdf},
                    {
                        "type": "search_result",
                        "source": "https://a.test",
                        "title": "A page",
                        "content": [{"type": "text", "text": "found"}],
                    },
                ],
            },
        ]
    )

    result, user = request.messages[1:]
    assert (result.role, result.text, result.tool_call_id) == ("tool", "seen", "t1")
    assert [type(part) for part in result.content] == [TextPart, ImagePart]
    assert user.role == "user"
    assert "Notes:\n\nTen" in user.text
    assert "can't be shown to you: Plan, application/pdf, 4 bytes" in user.text
    assert "A page (https://a.test):\n\nfound" in user.text


def test_results_of_calls_made_at_once_stay_together_though_one_is_an_image() -> None:
    # Services want all results of a turn right behind its calls.
    calls = [{"type": "function_call", "call_id": name, "name": "look", "arguments": "{}"} for name in "ab"]
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}
    results = [
        {"type": "function_call_output", "call_id": name, "output": output}
        for name, output in (("a", [image]), ("b", "seen"))
    ]

    conversation = responses(input=[{"role": "user", "content": "Hi"}, *calls, *results]).messages

    assert [message.role for message in conversation] == ["user", "assistant", "tool", "tool"]
    assert [part.data for part in conversation[2].images] == [b"\x89PNG"]


def test_earlier_thoughts_are_shown_to_no_model_and_a_servers_tool_results_as_text() -> None:
    request = messages(
        messages=[
            *HELLO,
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "secret", "signature": "s"},
                    {"type": "redacted_thinking", "data": "x"},
                    {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "tea"}},
                    {
                        "type": "web_search_tool_result",
                        "tool_use_id": "s1",
                        "content": [
                            {
                                "type": "web_search_result",
                                "title": "Tea",
                                "url": "https://t.test",
                                "encrypted_content": "E",
                            }
                        ],
                    },
                    {"type": "text", "text": "Tea it is", "citations": None},
                ],
            },
            {"role": "user", "content": "Go on"},
        ]
    )

    [said] = [message.text for message in request.messages if message.role == "assistant"]
    assert "secret" not in said
    assert "https://t.test" in said
    assert "encrypted_content" not in said
    assert said.endswith("Tea it is")


def test_a_system_message_in_mid_conversation_is_shown_until_it_is_to_be_cleared() -> None:
    conversation = [
        {"role": "user", "content": "One"},
        {"role": "system", "content": "For now", "clear_at": "next_user_message"},
        {"role": "system", "content": [{"type": "text", "text": "For good"}]},
    ]
    now = messages(messages=conversation)
    later = messages(messages=[*conversation, {"role": "user", "content": "Two"}])

    assert "For now" in [text for _, text in turns(now)]
    assert [text for _, text in turns(later)] == ["One", "For good", "Two"]


def test_calls_of_one_turn_become_one_message_with_the_text_before_them() -> None:
    def call(identity: str) -> dict[str, Any]:
        return {"type": "function_call", "call_id": identity, "name": "look", "arguments": "{}"}

    def output(identity: str) -> dict[str, Any]:
        return {"type": "function_call_output", "call_id": identity, "output": identity}

    request = responses(
        input=[
            {"role": "user", "content": "Look twice"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "E"},
            call("c1"),
            call("c2"),
            output("c1"),
            output("c2"),
        ]
    )

    assert [(message.role, len(message.tool_calls)) for message in request.messages] == [
        ("user", 0),
        ("assistant", 2),
        ("tool", 0),
        ("tool", 0),
    ]
    assert request.messages[1].text == "I look"


def test_codexs_own_fields_are_taken_and_its_tools_translated() -> None:
    request = responses(
        include=["reasoning.encrypted_content"],
        client_metadata={"session_id": "s"},
        prompt_cache_key="k",
        prompt_cache_options={"mode": "explicit"},
        reasoning={"effort": "medium", "summary": "auto", "context": "all_turns"},
        tools=[
            {"type": "function", **FUNCTION, "strict": False, "async": False},
            {
                "type": "custom",
                "name": "apply_patch",
                "description": "Change files",
                "format": {"type": "grammar", "syntax": "lark", "definition": "start: WORD"},
            },
            {"type": "namespace", "name": "mcp__docs", "description": "d", "tools": [{"type": "function", **FUNCTION}]},
            {"type": "web_search", "external_web_access": False},
        ],
    )

    names = [tool["function"]["name"] for tool in request.options.tools]
    assert names == ["look", "apply_patch", "mcp__docs__look"]
    custom = request.options.tools[1]["function"]["parameters"]["properties"]["input"]["description"]
    assert "lark grammar" in custom
    assert "start: WORD" in custom
    assert request.sampling.extra == {"prompt_cache_key": "k", "prompt_cache_options": {"mode": "explicit"}}
    assert request.tools.original("mcp__docs__look").namespace == "mcp__docs"


def test_anthropics_tools_that_the_client_runs_become_functions() -> None:
    request = messages(
        tools=[
            {"type": "bash_20250124", "name": "bash"},
            {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool", "max_characters": 9},
            {"type": "memory_20250818", "name": "memory", "cache_control": {"type": "ephemeral"}},
        ]
    )

    functions = [tool["function"] for tool in request.options.tools]
    assert [function["name"] for function in functions] == ["bash", "str_replace_based_edit_tool", "memory"]
    assert all("command" in function["parameters"]["properties"] for function in functions)
    with pytest.raises(RequestError, match=r"tools\.0\.input_schema"):
        messages(tools=[{"name": "bare"}])


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
async def test_custom_and_namespace_tools_come_back_as_the_client_knows_them(stream: bool) -> None:
    calls = (
        {
            "index": 0,
            "id": "c1",
            "function": {"name": "patch", "arguments": json.dumps({"input": "*** a\n"})},
        },
        {"index": 1, "id": "c2", "function": {"name": "docs__look", "arguments": '{"at": 1}'}},
    )
    tools: Any = [
        {"type": "custom", "name": "patch"},
        {"type": "namespace", "name": "docs", "description": "d", "tools": [{"type": "function", **FUNCTION}]},
    ]
    asked: Any = {"model": "moa/solo", "input": "Patch", "tools": tools}
    async with served() as server:
        server.upstream.behave("writer", Text("", tool_calls=calls, finish="tool_calls"))
        if stream:
            async with server.openai.responses.stream(**asked) as events:
                kinds = [event.type async for event in events]
                reply: Any = await events.get_final_response()
            assert "response.custom_tool_call_input.done" in kinds
        else:
            reply = await server.openai.responses.create(**asked)
        patch, look = reply.output
        outputs = [
            patch.model_dump(exclude_none=True),
            look.model_dump(exclude_none=True),
            {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "seen"}]},
        ]
        server.upstream.behave("writer", Text("fine"))
        again: Any = [{"role": "user", "content": "Patch"}, *outputs]
        await server.openai.responses.create(**{**asked, "input": again})
        sent = server.upstream.requests[-1].body["messages"]

    assert (patch.type, patch.call_id, patch.name, patch.input) == ("custom_tool_call", "c1", "patch", "*** a\n")
    assert (look.type, look.namespace, look.name, look.arguments) == ("function_call", "docs", "look", '{"at": 1}')
    arguments = [json.loads(call["function"]["arguments"]) for call in sent[1]["tool_calls"]]
    assert arguments == [{"input": "*** a\n"}, {"at": 1}]
    assert [call["function"]["name"] for call in sent[1]["tool_calls"]] == ["patch", "docs__look"]
    assert [turn["role"] for turn in sent] == ["user", "assistant", "tool", "tool"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_custom_tool_of_chat_completions_comes_back_as_one(stream: bool) -> None:
    call = {"index": 0, "id": "c1", "function": {"name": "patch", "arguments": '{"input": "*** a"}'}}
    body: Any = {
        "model": "moa/solo",
        "messages": HELLO,
        "tools": [{"type": "custom", "custom": {"name": "patch", "format": {"type": "text"}}}],
        "tool_choice": {"type": "custom", "custom": {"name": "patch"}},
        "stream": stream,
    }
    async with served() as server:
        server.upstream.behave("writer", Text("", tool_calls=(call,), finish="tool_calls"))
        async with server.http.post(f"{server.url}/v1/chat/completions", json=body) as response:
            text = await response.text()

    expected = '"type":"custom","custom":{"name":"patch","input":"*** a"}'
    assert text.count(expected) == 1
    assert '"arguments"' not in text
    assert server.upstream.requests[0].body["tool_choice"] == {"type": "function", "function": {"name": "patch"}}


def test_the_tools_that_a_request_allows_are_the_only_ones_shown() -> None:
    tools = [{"type": "function", "name": name, "parameters": {}} for name in ("a", "b")]
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "b"}]}
    of_responses = responses(tools=tools, tool_choice=choice)
    chat_tools = [{"type": "function", "function": {"name": name}} for name in ("a", "b")]
    chat_choice = {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "b"}}]},
    }
    of_chat = chat(tools=chat_tools, tool_choice=chat_choice)

    for request in (of_responses, of_chat):
        assert [tool["function"]["name"] for tool in request.options.tools] == ["b"]
        assert request.options.tool_choice == "required"


def test_calls_without_a_type_and_addresses_of_images_as_plain_text_are_understood() -> None:
    request = chat(
        messages=[
            {"role": "user", "content": [{"type": "image_url", "image_url": f"data:image/png;base64,{PNG}"}]},
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "look", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "seen"}]},
        ]
    )

    assert request.messages[0].images[0].data == b"\x89PNG"
    assert request.messages[1].tool_calls[0].name == "look"
    assert request.messages[2].text == "seen"


def test_other_clients_keys_in_messages_and_tools_are_taken() -> None:
    request = chat(
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]},
            {
                "role": "assistant",
                "content": None,
                "reasoning_details": [{"type": "reasoning.text", "text": "hm"}],
                "reasoning": "hm",
                "annotations": [{"type": "url_citation"}],
                "provider_specific_fields": {"x": 1},
                "tool_calls": [
                    {"id": "c", "index": 0, "type": "function", "function": {"name": "look", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "tool_call_id": "c", "name": "look", "content": "seen"},
        ],
        tools=[{"type": "function", "function": FUNCTION, "cache_control": {"type": "ephemeral"}}],
        top_logprobs=0,
        function_call=None,
        store=True,
        metadata={"a": "b"},
        stream_options=None,
    )

    assert turns(request) == [("user", "Hi"), ("assistant", ""), ("tool", "seen")]


@pytest.mark.parametrize(
    ("api", "body", "meant"),
    [
        (CHAT, {"model": "m", "input": "Hi"}, RESPONSES),
        (CHAT, {"model": "m", "max_tokens": 9, "system": "s", "messages": HELLO}, MESSAGES),
        (RESPONSES, {"model": "m", "messages": HELLO, "temperature": 1}, CHAT),
        (MESSAGES, {"model": "m", "messages": HELLO, "max_completion_tokens": 9}, CHAT),
        (MESSAGES, {"model": "m", "input": "Hi", "max_output_tokens": 9}, RESPONSES),
        (CHAT, {"model": "m", "messages": HELLO, "max_tokens": 9}, None),
        (MESSAGES, {"model": "m", "messages": HELLO, "max_tokens": 9}, None),
        (CHAT, {"model": "m", "messages": HELLO, "colour": 1}, None),
    ],
)
def test_a_request_in_another_apis_shape_is_known_by_its_fields(
    api: Api, body: dict[str, Any], meant: Api | None
) -> None:
    assert meant_api(api, body) is meant


async def test_a_request_in_another_apis_shape_gets_the_right_address(shared: ServedModel) -> None:
    status, reply = await shared.post("/v1/chat/completions", {"model": "moa/solo", "input": "Hi"})

    assert (status, reply["error"]["code"]) == (400, "wrong_api")
    assert "send it to /v1/responses" in reply["error"]["message"]


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.path)
def test_an_unknown_key_is_refused_with_the_nearest_one(api: Api) -> None:
    required = {"messages": HELLO, "input": "Hi", "max_tokens": 9}
    body = {"model": "m", **{name: required[name] for name in api.required}, "temperatur": 1}

    with pytest.raises(RequestError, match="did you mean 'temperature'"):
        api.read(body)


def test_cache_marks_on_tools_are_carried_whatever_the_api_and_the_kind_of_tool() -> None:
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    free_text = {"name": "patch", "description": "Apply a patch"}
    inner = {"type": "function", **FUNCTION, **mark}

    requests = [
        chat(tools=[{"type": "function", "function": FUNCTION, **mark}]),
        chat(tools=[{"type": "function", "function": {**FUNCTION, **mark}}]),
        chat(tools=[{"type": "custom", "custom": free_text, **mark}]),
        responses(tools=[inner]),
        responses(tools=[{"type": "custom", **free_text, **mark}]),
        responses(tools=[{"type": "namespace", "name": "files", "tools": [inner]}]),
    ]

    for request in requests:
        [tool] = request.options.tools
        assert tool["cache_control"] == mark["cache_control"]
        assert "cache_control" not in tool["function"]


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        # JSON Schema, 6.3: a number whose fraction is zero is an integer. https://github.com/gpustack/gpustack/issues/4057
        ({"max_tokens": 100.0, "seed": 7.0, "top_k": 40.0}, (100, 40, 7)),
        # https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/1829: -1 is "no limit" at local servers.
        ({"max_tokens": -1, "top_k": -1, "seed": -1}, (None, None, -1)),
        ({"max_completion_tokens": -1.0}, (None, None, None)),
    ],
)
def test_numbers_mean_what_other_servers_take_them_for(sent: dict[str, Any], meant: tuple[Any, ...]) -> None:
    request = chat(**sent)

    assert (request.sampling.max_tokens, request.sampling.top_k, request.seed) == meant


@pytest.mark.parametrize("field", ["max_tokens", "seed"])
@pytest.mark.parametrize("value", [0.5, "100", True, 1e30])
def test_what_is_no_whole_number_is_refused(field: str, value: object) -> None:
    with pytest.raises(RequestError) as caught:
        chat(**{field: value})
    assert caught.value.param == field


@pytest.mark.parametrize(
    "sent",
    [
        {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
        {"type": "json_schema", "schema": {"type": "object"}},
    ],
)
def test_a_schema_without_a_name_is_taken_as_local_servers_take_it(sent: dict[str, Any]) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}

    assert chat(response_format=sent).options.response_format == wanted
    assert (
        responses(text={"format": {"type": "json_schema", "schema": {"type": "object"}}}).options
        == chat(response_format=sent).options
    )


@pytest.mark.parametrize("arguments", [None, "", " ", {}])
def test_a_call_without_arguments_is_an_empty_object_for_the_service(arguments: object) -> None:
    # https://github.com/agno-agi/agno/issues/10254: empty, null or an object in place of its text.
    function = {"name": "look"} | ({} if arguments is None else {"arguments": arguments})
    block = {"type": "tool_use", "id": "c", "name": "look", "input": arguments}
    requests = [
        chat(messages=[*HELLO, {"role": "assistant", "tool_calls": [{"id": "c", "function": function}]}, RESULT]),
        messages(
            messages=[
                *HELLO,
                {"role": "assistant", "content": [block]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "seen"}]},
            ]
        ),
    ]

    item = {"type": "function_call", "call_id": "c", **function}
    result = {"type": "function_call_output", "call_id": "c", "output": "seen"}
    requests.append(responses(input=[{"role": "user", "content": "Hi"}, item, result]))

    for request in requests:
        assert [call.arguments for call in request.messages[1].tool_calls] == ["{}"]


def test_arguments_may_be_an_object() -> None:
    call = {"id": "c", "function": {"name": "look", "arguments": {"at": "é"}}}
    request = chat(messages=[*HELLO, {"role": "assistant", "tool_calls": [call]}, RESULT])

    assert request.messages[1].tool_calls[0].arguments == '{"at":"é"}'


def test_parameters_of_local_servers_are_passed_on_and_what_only_their_replies_show_is_left_out() -> None:
    sent = {"ignore_eos": True, "dry_multiplier": 0.8, "continue_final_message": True, "timings_per_token": True}

    assert chat(**sent).sampling.extra == {
        "ignore_eos": True,
        "dry_multiplier": 0.8,
        "continue_final_message": True,
    }


@pytest.mark.parametrize("api", [CHAT, RESPONSES, MESSAGES], ids=lambda api: api.name)
def test_a_field_that_is_null_asks_for_nothing(api: Api) -> None:
    prompt = {"input": "Hi"} if api is RESPONSES else {"messages": HELLO, "max_tokens": 9}

    assert api.read({"model": "m", **prompt, "not_a_field": None}).model == "m"
