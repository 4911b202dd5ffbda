"""Tools that aggregators don't know as such, translated to functions and back.

Services agree on functions alone. A `custom` tool, which takes free text, becomes a function with one text parameter;
the functions of a `namespace` become functions whose names begin with the namespace's.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

MAX_NAME = 64
"""Most characters of a function's name at OpenAI, Anthropic and Bedrock."""

_INPUT = "input"


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalTool:
    """A tool as its client knows it."""

    kind: Literal["function", "custom"] = "function"
    name: str
    namespace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslatedTools:
    """A request's tools.

    Attributes:
        functions: In the shape of Chat Completions.
        originals: What the names of those that were translated stand for.
    """

    functions: tuple[Mapping[str, Any], ...] = ()
    originals: Mapping[str, OriginalTool] = field(default_factory=dict)

    def original(self, name: str) -> OriginalTool:
        """Return the tool that a model means by a function's name."""
        return self.originals.get(name) or OriginalTool(name=name)

    def with_names(self, names: Sequence[str]) -> "TranslatedTools":
        """Return the functions of these names alone."""
        chosen = tuple(function for function in self.functions if function["function"]["name"] in names)
        return TranslatedTools(functions=chosen, originals=self.originals)


NO_TOOLS = TranslatedTools()


def function_tool(fields: Mapping[str, Any], cache_control: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a function in the shape of Chat Completions; what is None is left out.

    Args:
        fields: Of the function.
        cache_control: The client's cache mark on the tool, if it has one.
    """
    function = {name: value for name, value in fields.items() if value is not None}
    marked = {"cache_control": cache_control} if cache_control else {}
    return {"type": "function", "function": function, **marked}


def flat_name(namespace: str | None, name: str) -> str:
    """Return the name of a namespace's tool as a function of its own."""
    joined = name if not namespace else f"{namespace.rstrip('_')}__{name}"
    if len(joined) <= MAX_NAME:
        return joined
    return f"{joined[: MAX_NAME - 9]}_{hashlib.sha256(joined.encode()).hexdigest()[:8]}"


def custom_as_function(
    name: str,
    description: str | None,
    grammar: Mapping[str, Any] | None,
    cache_control: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a tool that takes free text as a function.

    Args:
        name: Of the function.
        description: What the tool does.
        grammar: `syntax` and `definition` of what the text has to be; None if anything will do.
        cache_control: The client's cache mark on the tool, if it has one.
    """
    expected = "The whole input, as plain text."
    if grammar is not None:
        expected += f" It must match this {grammar.get('syntax')} grammar:\n{grammar.get('definition')}"
    parameters = {
        "type": "object",
        "properties": {_INPUT: {"type": "string", "description": expected}},
        "required": [_INPUT],
        "additionalProperties": False,
    }
    return function_tool({"name": name, "description": description, "parameters": parameters}, cache_control)


def custom_arguments(text: str) -> str:
    """Return the arguments with which a custom tool's function was called, given the tool's input."""
    return orjson.dumps({_INPUT: text}).decode()


def custom_input(arguments: str) -> str:
    """Return the input that a model gave to a custom tool's function; what is no such object is the input itself."""
    try:
        value = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    match value:
        case {"input": str(text)}:
            return text
    return arguments
