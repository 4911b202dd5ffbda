"""The identity of a call: the content address under which its reply is stored."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from moa._messages import Message, ReplyOptions, message_dict
from moa.providers._base import ModelRequest
from moa.providers._cache_marks import without_tool_marks
from moa.providers._endpoint import Endpoint

VERSION = 1
"""Version of the keys, part of each; increase it when the same key would no longer identify the same call."""


def cache_key(endpoint: Endpoint, request: ModelRequest) -> str | None:
    """Return the address of a call, 64 hexadecimal digits; None if a value in it has no JSON form.

    It includes everything that may change the reply: the endpoint (never the credentials), the model, every parameter,
    the messages with their images, the number of the sample, and the run that alone may use it, if one is named. It
    excludes the delivery: streamed and complete replies share an entry.
    """
    content = {"version": VERSION, "endpoint": _identity(endpoint), "request": _content(request)}
    if request.context.cache_scope:
        content["scope"] = request.context.cache_scope
    if states := [state for message in request.messages for state in _states(message)]:
        content["states"] = states
    return _digest(content)


def _states(message: Message) -> list[Any]:
    """Data that services attached to a message and its calls: it is sent back, so it may change their replies."""
    found = (message.state, *(call.state for call in message.tool_calls))
    return [[state.owner, state.data] for state in found if state is not None]


def request_digest(request: ModelRequest) -> str | None:
    """Return the address of a request regardless of its endpoint; otherwise as `cache_key`."""
    return _digest(_content(request))


def _identity(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "name": endpoint.name,
        "kind": endpoint.kind,
        "base_url": endpoint.base_url,
        "endpoint_url": endpoint.endpoint_url,
        "region": endpoint.region,
        "options": endpoint.options,
    }


def _content(request: ModelRequest) -> dict[str, Any]:
    sampling = _fields(request.sampling)
    # An integer and the equal float are the same temperature.
    sampling |= {name: float(sampling[name]) for name in ("temperature", "top_p") if sampling[name] is not None}
    return {
        "model": request.model,
        "sample": request.context.sample,
        "sampling": sampling,
        "options": _options(request.options),
        "messages": [message_dict(message) for message in request.messages],
    }


def _options(options: ReplyOptions) -> dict[str, Any]:
    """What may change a reply: not whether a format may be omitted, and no marks for a service's prompt cache."""
    given = {name: value for name, value in _fields(options).items() if name != "format_is_optional"}
    return given | {"tools": without_tool_marks(options.tools)}


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _digest(content: Mapping[str, Any]) -> str | None:
    try:
        # Escaped, so that an unpaired surrogate has an address too.
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=_plain)
    except (TypeError, ValueError):
        return None
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _plain(value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
