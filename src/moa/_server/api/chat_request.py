"""Requests of OpenAI's Chat Completions API: every field is honoured, passed to the aggregator, or refused by name."""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, WithJsonSchema

from moa._messages import ReplyOptions, Sampling
from moa._server.api.openai_request import IGNORED_HERE, OpenAIRequest, StreamOptions, Tokens, Verbosity
from moa._server.api.request import ApiRequest, parse_messages
from moa._server.api.request_model import RequestModel, parse
from moa._server.http.errors import RequestError

Content = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "object"}},
                {"type": "null"},
            ]
        }
    ),
]
"""Text, or parts; checked where messages are read, whose sentences are better than those of a union."""

Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class ChatMessage(RequestModel):
    """One message.

    Attributes:
        reasoning_content: What a former reply showed as thinking. No model is shown it again.
        refusal: A former reply's refusal; taken as its text.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    audio: None = None
    function_call: None = None

    def as_turn(self) -> dict[str, Any]:
        """The message as conversations take it."""
        content = self.refusal if self.content is None and self.refusal else self.content
        return {
            "role": self.role,
            "content": content,
            "name": self.name,
            "tool_calls": self.tool_calls,
            "tool_call_id": self.tool_call_id,
        }


class Function(RequestModel):
    """A function that the model may call."""

    name: Annotated[str, Field(min_length=1)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(RequestModel):
    """A tool; only functions are supported, as others run on the servers of their service."""

    type: Literal["function"]
    function: Function


class ChatStreamOptions(StreamOptions):
    """How a stream is written."""

    include_usage: bool | None = None


class ChatRequest(OpenAIRequest):
    """The body. What mixtures can't do is in `refused`; everything else is the API's own."""

    refused: ClassVar[Mapping[str, tuple[Collection[object], str]]] = {
        "n": ((1,), "a mixture gives one answer"),
        "audio": ((), "only text is answered"),
        "modalities": ((["text"],), "only text is answered"),
        "prediction": ((), "no model of a mixture writes the client's own text"),
        "web_search_options": ((), "give the tool yourself"),
        "functions": (([],), "use tools"),
        "function_call": ((), "use tool_choice"),
        "store": ((False,), IGNORED_HERE),
        "metadata": (({},), IGNORED_HERE),
        "moderation": ((), "use a service of its own"),
        "prompt_cache_options": (({},), "each service caches in its own way"),
    }

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    top_k: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    stop: Annotated[
        Any,
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string", "minLength": 1},
                    {"type": "array", "items": {"type": "string", "minLength": 1}},
                    {"type": "null"},
                ]
            }
        ),
    ] = None
    seed: Seed | None = None
    tools: list[Tool] | None = None
    tool_choice: Annotated[
        Any,
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string", "enum": ["none", "auto", "required"]},
                    {
                        "type": "object",
                        "properties": {
                            "type": {"const": "function"},
                            "function": {
                                "type": "object",
                                "properties": {"name": {"type": "string"}},
                                "required": ["name"],
                                "additionalProperties": False,
                            },
                        },
                        "required": ["type", "function"],
                        "additionalProperties": False,
                    },
                    {"type": "null"},
                ]
            }
        ),
    ] = None
    response_format: dict[str, Any] | None = None
    logprobs: bool | None = None
    reasoning_effort: str | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]] | None = None
    verbosity: Verbosity | None = None
    stream_options: ChatStreamOptions | None = None


def read_chat_request(body: bytes) -> ApiRequest:
    """Return what a request asks.

    Raises:
        RequestError: It can't be honoured; names the field.
    """
    request = parse(ChatRequest, body)
    usage = request.stream_options is not None and bool(request.stream_options.include_usage)
    return ApiRequest(
        model=request.model,
        messages=_turns(request.messages),
        sampling=_sampling(request),
        options=ReplyOptions(
            tools=tuple(tool.model_dump(exclude_none=True) for tool in request.tools or ()),
            tool_choice=_tool_choice(request.tool_choice, has_tools=bool(request.tools)),
            response_format=_response_format(request.response_format),
            top_logprobs=_top_logprobs(request),
        ),
        seed=request.seed,
        stream=bool(request.stream),
        include_usage=usage,
        moa=request.moa,
    )


def _turns(messages: list[ChatMessage]) -> tuple[Any, ...]:
    for at, message in enumerate(messages):
        if message.role == "tool" and message.tool_call_id is None:
            param = f"messages.{at}.tool_call_id"
            raise RequestError(400, "invalid_request", f"{param}: a tool's message needs it", param=param)
    return parse_messages([message.as_turn() for message in messages], param="messages")


def _sampling(request: ChatRequest) -> Sampling:
    limit, older = request.max_completion_tokens, request.max_tokens
    if limit is not None and older is not None and limit != older:
        raise RequestError(400, "invalid_request", "max_tokens and max_completion_tokens differ", param="max_tokens")
    return Sampling(
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        max_tokens=limit if limit is not None else older,
        stop=stop_texts(request.stop, param="stop"),
        reasoning_effort=request.reasoning_effort,
        extra=request.extra(
            frequency_penalty=request.frequency_penalty,
            presence_penalty=request.presence_penalty,
            logit_bias=request.logit_bias,
            verbosity=request.verbosity,
        ),
    )


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


def _tool_choice(value: object, *, has_tools: bool) -> str | Mapping[str, Any] | None:
    if value is None:
        return None
    if not has_tools and value not in ("none", "auto"):
        raise RequestError(
            400, "invalid_request", "tool_choice: there are no tools to choose from", param="tool_choice"
        )
    match value:
        case "none" | "auto" | "required":
            return str(value) if has_tools else None
        case {"type": "function", "function": {"name": str(name), **rest}, **others} if not rest and not others:
            return {"type": "function", "function": {"name": name}}
    message = "tool_choice: expected none, auto, required, or one function: {type, function: {name}}"
    raise RequestError(400, "invalid_request", message, param="tool_choice")


def _response_format(value: dict[str, Any] | None) -> Mapping[str, Any] | None:
    match value:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"} | {"type": "json_schema", "json_schema": {"name": str()}}:
            return value
    message = (
        "response_format: expected {type: text}, {type: json_object}, or {type: json_schema, json_schema: {name, …}}"
    )
    raise RequestError(400, "invalid_request", message, param="response_format")


def _top_logprobs(request: ChatRequest) -> int | None:
    if request.logprobs:
        return request.top_logprobs or 0
    if request.top_logprobs is not None:
        raise RequestError(400, "invalid_request", "top_logprobs: it needs logprobs: true", param="top_logprobs")
    return None
