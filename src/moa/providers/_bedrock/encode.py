"""A request in Converse's words: pure functions from `ModelRequest` to the address and the JSON body."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import orjson

from moa._messages import ImagePart, Message, ReplyOptions, Sampling, TextPart, ToolCall
from moa.errors import BadRequest, Rejection, UnsupportedInput
from moa.providers._base import ModelRequest
from moa.providers._bedrock.families import Family, Fields, family_of
from moa.providers._cache_marks import tool_mark, with_marks_that_fit
from moa.providers._conversations import normal_form, short_id, tools_as_text
from moa.providers._lenient_json import dumps
from moa.providers._reshaping import HINTS
from moa.providers._service_state import owner_of

OPENING = "(The conversation begins with your turn.)"
"""A user turn that goes in front of a conversation which begins with the assistant: Converse wants a user first."""

NOTHING = "(no output)"
"""A tool's result without content, which some models refuse."""

_CALL_ID = re.compile("[a-zA-Z0-9_-]{1,64}")
"""Source: botocore's service model, `ToolUseId`."""

_IMAGE_FORMATS = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}


def path(request: ModelRequest) -> str:
    """Return the address below the endpoint; the model's id is percent-encoded as the AWS SDKs do."""
    operation = "converse-stream" if request.deltas else "converse"
    return f"/model/{quote(request.model, safe='-_.~')}/{operation}"


def body(request: ModelRequest) -> bytes:
    """Return the JSON body, the same for Converse and ConverseStream.

    `Sampling.extra` is merged into the body, mapping by mapping, and wins over what stands there: its keys are those
    of Converse's request (`guardrailConfig`, `performanceConfig`, `additionalModelRequestFields` …). Hints of other
    APIs (`user`, `prompt_cache_key` …), a seed and the names of speakers have no place in Converse and are left out.

    Raises:
        UnsupportedInput: Something that Converse can't carry: an image by its address, a kind of tool, JSON mode.
        BadRequest: A parameter that the model or Converse doesn't have.
    """
    try:
        return dumps(fields(request))
    except TypeError as error:
        raise BadRequest(f"the request can't be written as JSON: {error}", model=request.reference) from error


def fields(request: ModelRequest) -> Fields:
    """Return the body as a mapping; raises as `body`."""
    family = family_of(request.model)
    messages, tools = with_marks_that_fit(request.messages, request.options.tools)
    request = replace(request, messages=messages, options=replace(request.options, tools=tools))
    parts = (
        _conversation(request),
        _inference(request.sampling),
        _tools(request.options, request.reference),
        _format(request.options.response_format, request.reference),
        _family_fields(request, family),
        _own_fields(request),
    )
    whole: Fields = {}
    for part in parts:
        whole = _merged(whole, part)
    return whole


_FIELDS = frozenset(
    {
        *("system", "messages", "inferenceConfig", "toolConfig", "guardrailConfig", "performanceConfig"),
        *("additionalModelRequestFields", "additionalModelResponseFieldPaths", "promptVariables", "requestMetadata"),
        *("serviceTier", "outputConfig"),
    }
)
"""The top-level keys of Converse's request. Source: botocore's service model, `ConverseRequest`."""


def _own_fields(request: ModelRequest) -> Fields:
    """What the user or a client added: Converse's own fields; hints that are another API's are left out."""
    fields: Fields = {}
    for name, value in request.sampling.extra.items():
        if name == "service_tier":
            fields |= {} if value == "auto" else {"serviceTier": {"type": "default" if value == "standard" else value}}
        elif name in _FIELDS:
            fields[name] = value
        elif name not in HINTS:
            error = BadRequest(
                f"Converse has no field {name!r}: put a model's own fields into extra.additionalModelRequestFields",
                model=request.reference,
            )
            error.rejects = (Rejection(name),)
            raise error
    return fields


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Fields:
    whole = dict(base)
    for key, value in over.items():
        known = whole.get(key)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            value = _merged(known, value)
        whole[key] = value
    return whole


