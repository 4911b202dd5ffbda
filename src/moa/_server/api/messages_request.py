"""Requests of Anthropic's Messages API: every field is honoured, passed to the aggregator, or refused by name."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import Field, WithJsonSchema

from moa._messages import ReplyOptions, Sampling
from moa._server.api.openai_request import IGNORED_HERE, Probability, Tokens
from moa._server.api.request import ApiRequest, MoaFields, parse_messages, passthrough_fields
from moa._server.api.request_model import RequestModel, parse
from moa._server.http.errors import RequestError

Blocks = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]})]
"""Text, or blocks."""


class Turn(RequestModel):
    """One message."""

    role: Literal["user", "assistant", "system"]
    content: Blocks


class ClientTool(RequestModel):
    """A tool that the client runs; the API's own tools run on Anthropic's servers."""

    refused: ClassVar[Mapping[str, tuple[Collection[object], str]]] = {}

    type: Literal["custom"] | None = None
    name: Annotated[str, Field(min_length=1)]
    description: str | None = None
    input_schema: dict[str, Any]
    strict: bool | None = None
    cache_control: dict[str, Any] | None = None


class ToolChoice(RequestModel):
    """Which tools the model may or must call."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Metadata(RequestModel):
    """About the request."""

    user_id: str | None = None


class OutputConfig(RequestModel):
    """How the answer has to be."""

    effort: str | None = None
    format: dict[str, Any] | None = None


class MessagesRequest(RequestModel):
    """The body. `cache_control` marks are taken and mean nothing: each service caches prompts in its own way."""

    refused: ClassVar[Mapping[str, tuple[Collection[object], str]]] = {
        "thinking": (({"type": "disabled"},), "use output_config.effort"),
        "container": ((), IGNORED_HERE),
        "inference_geo": ((), "models are where their endpoints are"),
        "service_tier": (("auto",), "endpoints have tiers of their own"),
        "mcp_servers": (([],), "tools are run by the client"),
        "context_management": (({},), "the client decides what it sends"),
    }

    model: str
    max_tokens: Tokens
    messages: Annotated[list[Turn], Field(min_length=1)]
    system: Blocks = None
    temperature: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    top_p: Probability | None = None
    top_k: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    stop_sequences: list[Annotated[str, Field(min_length=1)]] | None = None
    tools: list[ClientTool] | None = None
    tool_choice: ToolChoice | None = None
    metadata: Metadata | None = None
    output_config: OutputConfig | None = None
    cache_control: dict[str, Any] | None = None
    stream: bool | None = None
    moa: MoaFields = MoaFields()


class CountRequest(MessagesRequest):
    """The body of a request that only wants to know how long its prompt is."""

    max_tokens: Tokens = 1


def read_messages_request(body: bytes) -> ApiRequest:
    """Return what a request asks.

    Raises:
        RequestError: It can't be honoured; names the field.
    """
    return _ask(parse(MessagesRequest, body))


def read_count_request(body: bytes) -> ApiRequest:
    """Return what a request would ask whose prompt is to be counted.

    Raises:
        RequestError: It could not be honoured; names the field.
    """
    return _ask(parse(CountRequest, body))


def _ask(request: MessagesRequest) -> ApiRequest:
    config = request.output_config or OutputConfig()
    choice = request.tool_choice or ToolChoice(type="auto")
    return ApiRequest(
        model=request.model,
        messages=parse_messages([*_system(request.system), *_turns(request.messages)], param="messages"),
        sampling=Sampling(
            temperature=request.temperature,
            top_p=request.top_p,
            top_k=request.top_k,
            max_tokens=request.max_tokens,
            stop=tuple(request.stop_sequences or ()),
            reasoning_effort=config.effort,
            extra=passthrough_fields(
                user=request.metadata and request.metadata.user_id,
                parallel_tool_calls=False if choice.disable_parallel_tool_use and request.tools else None,
            ),
        ),
        options=ReplyOptions(
            tools=tuple(_tool(tool) for tool in request.tools or ()),
            tool_choice=_tool_choice(request.tool_choice, has_tools=bool(request.tools)),
            response_format=_response_format(config.format),
        ),
        stream=bool(request.stream),
        moa=request.moa,
    )


