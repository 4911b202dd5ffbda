"""Files and tools' records as text: models of a mixture read text and images, and nothing else for certain."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import orjson

from moa._server.http.errors import RequestError

_TEXTUAL = ("application/json", "application/xml", "application/yaml", "application/x-yaml", "application/javascript")


def document_text(name: object, media_type: str, data: str, *, at: str) -> str:
    """Return a file's text; for any other file, a note with its name, type and size.

    Args:
        name: Its name or title, if it is a text.
        media_type: e.g. `application/pdf`.
        data: Its bytes in base64.
        at: Where in the request they are.

    Raises:
        RequestError: The data isn't base64.
    """
    try:
        content = base64.b64decode(data, validate=True)
    except binascii.Error as error:
        message = f"{at}: the file's data is not base64: {error}"
        raise RequestError(400, "invalid_request", message, param=at) from None
    name = name if isinstance(name, str) else None
    kind = media_type.partition(";")[0].strip().lower()
    if kind.startswith("text/") or kind in _TEXTUAL:
        return titled(name, content.decode("utf-8", "replace"))
    return f"[A file was attached here that can't be shown to you: {name or 'unnamed'}, {kind}, {len(content):,} bytes]"


def file_text(name: object, data: str, *, at: str) -> str:
    """Return as `document_text` does what is in a `data:` address, or in bare base64 of an unknown type.

    Raises:
        RequestError: The data isn't base64.
    """
    header, comma, content = data.partition(",")
    if comma and header.startswith("data:") and header.endswith(";base64"):
        return document_text(name, header[len("data:") : -len(";base64")], content, at=at)
    return document_text(name, "application/octet-stream", data, at=at)


def titled(name: str | None, text: str) -> str:
    """Return a document's text below its title."""
    return f"{name}:\n\n{text}" if name else text


def vendors_text(kind: str, fields: Mapping[str, Any]) -> str:
    """Return what a tool of a service's own did in an earlier turn, as text for models that don't have the tool."""
    shown = {name: value for name, value in _readable(fields).items() if name not in ("id", "status")}
    return f"[{kind}: {orjson.dumps(shown).decode()}]"


def _readable(value: Any) -> Any:
    """A value without what only the service that wrote it can read."""
    if isinstance(value, list):
        return [_readable(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    return {
        name: _readable(each) for name, each in value.items() if not name.startswith("encrypted") and name != "type"
    }
