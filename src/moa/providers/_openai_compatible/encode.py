"""A request as the JSON body of the chat completions API."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from moa._messages import ReplyOptions, Sampling, message_dict
from moa.errors import BadRequest
from moa.providers._base import ModelRequest
from moa.providers._cache_marks import marked_content, with_marks_that_fit, without_tool_marks
from moa.providers._conversations import normal_form, with_images_behind_results
from moa.providers._lenient_json import dumps
from moa.providers._service_state import ServiceState, owner_of


def encode(request: ModelRequest, *, takes_cache_control: bool = False) -> bytes:
    """Return the request's JSON body.

    Args:
        request: What is asked.
        takes_cache_control: Whether cache marks are sent, as `cache_control` of parts and tools.

    Raises:
        BadRequest: Something in it can't be written as JSON.
    """
    messages, tools = request.messages, request.options.tools
    if takes_cache_control:
        messages, tools = with_marks_that_fit(messages, tools)
    else:
        tools = without_tool_marks(tools)
    if messages is not request.messages or tools is not request.options.tools:
        request = replace(request, messages=messages, options=replace(request.options, tools=tools))
    fields = _sampling(request.sampling, request.avoid) | _options(request.options)
    if request.deltas:
        fields["stream"] = True
        if "stream_options" not in request.avoid:
            fields["stream_options"] = {"include_usage": True}
    body = {
        "model": request.model,
        "messages": _messages(request, marks=takes_cache_control),
        **fields,
        **request.sampling.extra,
    }
    try:
        return dumps(body)
    except TypeError as error:
        raise BadRequest(f"the request can't be written as JSON: {error}", model=request.reference) from error


_OF_MESSAGES = ("reasoning_content", "reasoning_details")
_OF_CALLS = ("extra_content",)
"""Fields that a service hangs on its messages and tool calls: nothing else of a state is sent, it may be forged."""


def _messages(request: ModelRequest, *, marks: bool) -> list[dict[str, Any]]:
    owner, avoid, messages = owner_of(request.reference), request.avoid, []
    for message in with_images_behind_results(normal_form(request.messages)):
        fields = message_dict(message)
        if marks and message.cache_points and (content := marked_content(message)):
            fields["content"] = content
        if message.role == "assistant":
            fields |= _own_fields(message.state, owner, _OF_MESSAGES)
            for call, its_fields in zip(message.tool_calls, fields.get("tool_calls", ()), strict=True):
                its_fields |= _own_fields(call.state, owner, _OF_CALLS)
            _put_placeholders(fields, avoid)
        if "null_content" in avoid:
            fields["content"] = fields["content"] or ""
        messages.append(fields)
    return messages


_UNSIGNED = {"google": {"thought_signature": "skip_thought_signature_validator"}}
"""For calls that another model made. Source: Gemini's guide to thought signatures."""
_THOUGHT_NOTHING = " "
"""The thoughts of a call that another model made: DeepSeek and Moonshot want some, and DeepSeek no empty ones."""


def _put_placeholders(message: dict[str, Any], avoid: frozenset[str]) -> None:
    """Put what a service would have hung on its own calls on those of others; of several, Gemini signs the first."""
    if calls := message.get("tool_calls"):
        if "thought_signature" in avoid:
            calls[0].setdefault("extra_content", _UNSIGNED)
        if "thoughts_of_calls" in avoid:
            message.setdefault("reasoning_content", _THOUGHT_NOTHING)


def _own_fields(state: ServiceState | None, owner: str, names: tuple[str, ...]) -> dict[str, Any]:
    """What the service wants back of its own; another's state is nothing to it."""
    if state is None or state.owner != owner:
        return {}
    return {name: state.data[name] for name in names if name in state.data}


def _sampling(sampling: Sampling, avoid: frozenset[str]) -> dict[str, Any]:
    fields = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        # Reasoning models of OpenAI's know only the second name, most other servers only the first.
        "max_completion_tokens" if "max_tokens" in avoid else "max_tokens": sampling.max_tokens,
        "stop": list(sampling.stop) or None,
        "seed": sampling.seed,
        "reasoning_effort": sampling.reasoning_effort,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _options(options: ReplyOptions) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if options.tools:
        fields["tools"] = [dict(tool) for tool in options.tools]
    if options.tool_choice is not None:
        fields["tool_choice"] = _plain(options.tool_choice)
    if options.response_format is not None:
        fields["response_format"] = _plain(options.response_format)
    if options.top_logprobs is not None:
        fields |= {"logprobs": True, "top_logprobs": options.top_logprobs}
    return fields


def _plain(value: str | Mapping[str, Any]) -> str | dict[str, Any]:
    return value if isinstance(value, str) else dict(value)
