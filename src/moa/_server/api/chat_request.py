"""Requests of OpenAI's Chat Completions API."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from moa._messages import ReplyOptions, Sampling
from moa._server.api.documents import file_text
from moa._server.api.known_fields import CHAT
from moa._server.api.openai_request import (
    OpenAIRequest,
    Tokens,
    TopK,
    choose_tools,
    read_response_format,
    tool_choice_schema,
)
from moa._server.api.request import ApiRequest, parse_messages, passthrough_fields, wanted_tier
from moa._server.api.request_model import Integer, RequestModel, split_request, validate
from moa._server.api.translated_tools import (
    OriginalTool,
    TranslatedTools,
    custom_arguments,
    custom_as_function,
    function_tool,
)
from moa._server.http.errors import RequestError

_TEXT = {"type": "string", "minLength": 1}

Content = Annotated[
    Any,
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}, {"type": "null"}]}),
]
"""Text, or parts; checked where messages are read, whose sentences are better than those of a union."""

Seed = Annotated[Integer, Field(ge=-(2**63), lt=2**63)]

_NO_LIMIT = BeforeValidator(lambda value: None if value == -1 and not isinstance(value, bool) else value)
"""Clients of llama.cpp's, LM Studio's and vLLM's servers write -1 for "no limit"."""


_NAMED_FUNCTION = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}


class ChatMessage(RequestModel):
    """One message.

    Attributes:
        reasoning_content: What a former reply showed as thinking.
        reasoning_details: What a former reply carried for its service, in OpenRouter's shape.
        refusal: A former reply's refusal; taken as its text.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    cache_control: dict[str, Any] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning_details: Any = None


class ChatFunction(RequestModel):
    """A function that the model may call."""

    name: Annotated[str, Field(min_length=1)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    cache_control: dict[str, Any] | None = None


class ChatCustomTool(RequestModel):
    """A tool that takes free text."""

    name: Annotated[str, Field(min_length=1)]
    description: str | None = None
    format: dict[str, Any] | None = None


class ChatTool(RequestModel):
    """A tool; those that run on the servers of their service are refused before this."""

    type: Literal["function", "custom"]
    function: ChatFunction | None = None
    custom: ChatCustomTool | None = None
    cache_control: dict[str, Any] | None = None


class ChatReasoning(RequestModel):
    """How much the model thinks, as OpenRouter's clients write it."""

    effort: str | None = None


