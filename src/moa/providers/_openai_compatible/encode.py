"""A request as the JSON body of the chat completions API."""

from collections.abc import Mapping
from typing import Any

import orjson

from moa._messages import Conversation, ReplyOptions, Sampling, message_dict
from moa.errors import BadRequest
from moa.providers._base import ModelRequest
from moa.providers._conversations import normal_form, with_images_behind_results


def encode(request: ModelRequest) -> bytes:
    """Return the request's JSON body.

    Raises:
        BadRequest: Something in it can't be written as JSON.
    """
    fields = _sampling(request.sampling, request.avoid) | _options(request.options)
    if request.deltas:
        fields["stream"] = True
        if "stream_options" not in request.avoid:
            fields["stream_options"] = {"include_usage": True}
    body = {
        "model": request.model,
        "messages": _messages(request.messages, request.avoid),
        **fields,
        **request.sampling.extra,
    }
    try:
        # Copied, as what orjson gives keeps the room in which it was written: 4 kB for every call that waits.
        return bytes(memoryview(orjson.dumps(body)))
    except TypeError as error:
        raise BadRequest(f"the request can't be written as JSON: {error}", model=request.reference) from error


def _messages(conversation: Conversation, avoid: frozenset[str]) -> list[dict[str, Any]]:
    messages = [message_dict(message) for message in with_images_behind_results(normal_form(conversation))]
    if "null_content" in avoid:
        for message in messages:
            message["content"] = message["content"] or ""
    return messages


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
