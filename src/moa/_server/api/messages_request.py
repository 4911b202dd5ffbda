"""Requests of Anthropic's Messages API."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from moa._messages import Message, ReplyOptions, Sampling, longest_ttl
from moa._server.api.client_tools import description_and_schema
from moa._server.api.conversations import Conversations
from moa._server.api.documents import document_text, titled, vendors_text
from moa._server.api.known_fields import MESSAGES
from moa._server.api.openai_request import Probability, TopK, choose_tools, read_response_format
from moa._server.api.request import ApiRequest, MoaFields, parse_messages, passthrough_fields
from moa._server.api.request_model import Integer, RequestModel, split_request, validate
from moa._server.api.translated_tools import OriginalTool, TranslatedTools, flat_name, function_tool
from moa._server.http.errors import RequestError

Blocks = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]})]
"""Text, or blocks."""

MAX_USER_ID = 64
"""Most characters of a `user` that OpenAI's and other services take."""


class Turn(RequestModel):
    """One message.

    Attributes:
        clear_at: `next_user_message`: a system message that is shown until the user's next message only.
    """

    role: Literal["user", "assistant", "system"]
    content: Blocks = None
    clear_at: Literal["next_user_message", "never"] | None = None


class ClientTool(RequestModel):
    """A tool that the client runs; those that run at Anthropic are refused before this."""

    type: str | None = None
    name: Annotated[str, Field(min_length=1)]
    description: str | None = None
    input_schema: dict[str, Any] | None = None
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


class Thinking(RequestModel):
    """How much the model thinks."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: Annotated[Integer, Field(ge=0, lt=2**31)] | None = None


class Thread(RequestModel):
    """Whether the server keeps the conversation, so that later requests hold only what is new."""

    type: Literal["create", "continue"]
    previous_message_id: str | None = None


class MessagesRequest(RequestModel):
    """The fields that have their meaning here."""

    model: str
    max_tokens: Annotated[Integer, Field(ge=0, lt=2**31)]
    messages: Annotated[list[Turn], Field(min_length=1)]
    system: Blocks = None
    temperature: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    top_p: Probability | None = None
    top_k: TopK | None = None
    stop_sequences: list[Annotated[str, Field(min_length=1)]] | None = None
    tools: list[ClientTool] | None = None
    tool_choice: ToolChoice | None = None
    metadata: Metadata | None = None
    output_config: OutputConfig | None = None
    output_format: dict[str, Any] | None = None
    thinking: Thinking | None = None
    thread: Thread | None = None
    stream: bool | None = None
    moa: MoaFields = MoaFields()


class CountRequest(MessagesRequest):
    """The body of a request that only wants to know how long its prompt is."""

    max_tokens: Annotated[Integer, Field(ge=0, lt=2**31)] = 1


def read_messages_request(body: dict[str, Any]) -> ApiRequest:
    """Return what a request asks.

    Raises:
        RequestError: It can't be honoured; names the field.
    """
    return _read(MessagesRequest, body)


def read_count_request(body: dict[str, Any]) -> ApiRequest:
    """Return what a request would ask whose prompt is to be counted.

    Raises:
        RequestError: It could not be honoured; names the field.
    """
    return _read(CountRequest, body)


def _read(model: type[MessagesRequest], body: dict[str, Any]) -> ApiRequest:
    fields, _ = split_request(MESSAGES, body)
    request = validate(model, fields)
    config, metadata = request.output_config or OutputConfig(), request.metadata or Metadata()
    if request.stream and not request.max_tokens:
        message = "stream: with max_tokens: 0 there is no answer to stream"
        raise RequestError(400, "invalid_request", message, param="stream")
    translated = TranslatedTools(
        functions=tuple(_tool(tool, f"tools.{at}") for at, tool in enumerate(request.tools or ())),
        originals={
            short: OriginalTool(name=tool.name)
            for tool in request.tools or ()
            if (short := flat_name(None, tool.name)) != tool.name
        },
    )
    tools, choice = choose_tools(_flat_choice(request.tool_choice), translated)
    is_serial = request.tool_choice is not None and bool(request.tool_choice.disable_parallel_tool_use)
    history = {name: body.get(name) for name in ("system", "tools", "messages")}
    return ApiRequest(
        model=request.model,
        messages=parse_messages([*_system(request.system), *_turns(request.messages)], param="messages"),
        sampling=Sampling(
            temperature=request.temperature,
            top_p=request.top_p,
            top_k=request.top_k,
            max_tokens=request.max_tokens,
            stop=tuple(request.stop_sequences or ()),
            reasoning_effort=config.effort or _effort(request.thinking),
            extra=passthrough_fields(
                {
                    "user": metadata.user_id and _user(metadata.user_id),
                    "parallel_tool_calls": False if is_serial and request.tools else None,
                }
            ),
        ),
        options=ReplyOptions(
            tools=tools.functions,
            tool_choice=choice,
            response_format=read_response_format(
                {"strict": True, **wanted} if (wanted := config.format or request.output_format) else None,
                param="output_config.format",
            ),
        ),
        stream=bool(request.stream),
        moa=request.moa,
        tools=tools,
        echo={"context_management": {"applied_edits": []}} if body.get("context_management") else {},
        history=history if request.thread else None,
    )


async def with_thread(body: dict[str, Any], conversations: Conversations) -> dict[str, Any]:
    """Return a request with the messages, the system prompt and the tools of the thread that it continues.

    Raises:
        RequestError: The thread isn't stored, or not any more.
    """
    match body.get("thread"):
        case {"type": "continue", "previous_message_id": str(identity)}:
            thread = await conversations.get(identity)
        case _:
            return body
    if thread is None:
        message = f"thread.previous_message_id: {identity!r:.80} isn't stored here: send the whole conversation"
        # The SDK's own thread helper sends the whole conversation again on this code.
        details = {"error_code": "thread_not_found"}
        raise RequestError(404, "thread_not_found", message, param="thread.previous_message_id", details=details)
    new = body.get("messages")
    if not isinstance(new, list):
        return body
    whole = new if new[: len(thread["messages"])] == thread["messages"] else [*thread["messages"], *new]
    return {**thread, **{name: value for name, value in body.items() if value is not None}, "messages": whole}


def _effort(thinking: Thinking | None) -> str | None:
    """How much to think, for services that know efforts and no budgets of tokens."""
    if thinking is None or thinking.type != "enabled" or thinking.budget_tokens is None:
        return None
    return "low" if thinking.budget_tokens <= 4096 else "medium" if thinking.budget_tokens <= 16_384 else "high"


def _user(identity: str) -> str:
    """An end user's id within the length that services accept: a long one is hashed, and so stays stable."""
    return identity if len(identity) <= MAX_USER_ID else hashlib.sha256(identity.encode()).hexdigest()


