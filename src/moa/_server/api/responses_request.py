"""Requests of OpenAI's Responses API: every field is honoured, passed to the aggregator, or refused by name."""

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, WithJsonSchema

from moa._messages import ReplyOptions, Sampling
from moa._server.api.openai_request import IGNORED_HERE, OpenAIRequest, StreamOptions, Tokens, Verbosity
from moa._server.api.request import ApiRequest, parse_messages
from moa._server.api.request_model import RequestModel, parse
from moa._server.http.errors import RequestError

LOGPROBS = "message.output_text.logprobs"

Input = Annotated[
    Any, WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "object"}}]})
]
"""Text, or items."""


class FunctionTool(RequestModel):
    """A function that the model may call; tools that run at OpenAI are not supported."""

    type: Literal["function"]
    name: Annotated[str, Field(min_length=1)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Reasoning(RequestModel):
    """How much the model thinks."""

    effort: str | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class TextConfig(RequestModel):
    """How the text has to be."""

    format: dict[str, Any] | None = None
    verbosity: Verbosity | None = None


class ResponsesRequest(OpenAIRequest):
    """The body. What mixtures can't do is in `refused`."""

    refused: ClassVar[Mapping[str, tuple[Collection[object], str]]] = {
        "background": ((False,), "the answer is given at once"),
        "conversation": ((), IGNORED_HERE),
        "previous_response_id": ((), f"{IGNORED_HERE}: send the whole conversation"),
        "prompt": ((), IGNORED_HERE),
        "store": ((False,), IGNORED_HERE),
        "truncation": (("disabled",), "nothing is left out silently"),
        "max_tool_calls": ((), "tools are run by the client"),
        "moderation": ((), "use a service of its own"),
        "context_management": (([],), "the client decides what it sends"),
        "prompt_cache_options": (({},), "each service caches in its own way"),
    }

    input: Input
    instructions: str | None = None
    max_output_tokens: Tokens | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: Annotated[
        Any,
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string", "enum": ["none", "auto", "required"]},
                    {
                        "type": "object",
                        "properties": {"type": {"const": "function"}, "name": {"type": "string"}},
                        "required": ["type", "name"],
                        "additionalProperties": False,
                    },
                    {"type": "null"},
                ]
            }
        ),
    ] = None
    text: TextConfig | None = None
    reasoning: Reasoning | None = None
    include: list[Literal["message.output_text.logprobs"]] | None = None
    metadata: dict[str, str] | None = None
    stream_options: StreamOptions | None = None


def read_responses_request(body: bytes) -> ApiRequest:
    """Return what a request asks.

    Raises:
        RequestError: It can't be honoured; names the field.
    """
    request = parse(ResponsesRequest, body)
    text = request.text or TextConfig()
    logprobs = LOGPROBS in (request.include or ()) or request.top_logprobs is not None
    return ApiRequest(
        model=request.model,
        messages=parse_messages([*_instructions(request), *_turns(request.input)], param="input"),
        sampling=Sampling(
            temperature=request.temperature,
            top_p=request.top_p,
            max_tokens=request.max_output_tokens,
            reasoning_effort=request.reasoning.effort if request.reasoning else None,
            extra=request.extra(verbosity=text.verbosity),
        ),
        options=ReplyOptions(
            tools=tuple(_tool(tool) for tool in request.tools or ()),
            tool_choice=_tool_choice(request.tool_choice, has_tools=bool(request.tools)),
            response_format=_response_format(text.format),
            top_logprobs=(request.top_logprobs or 0) if logprobs else None,
        ),
        stream=bool(request.stream),
        moa=request.moa,
        echo=_echo(request),
    )


def _instructions(request: ResponsesRequest) -> Iterator[dict[str, Any]]:
    if request.instructions:
        yield {"role": "system", "content": request.instructions}


def _turns(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, str):
        yield {"role": "user", "content": value}
        return
    if not isinstance(value, list):
        raise RequestError(400, "invalid_request", "input: expected text or a list of items", param="input")
    for number, item in enumerate(value):
        yield from _item(item, f"input.{number}")


def _item(item: object, at: str) -> Iterator[dict[str, Any]]:
    match item:
        case {"type": "function_call", "call_id": str(call), "name": str(name), "arguments": str(arguments)}:
            function = {"name": name, "arguments": arguments}
            yield {"role": "assistant", "content": None, "tool_calls": [{"id": call, "function": function}]}
        case {"type": "function_call_output", "call_id": str(call), "output": output}:
            yield {"role": "tool", "tool_call_id": call, "content": _content(output, at)}
        case {"type": "reasoning"}:
            return  # what a former reply thought is shown to no model
        case {"role": str(role), "content": content, **rest} if rest.get("type", "message") == "message":
            yield {"role": role, "content": _content(content, at)}
        case _:
            kind = item.get("type") if isinstance(item, dict) else type(item).__name__
            message = f"{at}: an item of type {kind!r:.40} is not supported, or lacks a field"
            raise RequestError(400, "invalid_request", message, param=at)


def _content(value: object, at: str) -> object:
    return [_part(part, at) for part in value] if isinstance(value, list) else value


def _part(part: Any, at: str) -> dict[str, Any]:
    match part:
        case {"type": "input_text" | "output_text" | "text", "text": str(text)}:
            return {"type": "text", "text": text}
        case {"type": "refusal", "refusal": str(text)}:
            return {"type": "text", "text": text}
        case {"type": "input_image", "image_url": str(url)}:
            detail = part.get("detail")
            return {"type": "image_url", "image_url": {"url": url, **({"detail": detail} if detail else {})}}
    kind = part.get("type") if isinstance(part, dict) else type(part).__name__
    message = f"{at}.content: a part of type {kind!r:.40} is not supported, or lacks a field"
    raise RequestError(400, "invalid_request", message, param=f"{at}.content")


def _tool(tool: FunctionTool) -> dict[str, Any]:
    return {"type": "function", "function": tool.model_dump(exclude_none=True, exclude={"type"})}


def _tool_choice(value: object, *, has_tools: bool) -> str | Mapping[str, Any] | None:
    if value is None or (not has_tools and value in ("none", "auto")):
        return None
    if not has_tools:
        raise RequestError(
            400, "invalid_request", "tool_choice: there are no tools to choose from", param="tool_choice"
        )
    match value:
        case "none" | "auto" | "required":
            return str(value)
        case {"type": "function", "name": str(name), **rest} if not rest:
            return {"type": "function", "function": {"name": name}}
    message = "tool_choice: expected none, auto, required, or one function: {type, name}"
    raise RequestError(400, "invalid_request", message, param="tool_choice")


def _response_format(value: dict[str, Any] | None) -> Mapping[str, Any] | None:
    match value:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return value
        case {"type": "json_schema", "name": str()}:
            return {"type": "json_schema", "json_schema": {k: v for k, v in value.items() if k != "type"}}
    message = "text.format: expected {type: text}, {type: json_object}, or {type: json_schema, name, schema}"
    raise RequestError(400, "invalid_request", message, param="text.format")


def _echo(request: ResponsesRequest) -> dict[str, Any]:
    return {
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "metadata": request.metadata or {},
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "temperature": request.temperature,
        "text": {"format": (request.text and request.text.format) or {"type": "text"}},
        "tool_choice": request.tool_choice or "auto",
        "tools": [tool.model_dump() for tool in request.tools or ()],
        "top_p": request.top_p,
        "user": request.user,
        "previous_response_id": None,
        "store": False,
        "truncation": "disabled",
    }