def _inference(sampling: Sampling) -> Fields:
    config = {
        "maxTokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "topP": sampling.top_p,
        "stopSequences": list(sampling.stop) or None,
    }
    given = {key: value for key, value in config.items() if value is not None}
    return {"inferenceConfig": given} if given else {}


def _family_fields(request: ModelRequest, family: Family) -> Fields:
    sampling, given = request.sampling, {}
    if request.options.top_logprobs is not None:
        raise BadRequest("Converse reports no log probabilities: leave out top_logprobs", model=request.reference)
    if sampling.top_k is not None:
        if family.top_k is None:
            raise _no_field("top_k", request.reference)
        given = family.top_k(sampling.top_k)
    if sampling.reasoning_effort is not None:
        if family.effort is None:
            raise _no_field("reasoning_effort", request.reference)
        given = _merged(given, family.effort(sampling.reasoning_effort))
    if sampling.stop and family.reports_stop_sequence:
        given = _merged(given, {"additionalModelResponseFieldPaths": ["/stop_sequence", "/delta/stop_sequence"]})
    return given


def _no_field(name: str, reference: str) -> BadRequest:
    return BadRequest(
        f"no {name} is known for this model on Bedrock: leave it out, or put the model's own field into "
        "extra.additionalModelRequestFields",
        model=reference,
    )


# ── conversation ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _conversation(request: ModelRequest) -> Fields:
    messages = request.messages
    turns = _turns(request, [message for message in normal_form(messages) if message.role != "system"])
    system = [_content(message, request.reference) for message in messages if message.role == "system"]
    blocks = [block for content in system for block in content if "image" not in block]
    return {"messages": turns, "system": blocks} if blocks else {"messages": turns}


def _turns(request: ModelRequest, messages: Sequence[Message]) -> list[Fields]:
    """Converse wants turns that alternate and begin with a user: turns of the same role in a row become one."""
    turns: list[Fields] = []
    # Converse takes tool turns only beside the tools.
    for message in messages if _offered(request.options) else tools_as_text(tuple(messages)):
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(message, request.reference)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(blocks)
        elif blocks:
            turns.append({"role": role, "content": blocks})
    if not turns:
        raise BadRequest("the conversation has no text: write a prompt", model=request.reference)
    if turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": [{"text": OPENING}]})
    return turns


def _blocks(message: Message, reference: str) -> list[Fields]:
    content = _content(message, reference)
    if message.role == "tool":
        # Inside of a result there is no place for a cache point.
        shown = [block for block in content if "cachePoint" not in block]
        result = {"toolUseId": _call_id(message.tool_call_id or ""), "content": shown or [{"text": NOTHING}]}
        return [{"toolResult": result}, *([_cache_point(message.cache_ttl)] if message.cache_points else [])]
    calls = [_tool_use(call, reference) for call in message.tool_calls]
    if calls and message.cache_points and (not content or "cachePoint" in content[-1]):
        # A point that ends the content stands behind the calls that follow it.
        content = content[:-1]
        calls.append(_cache_point(message.cache_ttl))
    return [*_thoughts(message, reference), *content, *calls]


def _thoughts(message: Message, reference: str) -> list[Fields]:
    """The thoughts that the model itself had before it called tools; another model's are nothing to it."""
    state = message.state
    if state is None or state.owner != owner_of(reference):
        return []
    blocks = state.data.get("reasoningContent")
    known = ("reasoningText", "redactedContent")
    return [
        {"reasoningContent": {key: block[key] for key in known if key in block}}
        for block in (blocks if isinstance(blocks, list) else [])
        if isinstance(block, dict) and any(key in block for key in known)
    ]


def _cache_point(ttl: str | None) -> Fields:
    return {"cachePoint": {"type": "default", **({"ttl": ttl} if ttl else {})}}


def _content(message: Message, reference: str) -> list[Fields]:
    content, start = message.content, 0
    blocks: list[Fields] = []
    for end in sorted({*message.cache_points, len(content)}):
        piece = content[start:end]
        parts = (TextPart(text=piece),) if isinstance(piece, str) else piece
        blocks += _part_blocks(parts, reference)
        if blocks and end in message.cache_points:
            blocks.append(_cache_point(message.cache_ttl))
        start = end
    return blocks


