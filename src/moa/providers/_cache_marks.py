"""Marks that tell a service what to keep in its prompt cache: as many as services take, in an order that they take."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from moa._messages import Conversation, Message, TextPart, message_dict
from moa.providers._base import ModelRequest

HOUR = "1h"
"""The longer of the two times for which services keep a prompt; the usual one is five minutes."""

MOST_MARKS = 4
"""Marks that a request may have. Sources: the guides to prompt caching of Amazon Bedrock and of Anthropic."""

Tools = tuple[Mapping[str, Any], ...]


def tool_mark(tool: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the `cache_control` of a tool in the OpenAI API's shape, None if it has none."""
    mark = tool.get("cache_control")
    return mark if isinstance(mark, Mapping) and mark else None


def without_tool_marks(tools: Tools) -> Tools:
    """Return the tools without their `cache_control`."""
    if not any("cache_control" in tool for tool in tools):
        return tools
    return tuple({name: value for name, value in tool.items() if name != "cache_control"} for tool in tools)


def with_marks_that_fit(messages: Conversation, tools: Tools) -> tuple[Conversation, Tools]:
    """Return a conversation and its tools with the last marks alone: what they cache includes what earlier ones would.

    A prompt is cached as its tools, its system texts and its turns, in this order. Services refuse a longer time
    behind a shorter one, so a mark in front of one for an hour is for an hour too.
    """
    left, for_an_hour = MOST_MARKS, False
    marked: list[Message] = []
    for message in reversed(messages):
        if message.cache_points:
            points = tuple(sorted(message.cache_points)[max(len(message.cache_points) - left, 0) :]) if left else ()
            left -= len(points)
            for_an_hour = for_an_hour or (bool(points) and message.cache_ttl == HOUR)
            message = replace(message, cache_points=points, cache_ttl=HOUR if for_an_hour else None)
        marked.append(message)
    marked_tools: list[Mapping[str, Any]] = []
    for tool in reversed(tools):
        if (mark := tool_mark(tool)) is not None:
            (tool,) = without_tool_marks((tool,))
            for_an_hour = for_an_hour or mark.get("ttl") == HOUR
            if left:
                tool = {**tool, "cache_control": cache_control(HOUR if for_an_hour else None)}
                left -= 1
        marked_tools.append(tool)
    return tuple(reversed(marked)), tuple(reversed(marked_tools))


def cache_control(ttl: str | None) -> dict[str, str]:
    """Return a mark as Anthropic's API writes it, and routers that pass it on."""
    return {"type": "ephemeral", **({"ttl": ttl} if ttl else {})}


def marked_content(message: Message) -> list[dict[str, Any]]:
    """Return a message's content as parts in the OpenAI API's shape, each that ends at a cache point marked."""
    content, mark = message.content, cache_control(message.cache_ttl)
    if not isinstance(content, str):
        parts: list[dict[str, Any]] = message_dict(message)["content"]
        return [
            part | {"cache_control": mark} if at in message.cache_points else part for at, part in enumerate(parts, 1)
        ]
    found, start = [], 0
    for end in sorted({*message.cache_points, len(content)}):
        if content[start:end].strip():
            (part,) = message_dict(Message(role="user", content=(TextPart(text=content[start:end]),)))["content"]
            found.append(part | {"cache_control": mark} if end in message.cache_points else part)
        start = end
    return found


def asks_for_an_hour(request: ModelRequest) -> bool:
    """Return whether every mark of a request asks for an hour, so that all it writes is kept for one."""
    ttls = [message.cache_ttl for message in request.messages if message.cache_points]
    ttls += [mark.get("ttl") for tool in request.options.tools if (mark := tool_mark(tool)) is not None]
    return bool(ttls) and all(ttl == HOUR for ttl in ttls)
