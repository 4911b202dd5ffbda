"""Files in a conversation as text: models of a mixture read text and images, and nothing else for certain."""

import base64
import binascii

_TEXTUAL = ("application/json", "application/xml", "application/yaml", "application/x-yaml", "application/javascript")


def document_text(*, name: str | None, media_type: str, data: str) -> str:
    """Return a file's text; for any other file, a note with its name, type and size.

    Args:
        name: Its name or title.
        media_type: e.g. `application/pdf`.
        data: Its bytes in base64.

    Raises:
        ValueError: The data isn't base64.
    """
    try:
        content = base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise ValueError(f"the file's data is not base64: {error}") from None
    kind = media_type.partition(";")[0].strip().lower()
    if kind.startswith("text/") or kind in _TEXTUAL:
        return titled(name, content.decode("utf-8", "replace"))
    return f"[A file was attached here that can't be shown to you: {name or 'unnamed'}, {kind}, {len(content):,} bytes]"


def titled(name: str | None, text: str) -> str:
    """Return a document's text below its title."""
    return f"{name}:\n\n{text}" if name else text


def split_data_url(url: str) -> tuple[str, str] | None:
    """Return the media type and the base64 data of a `data:` address; None for any other text."""
    header, comma, data = url.partition(",")
    if not (comma and header.startswith("data:") and header.endswith(";base64")):
        return None
    return header[len("data:") : -len(";base64")], data
