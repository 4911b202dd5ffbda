"""JSON as services really send it: with NaN and Infinity, and halves of emojis."""

import json
from typing import Any

import orjson

from moa._messages import whole_characters

__all__ = ["TextJoiner", "dumps", "loads", "loads_whole", "whole_characters"]


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


def dumps(value: object) -> bytes:
    """Return a value as JSON, with U+FFFD for each half of a character.

    Raises:
        TypeError: Something in it has no JSON form.
    """
    try:
        # Copied, as what orjson gives keeps the room in which it was written: 4 kB for every call that waits.
        return bytes(memoryview(orjson.dumps(value)))
    except TypeError as error:
        if "surrogate" not in str(error):
            raise
        return whole_characters(json.dumps(value, ensure_ascii=False, separators=(",", ":"))).encode()


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
