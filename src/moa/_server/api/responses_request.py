"""Requests of OpenAI's Responses API."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from moa._messages import ReplyOptions, Sampling
from moa._server.api.conversations import Conversations
from moa._server.api.documents import file_text, vendors_text
from moa._server.api.known_fields import RESPONSES, VENDORS_ITEMS
from moa._server.api.openai_request import (
    OpenAIRequest,
    Tokens,
    Verbosity,
    choose_tools,
    read_response_format,
    tool_choice_schema,
)
from moa._server.api.request import ApiRequest, parse_messages, passthrough_fields, wanted_tier
from moa._server.api.request_model import RequestModel, split_request, validate
from moa._server.api.translated_tools import (
    OriginalTool,
    TranslatedTools,
    custom_arguments,
    custom_as_function,
    flat_name,
    function_tool,
)
from moa._server.http.errors import RequestError

LOGPROBS = "message.output_text.logprobs"

Input = Annotated[
    Any, WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "object"}}]})
]
"""Text, or items."""


class ResponsesTool(RequestModel):
    """A tool that the client runs; tools that run at OpenAI are refused before this."""

    type: Literal["function", "custom", "namespace"]
    name: Annotated[str, Field(min_length=1)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    format: dict[str, Any] | None = None
    cache_control: dict[str, Any] | None = None
    tools: "list[ResponsesTool] | None" = None


class Reasoning(RequestModel):
    """How much the model thinks."""

    effort: str | None = None
    summary: Literal["auto", "concise", "detailed", "none"] | None = None


class TextConfig(RequestModel):
    """How the text has to be."""

    format: dict[str, Any] | None = None
    verbosity: Verbosity | None = None


class ResponsesRequest(OpenAIRequest):
    """The fields that have their meaning here."""

    input: Input
    instructions: str | None = None
    max_output_tokens: Tokens | None = None
    tools: list[ResponsesTool] | None = None
    tool_choice: Annotated[Any, WithJsonSchema(tool_choice_schema({"name": {"type": "string"}}))] = None
    text: TextConfig | None = None
    reasoning: Reasoning | None = None
    include: list[str] | None = None
    metadata: dict[str, str] | None = None
    previous_response_id: str | None = None
    store: bool | None = None


def read_responses_request(body: dict[str, Any]) -> ApiRequest:
    """Return what a request asks.

    Raises:
        RequestError: It can't be honoured; names the field.
    """
    fields, passed_on = split_request(RESPONSES, body)
    tier = wanted_tier(passed_on.pop("service_tier", None))
    request = _updated(validate(ResponsesRequest, fields))
    text = request.text or TextConfig()
    tools, choice = choose_tools(request.tool_choice, translated_tools(_all_tools(request)))
    wants_logprobs = LOGPROBS in (request.include or ()) or bool(request.top_logprobs)
    instructions = [{"role": "system", "content": request.instructions}] if request.instructions else []
    return ApiRequest(
        model=request.model,
        messages=parse_messages([*instructions, *_turns(request.input)], param="input"),
        sampling=Sampling(
            temperature=request.temperature,
            top_p=request.top_p,
            max_tokens=request.max_output_tokens,
            reasoning_effort=request.reasoning.effort if request.reasoning else None,
            extra=passthrough_fields({**passed_on, "verbosity": text.verbosity}),
        ),
        options=ReplyOptions(
            tools=tools.functions,
            tool_choice=choice,
            response_format=read_response_format(text.format, param="text.format"),
            top_logprobs=(request.top_logprobs or 0) if wants_logprobs else None,
        ),
        stream=bool(request.stream),
        moa=request.moa,
        tier=tier,
        tools=tools,
        echo=_echo(request, body),
        history=None if request.store is False else {"items": _as_items(body["input"])},
    )


async def with_stored_items(body: dict[str, Any], conversations: Conversations) -> dict[str, Any]:
    """Return a request with the items of the response before, and with those that its items refer to.

    Raises:
        RequestError: Something isn't stored, or not any more.
    """
    items = body.get("input")
    found: list[Any] = []
    previous = body.get("previous_response_id")
    if isinstance(previous, str) and previous:
        stored = await conversations.get(previous)
        if stored is None:
            raise _not_stored("previous_response_id", previous)
        found += stored["items"]
    elif not isinstance(items, list):
        return body
    for number, item in enumerate(_as_items(items)):
        identity = _reference(item)
        if identity is None:
            found.append(item)
            continue
        stored = await conversations.get(identity)
        if stored is None:
            raise _not_stored(f"input.{number}", identity)
        found.append(stored)
    return {**body, "input": found}


def _as_items(value: object) -> list[Any]:
    return value if isinstance(value, list) else [{"type": "message", "role": "user", "content": value}]


def _reference(item: object) -> str | None:
    """The id of the item that an item stands for; its type may be missing."""
    match item:
        case {"type": "item_reference", "id": str(identity)}:
            return identity
        case {"id": str(identity), **rest} if set(rest) <= {"type"} and rest.get("type") is None:
            return identity
    return None


def _not_stored(param: str, identity: str) -> RequestError:
    message = (
        f"{param}: {identity!r:.80} isn't stored here (responses are for 30 minutes, except with store: false): "
        "send the conversation itself"
    )
    return RequestError(400, "previous_response_not_found", message, param=param)


def _updated(request: ResponsesRequest) -> ResponsesRequest:
    """The request with the last settings that its items make in place of its own."""
    for item in request.input if isinstance(request.input, list) else ():
        if isinstance(item, dict) and item.get("type") == "configuration_update":
            if item.get("reasoning"):
                request = request.model_copy(update={"reasoning": validate(Reasoning, item["reasoning"])})
            if item.get("text"):
                text = {**(request.text.model_dump() if request.text else {}), **item["text"]}
                request = request.model_copy(update={"text": validate(TextConfig, text)})
    return request


def _all_tools(request: ResponsesRequest) -> list[ResponsesTool]:
    """The request's tools, and those that its items add."""
    items = request.input if isinstance(request.input, list) else ()
    added = [
        validate(ResponsesTool, tool)
        for item in items
        if isinstance(item, dict) and item.get("type") == "additional_tools"
        for tool in item.get("tools") or ()
    ]
    return [*(request.tools or ()), *added]