class ChatRequest(OpenAIRequest):
    """The fields that have their meaning here."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    top_k: Annotated[TopK | None, _NO_LIMIT] = None
    max_tokens: Annotated[Tokens | None, _NO_LIMIT] = None
    max_completion_tokens: Annotated[Tokens | None, _NO_LIMIT] = None
    stop: Annotated[Any, WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _TEXT}, {"type": "null"}]})] = None
    seed: Seed | None = None
    tools: list[ChatTool] | None = None
    tool_choice: Annotated[Any, WithJsonSchema(tool_choice_schema({"function": _NAMED_FUNCTION}))] = None
    response_format: dict[str, Any] | None = None
    logprobs: bool | None = None
    reasoning_effort: str | None = None
    reasoning: ChatReasoning | None = None


def read_chat_request(body: dict[str, Any]) -> ApiRequest:
    """Return what a request asks.

    Raises:
        RequestError: It can't be honoured; names the field.
    """
    fields, passed_on = split_request(CHAT, body)
    tier = wanted_tier(passed_on.pop("service_tier", None))
    request = validate(ChatRequest, fields)
    tools, choice = choose_tools(_flat_choice(request.tool_choice), _tools(request.tools or ()))
    effort = request.reasoning_effort or (request.reasoning and request.reasoning.effort) or None
    return ApiRequest(
        model=request.model,
        messages=parse_messages(list(_turns(request.messages)), param="messages"),
        sampling=Sampling(
            temperature=request.temperature,
            top_p=request.top_p,
            top_k=request.top_k,
            max_tokens=_max_tokens(request),
            stop=stop_texts(request.stop, param="stop"),
            reasoning_effort=effort,
            extra=passthrough_fields(passed_on),
        ),
        options=ReplyOptions(
            tools=tools.functions,
            tool_choice=choice,
            response_format=read_response_format(request.response_format, param="response_format"),
            top_logprobs=_top_logprobs(request),
        ),
        seed=request.seed,
        stream=bool(request.stream),
        include_usage=request.stream_options is not None and bool(request.stream_options.include_usage),
        moa=request.moa,
        tier=tier,
        tools=tools,
    )


def _turns(messages: list[ChatMessage]) -> Iterator[dict[str, Any]]:
    for at, message in enumerate(messages):
        if message.role == "tool" and message.tool_call_id is None:
            param = f"messages.{at}.tool_call_id"
            raise RequestError(400, "invalid_request", f"{param}: a tool's message needs it", param=param)
        content = message.content
        if isinstance(content, list):
            content = [_part(part, f"messages.{at}.content.{number}") for number, part in enumerate(content)]
        yield {
            "role": message.role,
            "content": message.refusal if content is None and message.refusal else content,
            "name": message.name,
            "tool_calls": [_tool_call(call) for call in message.tool_calls or ()],
            "tool_call_id": message.tool_call_id,
            "state": _carried(message.reasoning_details),
            "cache_control": message.cache_control,
        }


def _carried(details: Any) -> str | None:
    """The text that a former reply carried for its service."""
    for detail in details if isinstance(details, list) else ():
        match detail:
            case {"type": "reasoning.encrypted", "data": str(packed)}:
                return packed
    return None


def _part(part: Any, at: str) -> Any:
    """A part as conversations take it: files become text."""
    match part:
        case {"type": "output_text", "text": str(text)} | {"type": "refusal", "refusal": str(text)}:
            return {"type": "text", "text": text}
        case {"type": "image_url", "image_url": str(url)}:
            return {"type": "image_url", "image_url": {"url": url}}
        case {"type": "file", "file": {"file_data": str(data), **rest}}:
            return {"type": "text", "text": file_text(rest.get("filename"), data, at=f"{at}.file.file_data")}
    return part


def _tool_call(call: Mapping[str, Any]) -> Mapping[str, Any]:
    match call:
        case {"id": str(identity), "custom": {"name": str(name), "input": str(text)}}:
            return {"id": identity, "function": {"name": name, "arguments": custom_arguments(text)}}
    return call


def _tools(tools: Sequence[ChatTool]) -> TranslatedTools:
    functions, originals = [], {}
    for number, tool in enumerate(tools):
        if tool.type == "function" and tool.function is not None:
            mark = tool.cache_control or tool.function.cache_control
            functions.append(function_tool(tool.function.model_dump(exclude={"cache_control"}), mark))
        elif tool.type == "custom" and tool.custom is not None:
            grammar = (tool.custom.format or {}).get("grammar")
            functions.append(custom_as_function(tool.custom.name, tool.custom.description, grammar, tool.cache_control))
            originals[tool.custom.name] = OriginalTool(kind="custom", name=tool.custom.name)
        else:
            param = f"tools.{number}.{tool.type}"
            raise RequestError(400, "invalid_request", f"{param}: a tool needs it", param=param)
    return TranslatedTools(functions=tuple(functions), originals=originals)


def _flat_choice(value: object) -> object:
    """A choice of tools as the Responses API writes it, where each tool has its name beside its type."""
    match value:
        case {"type": "function", "function": {"name": str(name), **rest}, **others} if not rest and not others:
            return {"type": "function", "name": name}
        case {"type": "custom", "custom": {"name": str(name)}}:
            return {"type": "custom", "name": name}
        case {"type": "allowed_tools", "allowed_tools": {"tools": list(tools), **rest}}:
            return {"type": "allowed_tools", "tools": [_flat_choice(tool) for tool in tools], **rest}
        case {"type": "function"}:
            return {}
    return value


def _max_tokens(request: ChatRequest) -> int | None:
    limit, older = request.max_completion_tokens, request.max_tokens
    if limit is not None and older is not None and limit != older:
        raise RequestError(400, "invalid_request", "max_tokens and max_completion_tokens differ", param="max_tokens")
    return limit if limit is not None else older


def stop_texts(value: object, *, param: str) -> tuple[str, ...]:
    """Return the texts that end a reply, given as one, as several, or not at all.

    Raises:
        RequestError: They are none.
    """
    texts = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise RequestError(
            400, "invalid_request", f"{param}: expected text that is not empty, or a list of it", param=param
        )
    return tuple(texts)


def _top_logprobs(request: ChatRequest) -> int | None:
    if request.logprobs:
        return request.top_logprobs or 0
    # Clients send 0, or null, for "none".
    if request.top_logprobs:
        raise RequestError(400, "invalid_request", "top_logprobs: it needs logprobs: true", param="top_logprobs")
    return None
