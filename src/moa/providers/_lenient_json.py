"""JSON as services really send it: with NaN and Infinity, and halves of emojis."""

import json
from typing import Any

import orjson


def loads(data: bytes) -> Any:
    """Return the value of a JSON text; what strict readers refuse is read as far as it has a meaning.

    Raises:
        ValueError: It isn't JSON, or not UTF-8.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data.decode("utf-8"))


def loads_whole(data: bytes) -> Any:
    """Return the value of a JSON text as `loads` does, with U+FFFD for each half of a character.

    Raises:
        ValueError: It isn't JSON, or not UTF-8.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(whole_characters(json.dumps(loads(data), ensure_ascii=False)))


class TextJoiner:
    """Puts halves of characters together that a service has cut apart; a half without its other half becomes U+FFFD.

    Attributes:
        half: The half of a character that waits for its other half; mostly empty.
    """

    def __init__(self) -> None:
        self.half = ""

    def feed(self, text: str) -> str:
        """Return the next piece of text, as far as its characters are whole."""
        text, self.half = self.half + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self.half = text[:-1], text[-1]
        return whole_characters(text)

    def end(self) -> str:
        """Return what is left of a character that never became whole."""
        half, self.half = self.half, ""
        return "\N{REPLACEMENT CHARACTER}" if half else ""


def whole_characters(text: str) -> str:
    """Return a text without halves of characters, which no encoding of Unicode can hold."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