def translated_tools(tools: Sequence[ResponsesTool], namespace: str | None = None) -> TranslatedTools:
    """Return tools as functions, with what the names of custom ones and of those in namespaces stand for."""
    functions: list[Mapping[str, Any]] = []
    originals: dict[str, OriginalTool] = {}
    for tool in tools:
        name = flat_name(namespace, tool.name)
        if tool.type == "namespace":
            inner = translated_tools(tool.tools or (), tool.name)
            functions += inner.functions
            originals |= inner.originals
            continue
        if tool.type == "custom":
            grammar = tool.format if tool.format and tool.format.get("type") == "grammar" else None
            functions.append(custom_as_function(name, tool.description, grammar, tool.cache_control))
        else:
            described = {"name": name, "description": tool.description, "parameters": tool.parameters}
            functions.append(function_tool({**described, "strict": tool.strict}, tool.cache_control))
        if tool.type == "custom" or namespace:
            originals[name] = OriginalTool(kind=tool.type, name=tool.name, namespace=namespace)
    return TranslatedTools(functions=tuple(functions), originals=originals)


def _turns(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, str):
        yield {"role": "user", "content": value}
        return
    if not isinstance(value, list):
        raise RequestError(400, "invalid_request", "input: expected text or a list of items", param="input")
    turns: list[dict[str, Any]] = []
    carried: str | None = None
    for number, item in enumerate(value):
        match item:
            case {"type": "reasoning", "encrypted_content": str(packed)}:
                # It is before the items that it belongs to; in streams, where it is known at the end, behind them.
                if turns and turns[-1]["role"] == "assistant" and not _is_assistants(value[number + 1 : number + 2]):
                    turns[-1]["state"] = packed
                else:
                    carried = packed
        for turn in _item(item, f"input.{number}"):
            if turn["role"] == "assistant" and carried is not None:
                turn["state"], carried = carried, None
            turns.append(turn)
    yield from turns


