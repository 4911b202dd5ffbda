"""Which part of a request a refusal names, in wordings that no list of sentences could foresee."""

from dataclasses import replace
from typing import Any

import pytest

from moa._messages import Message, ReplyOptions, Sampling, TextPart, ToolCall
from moa.providers._base import ModelRequest
from moa.providers._rejections import parts_of, rejections
from moa.providers._reshaping import without

TOOL = {"type": "function", "function": {"name": "f", "parameters": {}, "strict": True}}


def said(role: Any, content: str = "x", **fields: Any) -> Message:
    return Message(role=role, content=content, **fields)


def full(*, deltas: bool = True) -> ModelRequest:
    """A request that has everything which may be refused."""
    return ModelRequest(
        reference="lab/m",
        model="m",
        messages=(
            said("system"),
            said("user", name="bob"),
            said("user"),
            said("assistant", tool_calls=(ToolCall(id="1", name="f", arguments="{}"),)),
            said("tool", tool_call_id="1"),
            said("user"),
            said("assistant"),
        ),
        sampling=Sampling(
            temperature=0.7,
            top_p=0.9,
            top_k=5,
            max_tokens=100,
            seed=1,
            reasoning_effort="minimal",
            stop=("x",),
            extra={
                **{"user": "u", "verbosity": "low", "presence_penalty": 0.1, "frequency_penalty": 0.1},
                **{"safety_identifier": "s", "parallel_tool_calls": True, "min_p": 0.1},
            },
        ),
        options=ReplyOptions(
            tools=(TOOL,), tool_choice="auto", response_format={"type": "json_object"}, top_logprobs=2
        ),
        deltas=deltas,
    )


def likeliest(message: str, *, parameter: str = "", status: int = 400, deltas: bool = True) -> str | None:
    found = rejections(status=status, code="", parameter=parameter, message=message, request=full(deltas=deltas))
    return str(found[0]) if found else None


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("unknown field `reasoning_effort`, expected one of `messages`, `model`, `stream`", "reasoning_effort"),
        ("Additional properties are not allowed ('presence_penalty' was unexpected)", "presence_penalty"),
        ("Input validation error: `seed` is not a valid parameter for this model", "seed"),
        ('invalid request: json: unknown field "user"', "user"),
        ("This model does not support the 'stop' parameter", "stop"),
        ("logprobs is not available for this model. Set logprobs to false.", "logprobs"),
        ("The following parameters are not supported: temperature, top_p", "temperature"),
        ("'seed' is not supported with streaming", "seed beside stream"),
        ("Both `temperature` and `top_p` were provided; please provide only one", "top_p beside temperature"),
        (
            "Function calling with a response mime type: 'application/json' is unsupported",
            "response_format beside tools",
        ),
        ("`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.", "top_p"),
        ("Your request was rejected because temperature is fixed for reasoning models", "temperature"),
        ("max_completion_tokens is not supported, use max_tokens", "max_tokens"),
        ("verbosity: Extra inputs are not permitted", "verbosity"),
        ("Unknown parameter: 'safety_identifier'.", "safety_identifier"),
        ("parallel tool calls are not supported for this model", "parallel_tool_calls"),
        ("tools.0.function.strict: Extra inputs are not permitted", "strict"),
        ("Stream mode is not supported", "stream"),
        ("Penalty is not enabled for models/gemini-2.5-pro", "frequency_penalty"),
        ("* GenerateContentRequest.generation_config.frequency_penalty: it is not supported", "frequency_penalty"),
        ("extra fields not permitted: user", "user"),
        # github.com/strands-agents/harness-sdk/issues/1241
        (
            "This model doesn't support the toolConfig.toolChoice.any field. Remove toolConfig.toolChoice.any",
            "tool_choice",
        ),
        ("This model doesn't support the toolConfig field. Remove toolConfig and try again.", "tools"),
        ("The last message must be from the user", "prefill"),
        ("messages.0.role: Input should be 'user' or 'assistant'", "system"),
        ("Unexpected role 'user' after role 'tool'", "user_after_tool"),
        # github.com/BerriAI/litellm/pull/34569 and github.com/openai/openai-openapi/issues/541: a judge, which has no
        # tools, goes on with its effort
        (
            "Function tools with reasoning_effort are not supported for gpt-5.4 in /v1/chat/completions. "
            "To use function tools, use /v1/responses or set reasoning_effort to 'none'.",
            "default_effort",
        ),
        (
            "Function tools with reasoning_effort are not supported for gpt-5.4 in /v1/chat/completions. "
            "Please use /v1/responses instead.",
            "reasoning_effort beside tools",
        ),
        ("tool_choice 'required' is incompatible with thinking enabled", "tool_choice"),
        ("tool_choice: thinking may not be enabled when it forces tool use.", "reasoning_effort beside tool_choice"),
        ("Cannot use tools with stream", "stream beside tools"),
        # github.com/openclaw/openclaw/issues/10085 and github.com/pydantic/pydantic-ai/issues/3881
        ("thinking is enabled but reasoning_content is missing in assistant tool call message", "thoughts_of_calls"),
        ("The `reasoning_content` in the thinking mode must be passed back to the API.", "thoughts_of_calls"),
        ("Unable to submit request because function call `f` is missing a `thought_signature`.", "thought_signature"),
        ("Function call is missing a thought_signature in functionCall parts.", "thought_signature"),
        ("toolUseId failed to satisfy constraint: Member must satisfy regular expression pattern", "tool_call_id"),
        ("No endpoints found that support tool use.", "tools"),
        # What only the value is wrong of, or what is about something else.
        ("`reasoning_effort` must be one of `none` or `default`", None),
        ("'reasoning_effort' does not support 'minimal' with this model. Supported values are: 'low'", None),
        ("temperature: range: 0..1", None),
        ("Malformed input request: #/inferenceConfig/topP: 2.0 is not less or equal to 1, please reformat it", None),
        ("temperature should be a number", None),
        ("top_p must be in (0, 1], got 0.0", None),
        ("max_tokens is too large: 10000. This model supports at most 4096 completion tokens", None),
        ("The conversation must contain a user message.", None),
        ("this model is not supported", None),
    ],
)
def test_a_refused_part_is_found_by_its_name_and_told_from_a_refused_value(message: str, expected: str | None) -> None:
    assert likeliest(message) == expected


