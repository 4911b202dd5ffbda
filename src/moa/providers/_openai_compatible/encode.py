"""A request as the JSON body of the chat completions API."""

from collections.abc import Mapping
from typing import Any

import orjson

from moa._messages import ReplyOptions, Sampling, message_dict
from moa.errors import BadRequest
from moa.providers._base import ModelRequest
from moa.providers._openai_compatible.dialect import Dialect

_PLAIN = Dialect()


def encode(request: ModelRequest, dialect: Dialect = _PLAIN) -> bytes:
    """Return the request's JSON body.

    Args:
        request: What to ask.
        dialect: What this model's server is known to reject.

    Raises:
        BadRequest: Something in it can't be written as JSON.
    """
    body = {
        "model": request.model,
        "messages": [message_dict(message) for message in request.messages],
        **dialect.apply(parameters(request)),
        **request.sampling.extra,
    }
    try:
        # Copied, as what orjson gives keeps the room in which it was written: 4 kB for every call that waits.
        return bytes(memoryview(orjson.dumps(body)))
    except TypeError as error:
        raise BadRequest(f"the request can't be written as JSON: {error}", model=request.reference) from error


def parameters(request: ModelRequest) -> dict[str, Any]:
    """Return a request's own fields beside model and messages: not those that the user added as `extra`."""
    fields = _sampling(request.sampling)
    fields |= _options(request.options)
    if request.deltas:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    return fields


def _sampling(sampling: Sampling) -> dict[str, Any]:
    fields = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "max_tokens": sampling.max_tokens,
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