def _is_assistants(items: list[Any]) -> bool:
    """Whether items are an assistant's; not if there are none."""
    calls = ("function_call", "custom_tool_call")
    return any(
        isinstance(item, dict) and (item.get("role") == "assistant" or item.get("type") in calls) for item in items
    )


def _item(item: Any, at: str) -> Iterator[dict[str, Any]]:
    match item:
        case {"type": "function_call", "call_id": str(call), "name": str(name)}:
            yield _call(call, flat_name(item.get("namespace"), name), item.get("arguments"))
        case {"type": "custom_tool_call", "call_id": str(call), "name": str(name), "input": str(text)}:
            yield _call(call, flat_name(item.get("namespace"), name), custom_arguments(text))
        case {"type": "function_call_output" | "custom_tool_call_output", "call_id": str(call), "output": output}:
            yield {"role": "tool", "tool_call_id": call, "content": _content(output, f"{at}.output")}
        case {"type": "function_call_output" | "custom_tool_call_output", "output": output}:
            # Codex reports so what no model has asked for.
            yield {"role": "tool", "tool_call_id": "", "content": _content(output, f"{at}.output")}
        case {"type": "reasoning" | "additional_tools" | "configuration_update"}:
            return
        case {"type": str(kind)} if kind in VENDORS_ITEMS:
            # A tool that ran at OpenAI, or that only its models know, in an earlier turn.
            yield {"role": "assistant", "content": vendors_text(kind, item)}
        case {"role": str(role), "content": content, **rest} if rest.get("type", "message") == "message":
            yield {"role": role, "content": _content(content, f"{at}.content")}
        case _:
            what = item.get("type") if isinstance(item, dict) else type(item).__name__
            message = f"{at}: an item of type {what!r:.40} is not supported, or lacks a field"
            raise RequestError(400, "invalid_request", message, param=at)


def _call(identity: str, name: str, arguments: object) -> dict[str, Any]:
    call = {"id": identity, "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _content(value: object, at: str) -> object:
    return [_part(part, f"{at}.{number}") for number, part in enumerate(value)] if isinstance(value, list) else value


def _part(part: Any, at: str) -> dict[str, Any]:
    match part:
        case {"type": "input_text" | "output_text" | "text", "text": str(text)}:
            return {"type": "text", "text": text}
        case {"type": "refusal", "refusal": str(text)}:
            return {"type": "text", "text": text}
        case {"type": "input_image", "image_url": str(url)}:
            detail = part.get("detail")
            return {"type": "image_url", "image_url": {"url": url, **({"detail": detail} if detail else {})}}
        case {"type": "input_file", "file_data": str(data)}:
            return {"type": "text", "text": file_text(part.get("filename"), data, at=f"{at}.file_data")}
        case {"type": "input_file", "file_url": str(url)}:
            return {"type": "text", "text": f"[A file was attached here that can't be shown to you: {url}]"}
    kind = part.get("type") if isinstance(part, dict) else type(part).__name__
    message = f"{at}: a part of type {kind!r:.40} is not supported, or lacks a field"
    raise RequestError(400, "invalid_request", message, param=at)


def _echo(request: ResponsesRequest, body: Mapping[str, Any]) -> dict[str, Any]:
    """What a response repeats of its request."""
    text: dict[str, Any] = {"format": (request.text and request.text.format) or {"type": "text"}}
    if request.text and request.text.verbosity:
        text["verbosity"] = request.text.verbosity
    return {
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": None,
        "metadata": request.metadata or {},
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        # The API's own defaults, where a schema wants a number.
        "temperature": 1.0 if request.temperature is None else request.temperature,
        "text": text,
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": [_echoed_tool(tool) for tool in body.get("tools") or ()],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "user": body.get("user"),
        "prompt_cache_key": body.get("prompt_cache_key"),
        "safety_identifier": body.get("safety_identifier"),
        "previous_response_id": request.previous_response_id,
        "background": body.get("background") is True,
        "frequency_penalty": 0,
        "presence_penalty": 0,
        "service_tier": "default",
        "store": request.store is not False,
        "truncation": "disabled",
    }


def _echoed_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool with the fields that the schema of replies requires."""
    required = {"description": None, "parameters": None, "strict": None} if tool.get("type") == "function" else {}
    return {**required, **tool}
