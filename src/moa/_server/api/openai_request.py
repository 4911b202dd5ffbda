"""What requests of OpenAI's two APIs have in common."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from moa._server.api.request import MoaFields
from moa._server.api.request_model import Integer, RequestModel
from moa._server.api.translated_tools import TranslatedTools
from moa._server.http.errors import RequestError

Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Tokens = Annotated[Integer, Field(ge=1, lt=2**31)]
TopK = Annotated[Integer, Field(ge=0, lt=2**31)]
TopLogprobs = Annotated[Integer, Field(ge=0, le=20)]
Verbosity = Literal["low", "medium", "high"]


def tool_choice_schema(one_tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of a choice of tools, given the properties of the object that names one."""
    properties = {"type": {"const": "function"}, **one_tool}
    named = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    return {"anyOf": [{"type": "string", "enum": ["none", "auto", "required"]}, named, {"type": "null"}]}


class StreamOptions(RequestModel):
    """How a stream is written."""

    include_usage: bool | None = None


class OpenAIRequest(RequestModel):
    """The fields that both APIs have under the same name."""

    model: str
    temperature: Temperature | None = None
    top_p: Probability | None = None
    top_logprobs: TopLogprobs | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    moa: MoaFields = MoaFields()


def choose_tools(value: object, tools: TranslatedTools) -> tuple[TranslatedTools, str | Mapping[str, Any] | None]:
    """Return the tools that a request allows, and which of them the model may or must call.

    Args:
        value: `none`, `auto`, `required`, `{type: function | custom, name}` or `{type: allowed_tools, mode, tools}`,
            each tool with its name, as the Responses API writes them.
        tools: The tools to choose from.

    Raises:
        RequestError: It is something else, or names a tool that isn't there.
    """
    if isinstance(value, Mapping) and value.get("type") == "allowed_tools":
        allowed = [tool.get("name") for tool in value.get("tools") or () if isinstance(tool, Mapping)]
        tools, value = tools.with_names([str(name) for name in allowed]), value.get("mode", "auto")
    if value is None or (not tools.functions and value in ("none", "auto")):
        return tools, None
    if not tools.functions:
        message = "tool_choice: there are no tools to choose from"
        raise RequestError(400, "invalid_request", message, param="tool_choice")
    match value:
        case "none" | "auto" | "required":
            return tools, str(value)
        case {"type": "function" | "custom", "name": str(name)}:
            return tools, {"type": "function", "function": {"name": name}}
    message = "tool_choice: expected none, auto, required, or one tool with its type and name"
    raise RequestError(400, "invalid_request", message, param="tool_choice")


def read_response_format(value: Mapping[str, Any] | None, *, param: str) -> Mapping[str, Any] | None:
    """Return how a reply has to be, in the shape of Chat Completions; None if it may be any text.

    Args:
        value: `{type: text}`, `{type: json_object}`, or `{type: json_schema}` with `name`, `schema` and others beside
            the type or below `json_schema`. A schema may do without a name, as at llama.cpp's and vLLM's servers.
        param: The request's field.

    Raises:
        RequestError: It is something else.
    """
    match value:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return value
        case {"type": "json_schema", "json_schema": dict(schema)} | {"type": "json_schema", **schema} if schema:
            return {"type": "json_schema", "json_schema": {"name": "answer", **schema}}
    message = f"{param}: expected the type text or json_object, or json_schema with a schema"
    raise RequestError(400, "invalid_request", message, param=param)
