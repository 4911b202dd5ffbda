"""A request without a part that its service turns down: left out, written in another way, or not at all."""

from collections.abc import Iterable
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from moa.errors import Rejection
from moa.providers._base import ModelRequest
from moa.providers._cache_marks import cache_control, tool_mark, without_tool_marks
from moa.providers._conversations import RESHAPED, normal_form

_SAMPLING = frozenset({"temperature", "top_p", "top_k", "seed", "reasoning_effort"})
_WRITTEN_OTHERWISE = frozenset(
    {"max_tokens", "stream_options", "null_content", "thought_signature", "thoughts_of_calls"}
)
"""Parts that a provider's encoder avoids by itself when they are in `ModelRequest.avoid`."""

HINTS = frozenset(
    {
        *("user", "metadata", "store", "safety_identifier", "verbosity", "prediction", "parallel_tool_calls"),
        *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "client_metadata", "cache_control"),
    }
)
"""Fields of `extra` that can't change what the answer means: advice to the service, or notes for its records."""

_TUNING = frozenset(
    {
        *("presence_penalty", "frequency_penalty", "repetition_penalty", "repeat_penalty", "length_penalty"),
        *("min_p", "typical_p", "top_a", "min_tokens", "mirostat", "tfs_z", "ignore_eos"),
    }
)
"""Fields of `extra` that tune the sampling, as temperature does."""


_CACHE_MARKS = frozenset({"cache_ttl", "tool_cache_points", "cache_points"})
"""Advice to a service's prompt cache: its time, the marks on tools, all of it."""


def without(request: ModelRequest, part: str) -> ModelRequest | None:
    """Return the request without a part; None if it would then be another question than the one that was asked.

    Tools, a response format that isn't declared as optional, stop texts and fields of the user's own are never left
    out. `max_tokens` is not left out either: it gets its other name.
    """
    sampling = request.sampling
    if part in _SAMPLING:
        fewer: dict[str, Any] = {part: None}
        return replace(request, sampling=replace(sampling, **fewer))
    if part == "default_effort":
        return replace(request, sampling=replace(sampling, reasoning_effort="none"))
    if part in sampling.extra:
        if not _is_droppable(part, sampling.extra[part]):
            return None
        extra = {name: value for name, value in sampling.extra.items() if name != part}
        return replace(request, sampling=replace(sampling, extra=MappingProxyType(extra)))
    if part in RESHAPED:
        return replace(request, messages=RESHAPED[part](normal_form(request.messages)))
    if part in _CACHE_MARKS:
        return _with_fewer_marks(request, part)
    if part in _WRITTEN_OTHERWISE:
        return None if part in request.avoid else replace(request, avoid=request.avoid | {part})
    return _with_other_options(request, part)


def _with_other_options(request: ModelRequest, part: str) -> ModelRequest | None:
    options = request.options
    match part:
        case "stream":
            return replace(request, deltas=False)
        case "whole":
            return replace(request, deltas=True)
        case "logprobs":
            return replace(request, options=replace(options, top_logprobs=None))
        case "strict":
            return replace(request, options=replace(options, tools=tuple(map(_lenient, options.tools))))
        case "tool_choice" if options.tool_choice == "auto":
            return replace(request, options=replace(options, tool_choice=None))
        case "response_format" if options.format_is_optional:
            return replace(request, options=replace(options, response_format=None))
    return None


def _with_fewer_marks(request: ModelRequest, part: str) -> ModelRequest:
    options, messages = request.options, request.messages
    if part == "cache_ttl":
        messages = tuple(replace(message, cache_ttl=None) for message in messages)
        tools = tuple(
            {**tool, "cache_control": cache_control(None)} if tool_mark(tool) else tool for tool in options.tools
        )
        return replace(request, messages=messages, options=replace(options, tools=tools))
    if part == "cache_points":
        messages = tuple(replace(message, cache_points=(), cache_ttl=None) for message in messages)
    return replace(request, messages=messages, options=replace(options, tools=without_tool_marks(options.tools)))


def without_all(request: ModelRequest, rejections: Iterable[Rejection]) -> ModelRequest:
    """Return the request without several parts, as far as it can do without them."""
    for rejection in rejections:
        request = without(request, rejection.part) or request
    return request


def _is_droppable(field: str, value: object) -> bool:
    if field == "service_tier":
        # Another tier than the usual one has another price.
        return value in ("auto", "default", "standard")
    return field in HINTS or field in _TUNING


def _lenient(tool: Any) -> Any:
    function = tool.get("function")
    if not isinstance(function, dict) or "strict" not in function:
        return tool
    return {**tool, "function": {name: value for name, value in function.items() if name != "strict"}}