@pytest.mark.parametrize(
    ("path", "message", "expected"),
    [
        ("messages[1].tool_calls[0].id", "string too long. Expected a string with maximum length 40", "tool_call_id"),
        ("messages[1].name", "string does not match pattern", "name"),
        ("body.temperature", "not permitted", "temperature"),
        ("generation_config.seed", "unknown", "seed"),
        ("temperature", "Invalid value", "temperature"),
        ("stream", "Your organization must be verified to stream this model.", "stream"),
    ],
)
def test_a_path_counts_more_than_the_sentence(path: str, message: str, expected: str) -> None:
    found = likeliest(message, parameter=path)
    assert found is not None
    assert found.partition(" beside")[0] == expected


@pytest.mark.parametrize(
    "message",
    [
        # github.com/earendil-works/pi/issues/149 and github.com/BerriAI/litellm/issues/24158
        "litellm.UnsupportedParamsError: Anthropic doesn't support tool calling without `tools=` param specified.",
        "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
    ],
)
def test_calls_in_a_request_without_tools_are_told_as_text(message: str) -> None:
    request = full()
    request = replace(request, options=ReplyOptions(), messages=request.messages[-4:])
    (refused, *_) = rejections(status=400, code="", parameter="", message=message, request=request)
    fewer = without(request, refused.part)

    assert str(refused) == "tool_turns"
    assert fewer is not None
    assert [turn.role for turn in fewer.messages] == ["assistant", "user", "user", "assistant"]
    assert fewer.messages[1].text == "Result of the tool f:\nx"
    assert "tool_turns" not in parts_of(fewer)
    assert likeliest(message) != "tool_turns", "beside tools it is about something else"


@pytest.mark.parametrize(
    "message",
    [
        # github.com/tailcallhq/forgecode/issues/2008: DeepSeek, of a text in parts
        "Failed to deserialize the JSON body: messages[9]: invalid type: sequence, expected a string at line 1",
        "messages.0.content: Input should be a valid string",
    ],
)
def test_a_text_in_parts_is_sent_as_one_where_a_service_takes_nothing_else(message: str) -> None:
    request = replace(full(), messages=(Message(role="user", content=(TextPart(text="a"), TextPart(text="b"))),))
    (refused, *_) = rejections(status=400, code="", parameter="", message=message, request=request)
    fewer = without(request, refused.part)

    assert str(refused) == "content_parts"
    assert fewer is not None
    assert fewer.messages == (Message(role="user", content=request.messages[0].text),)
    assert "content_parts" not in parts_of(fewer)


def test_a_model_that_only_streams_is_asked_for_a_stream() -> None:
    message = "This model only support stream mode, please enable the stream parameter to access the model."

    assert likeliest(message, deltas=False) == "whole"


@pytest.mark.parametrize("status", [401, 429, 503])
def test_other_failures_turn_no_part_down(status: int) -> None:
    assert likeliest("temperature is not supported", status=status) is None


@pytest.mark.parametrize(
    "message",
    [
        "Your API key may not use streaming",
        "You need permission to set temperature",
        "You don't have access to the model with the specified tools",
        "Tool use is not part of your plan",
    ],
)
def test_a_lack_of_rights_turns_no_part_down(message: str) -> None:
    assert likeliest(message, status=403) is None