def _system(value: object) -> Iterator[dict[str, Any]]:
    if value is not None:
        yield {"role": "system", "content": _text(value, "system")}


def _text(value: object, at: str) -> str:
    """The text of a string or of blocks of text."""
    if isinstance(value, str):
        return value
    texts = [_block_text(block, at) for block in _blocks(value, at)]
    return "\n\n".join(texts)


def _block_text(block: object, at: str) -> str:
    match block:
        case {"type": "text", "text": str(text)}:
            return text
    raise _unsupported(block, at)


def _blocks(value: object, at: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise RequestError(400, "invalid_request", f"{at}: expected text or a list of blocks", param=at)
    return value


def _unsupported(block: object, at: str) -> RequestError:
    kind = block.get("type") if isinstance(block, dict) else type(block).__name__
    return RequestError(400, "invalid_request", f"{at}: a block of type {kind!r:.40} is not supported here", param=at)


def _turns(turns: list[Turn]) -> Iterator[dict[str, Any]]:
    for number, turn in enumerate(turns):
        at = f"messages.{number}.content"
        match turn.role:
            case "user":
                yield from _user(turn.content, at)
            case "assistant":
                yield _assistant(turn.content, at)
            case "system":
                yield {"role": "system", "content": _text(turn.content, at)}


def _user(content: object, at: str) -> Iterator[dict[str, Any]]:
    """A user's turn: results of tools become turns of their own, as all other services want them."""
    if isinstance(content, str):
        yield {"role": "user", "content": content}
        return
    parts = []
    for block in _blocks(content, at):
        match block:
            case {"type": "tool_result", "tool_use_id": str(call)}:
                yield {"role": "tool", "tool_call_id": call, "content": _result(block, at)}
            case {"type": "image", "source": source}:
                parts.append({"type": "image_url", "image_url": {"url": _image_url(source, at)}})
            case _:
                parts.append({"type": "text", "text": _block_text(block, at)})
    if parts:
        yield {"role": "user", "content": parts}


def _result(block: Mapping[str, Any], at: str) -> str:
    text = _text(block.get("content") or "", at)
    return f"Error: {text}" if block.get("is_error") else text


def _image_url(source: object, at: str) -> str:
    match source:
        case {"type": "base64", "media_type": str(kind), "data": str(data)}:
            return f"data:{kind};base64,{data}"
        case {"type": "url", "url": str(url)}:
            return url
    raise RequestError(400, "invalid_request", f"{at}: expected an image as base64 or url", param=at)


def _assistant(content: object, at: str) -> dict[str, Any]:
    if isinstance(content, str):
        return {"role": "assistant", "content": content}
    texts, calls = [], []
    for block in _blocks(content, at):
        match block:
            case {"type": "tool_use", "id": str(call), "name": str(name), "input": dict(arguments)}:
                calls.append({"id": call, "function": {"name": name, "arguments": orjson.dumps(arguments).decode()}})
            case {"type": "thinking" | "redacted_thinking"}:
                continue  # what a former reply thought is shown to no model
            case _:
                texts.append(_block_text(block, at))
    return {"role": "assistant", "content": "\n\n".join(texts), "tool_calls": calls}


def _tool(tool: ClientTool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "strict": tool.strict}
    known = {name: value for name, value in function.items() if value is not None}
    return {"type": "function", "function": {**known, "parameters": tool.input_schema}}


def _tool_choice(choice: ToolChoice | None, *, has_tools: bool) -> str | Mapping[str, Any] | None:
    if choice is None or (not has_tools and choice.type in ("auto", "none")):
        return None
    if not has_tools:
        raise RequestError(
            400, "invalid_request", "tool_choice: there are no tools to choose from", param="tool_choice"
        )
    if choice.type == "tool":
        if choice.name is None:
            raise RequestError(400, "invalid_request", "tool_choice.name: which tool?", param="tool_choice.name")
        return {"type": "function", "function": {"name": choice.name}}
    return "required" if choice.type == "any" else choice.type


def _response_format(value: dict[str, Any] | None) -> Mapping[str, Any] | None:
    match value:
        case None:
            return None
        case {"type": "json_schema", "schema": dict(schema)}:
            return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    message = "output_config.format: expected {type: json_schema, schema}"
    raise RequestError(400, "invalid_request", message, param="output_config.format")