def _system(value: object) -> Iterator[Message]:
    text = "" if value is None else _text(value, "system")
    if text:
        blocks = value if isinstance(value, list) else []
        marked = [at for at, block in enumerate(blocks, 1) if block.get("cache_control")]
        yield Message(
            role="system",
            content=text,
            cache_points=tuple(len(_text(blocks[:at], "system")) for at in marked),
            cache_ttl=longest_ttl(blocks),
        )


def _mark(block: Mapping[str, Any]) -> dict[str, Any]:
    """The client's cache mark on a block, if it has one."""
    return {"cache_control": block["cache_control"]} if block.get("cache_control") else {}


def _text(value: object, at: str) -> str:
    """The text of a string or of blocks; an image among them is an error."""
    if isinstance(value, str):
        return value
    return "\n\n".join(_block_text(block, f"{at}.{number}") for number, block in enumerate(_blocks(value, at)))


def _blocks(value: object, at: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise RequestError(400, "invalid_request", f"{at}: expected text or a list of blocks", param=at)
    return value


def _block_text(block: Any, at: str) -> str:
    match block:
        case {"type": "text", "text": str(text)} | {"type": "compaction", "content": str(text)}:
            return text
        case {"type": "document", "source": source}:
            return titled(block.get("context"), _document(block.get("title"), source, f"{at}.source"))
        case {"type": "search_result", "source": str(source), "content": content}:
            return titled(f"{block.get('title') or 'A search result'} ({source})", _text(content, f"{at}.content"))
        case {"type": "tool_reference", "tool_name": str(name)}:
            return f"The tool {name} can be used now."
        case {"type": "compaction"}:
            return ""
    if isinstance(block, dict) and block.get("type") not in ("text", "image", "tool_use", "tool_result"):
        # The result of a tool that ran at Anthropic's servers in an earlier turn.
        return vendors_text(str(block.get("type")), block)
    raise _unsupported(block, at)


def _document(title: str | None, source: Any, at: str) -> str:
    match source:
        case {"type": "text", "data": str(text)}:
            return titled(title, text)
        case {"type": "content", "content": content}:
            return titled(title, _text(content, f"{at}.content"))
        case {"type": "base64", "media_type": str(kind), "data": str(data)}:
            return document_text(title, kind, data, at=f"{at}.data")
        case {"type": "url", "url": str(url)}:
            return f"[A document was attached here that can't be shown to you: {title or 'unnamed'}, {url}]"
    raise RequestError(400, "invalid_request", f"{at}: expected text, content, base64 or url", param=at)


def _unsupported(block: object, at: str) -> RequestError:
    kind = block.get("type") if isinstance(block, dict) else type(block).__name__
    message = f"{at}: a block of type {kind!r:.40} is not supported here, or lacks a field"
    return RequestError(400, "invalid_request", message, param=at)


def _turns(turns: list[Turn]) -> Iterator[dict[str, Any]]:
    last_user = max((number for number, turn in enumerate(turns) if turn.role == "user"), default=-1)
    for number, turn in enumerate(turns):
        at = f"messages.{number}.content"
        match turn.role:
            case "user":
                yield from _user_turns(turn.content, at)
            case "assistant":
                yield _assistant_turn(turn.content, at)
            case "system" if turn.content and not (turn.clear_at == "next_user_message" and number < last_user):
                yield {"role": "system", "content": _text(turn.content, at)}


def _user_turns(content: object, at: str) -> Iterator[dict[str, Any]]:
    """A user's turn: results of tools become turns of their own, as all other services want them."""
    if isinstance(content, str):
        yield {"role": "user", "content": content}
        return
    parts: list[dict[str, Any]] = []
    for number, block in enumerate(_blocks(content, at)):
        place = f"{at}.{number}"
        match block:
            case {"type": "tool_result", "tool_use_id": str(call)}:
                yield {"role": "tool", "tool_call_id": call, "content": _result(block, place), **_mark(block)}
            case _:
                parts.append(_part(block, place))
    if parts:
        yield {"role": "user", "content": parts}


def _part(block: Any, at: str) -> dict[str, Any]:
    match block:
        case {"type": "image", "source": source}:
            return {"type": "image_url", "image_url": {"url": _image_url(source, f"{at}.source")}, **_mark(block)}
    return {"type": "text", "text": _block_text(block, at), **_mark(block)}


def _result(block: Mapping[str, Any], at: str) -> str | list[dict[str, Any]]:
    """What a tool gave: text, or parts if there are images."""
    content, at = block.get("content") or "", f"{at}.content"
    if isinstance(content, list) and any(isinstance(each, dict) and each.get("type") == "image" for each in content):
        parts = [_part(each, f"{at}.{number}") for number, each in enumerate(content)]
        return [{"type": "text", "text": "Error:"}, *parts] if block.get("is_error") else parts
    text = _text(content, at)
    return f"Error: {text}" if block.get("is_error") else text


def _image_url(source: object, at: str) -> str:
    match source:
        case {"type": "base64", "media_type": str(kind), "data": str(data)}:
            return f"data:{kind};base64,{data}"
        case {"type": "url", "url": str(url)}:
            return url
    raise RequestError(400, "invalid_request", f"{at}: expected an image as base64 or url", param=at)


def _assistant_turn(content: object, at: str) -> dict[str, Any]:
    if isinstance(content, str):
        return {"role": "assistant", "content": content}
    texts, calls, carried = [], [], None
    mark: dict[str, Any] = {}
    for number, block in enumerate(_blocks(content, at)):
        mark = (_mark(block) if isinstance(block, dict) else {}) or mark
        match block:
            case {"type": "tool_use", "id": str(call), "name": str(name), **rest}:
                calls.append({"id": call, "function": {"name": flat_name(None, name), "arguments": rest.get("input")}})
            case {"type": "redacted_thinking", "data": str(packed)}:
                carried = packed
            case {"type": "thinking" | "redacted_thinking"}:
                continue  # what a former reply thought is shown to no model
            case _:
                texts.append(_block_text(block, f"{at}.{number}"))
    return {"role": "assistant", "content": "\n\n".join(texts), "tool_calls": calls, "state": carried, **mark}


def _tool(tool: ClientTool, at: str) -> dict[str, Any]:
    description, schema = description_and_schema(tool.type or "") or (tool.description, tool.input_schema)
    if schema is None:
        param = f"{at}.input_schema"
        raise RequestError(400, "invalid_request", f"{param}: a tool needs it", param=param)
    # The API allows 128 characters.
    described = {"name": flat_name(None, tool.name), "description": description, "strict": tool.strict}
    return function_tool({**described, "parameters": schema}, tool.cache_control)


def _flat_choice(choice: ToolChoice | None) -> object:
    """A choice of tools as the Responses API writes it."""
    if choice is None or choice.type in ("auto", "none"):
        return choice and choice.type
    if choice.type == "any":
        return "required"
    if choice.name is None:
        raise RequestError(400, "invalid_request", "tool_choice.name: which tool?", param="tool_choice.name")
    return {"type": "function", "name": flat_name(None, choice.name)}