def _part_blocks(parts: Iterable[TextPart | ImagePart], reference: str) -> Iterable[Fields]:
    # Blank texts are left out: Converse refuses them.
    for part in parts:
        if isinstance(part, ImagePart):
            yield _image(part, reference)
        elif part.text.strip():
            yield {"text": part.text}


def _image(image: ImagePart, reference: str) -> Fields:
    if not image.data:
        raise UnsupportedInput("Bedrock fetches no images: give the image's bytes, not its address", model=reference)
    kind = _IMAGE_FORMATS.get(image.media_type.lower())
    if kind is None:
        raise UnsupportedInput(
            f"an image is {image.media_type or 'of an unknown type'}: Bedrock takes PNG, JPEG, GIF and WebP",
            model=reference,
        )
    return {"image": {"format": kind, "source": {"bytes": image.base64_data}}}


def _call_id(call_id: str) -> str:
    return call_id if _CALL_ID.fullmatch(call_id) else short_id(call_id)


def _tool_use(call: ToolCall, reference: str) -> Fields:
    try:
        arguments = orjson.loads(call.arguments or "{}")
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the arguments of the tool call {call.name} aren't JSON: {error}", model=reference) from error
    if not isinstance(arguments, dict):
        raise BadRequest(f"the arguments of the tool call {call.name} aren't a JSON object", model=reference)
    return {"toolUse": {"toolUseId": _call_id(call.id), "name": call.name, "input": arguments}}


# ── options ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _offered(options: ReplyOptions) -> tuple[Mapping[str, Any], ...]:
    # Converse has no "none" among its tool choices: no tools are offered then.
    return () if options.tool_choice == "none" else options.tools


def _tools(options: ReplyOptions, reference: str) -> Fields:
    tools = _offered(options)
    if not tools:
        return {}
    config: Fields = {"tools": [entry for tool in tools for entry in _tool_entries(tool, reference)]}
    if options.tool_choice is not None:
        config["toolChoice"] = _choice(options.tool_choice, reference)
    return {"toolConfig": config}


def _tool_entries(tool: Mapping[str, Any], reference: str) -> list[Fields]:
    mark = tool_mark(tool)
    return [_tool(tool, reference), *([] if mark is None else [_cache_point(mark.get("ttl"))])]


def _tool(tool: Mapping[str, Any], reference: str) -> Fields:
    match tool:
        case {"type": "function", "function": {"name": str(name)} as function}:
            spec: Fields = {
                "name": name,
                "inputSchema": {"json": function.get("parameters") or {"type": "object", "properties": {}}},
            }
            if function.get("description"):
                spec["description"] = function["description"]
            if function.get("strict"):
                spec["strict"] = True
            return {"toolSpec": spec}
    raise UnsupportedInput(f"a tool of type {tool.get('type')!r}: use functions with a name", model=reference)


def _choice(choice: str | Mapping[str, Any], reference: str) -> Fields:
    match choice:
        case "auto":
            return {"auto": {}}
        case "required":
            return {"any": {}}
        case {"type": "function", "function": {"name": str(name)}}:
            return {"tool": {"name": name}}
    raise BadRequest(f"tool_choice {choice!r}: use auto, none, required, or one function", model=reference)


def _format(wanted: Mapping[str, Any] | None, reference: str) -> Fields:
    match wanted:
        case None | {"type": "text"}:
            return {}
        case {"type": "json_schema", "json_schema": {"schema": Mapping() as schema} as described}:
            definition = {"schema": orjson.dumps(schema).decode()}
            definition |= {key: described[key] for key in ("name", "description") if described.get(key)}
            text_format = {"type": "json_schema", "structure": {"jsonSchema": definition}}
            return {"outputConfig": {"textFormat": text_format}}
    error = UnsupportedInput(
        f"response_format of type {wanted.get('type')!r}: Converse takes text, or json_schema with a schema",
        model=reference,
    )
    error.rejects = (Rejection("response_format"),)
    raise error
