"""Token counts for when no service has reported any: worst cases before a call, and calls that were cut off."""

from collections.abc import Mapping
from typing import Any

import orjson

from moa._messages import Conversation, ReplyOptions, Sampling, ServiceState
from moa.providers._base import ModelRequest

BYTES_PER_TOKEN = 4
"""UTF-8 bytes per token: the usual rule of thumb for English; scripts of three bytes a character come out near
the 0.7 to 1 token a character that current tokenizers need."""

TOKENS_PER_MESSAGE = 4
"""Role and separators of a message in the common chat templates."""

TOKENS_PER_IMAGE = 1600
"""The most that Anthropic's models count for an image (width x height / 750, resized to 1.15 megapixels)."""


def estimated_tokens(text: str) -> int:
    """Return about how many tokens a text has, rounded up."""
    return tokens_of(size_bytes(text))


def size_bytes(text: str) -> int:
    """Return how many bytes a text has in UTF-8."""
    return len(text.encode("utf-8", "surrogatepass"))


def tokens_of(text_bytes: int) -> int:
    """Return about how many tokens so many bytes of text have, rounded up."""
    return -(-text_bytes // BYTES_PER_TOKEN)


def estimated_conversation_tokens(conversation: Conversation) -> int:
    """Return about how many tokens a conversation has."""
    total = 0
    for message in conversation:
        total += TOKENS_PER_MESSAGE + estimated_tokens(message.text) + TOKENS_PER_IMAGE * len(message.images)
        total += _state_tokens(message.state)
        total += sum(
            estimated_tokens(call.name + call.arguments) + _state_tokens(call.state) for call in message.tool_calls
        )
    return total


def _state_tokens(state: ServiceState | None) -> int:
    return 0 if state is None else tokens_of(json_bytes(state.data))


def estimated_input_tokens(request: ModelRequest) -> int:
    """Return about how many tokens a request's prompt has."""
    return estimated_prompt_tokens(request.messages, request.options)


def estimated_prompt_tokens(conversation: Conversation, options: ReplyOptions) -> int:
    """Return about how many tokens a conversation has, with the tools that are offered and the reply's format."""
    return estimated_conversation_tokens(conversation) + estimated_options_tokens(options)


def estimated_options_tokens(options: ReplyOptions) -> int:
    """Return about how many tokens the tools that are offered and the reply's format add to a prompt."""
    tools = sum(tokens_of(json_bytes(tool)) for tool in options.tools)
    return tools + (tokens_of(json_bytes(options.response_format)) if options.response_format else 0)


def most_extra_tokens(sampling: Sampling) -> tuple[int, int]:
    """Return how many tokens a service's own fields may add to a prompt and to a reply, at most.

    Some services count thoughts apart from `max_tokens`, within a limit that the request sets.
    """
    if not sampling.extra:
        return 0, 0
    thinking = sampling.extra.get("thinking")
    limits = (
        sampling.extra.get("thinking_budget"),
        thinking.get("budget_tokens") if isinstance(thinking, Mapping) else None,
    )
    thoughts = max((limit for limit in limits if isinstance(limit, int)), default=0)
    return tokens_of(json_bytes(sampling.extra)), max(0, thoughts)


def json_bytes(value: Any) -> int:
    """Return how many bytes a value has as JSON, or its `repr` if it is none."""
    try:
        return len(orjson.dumps(value, default=repr, option=orjson.OPT_NON_STR_KEYS))
    except TypeError:
        return size_bytes(repr(value))
