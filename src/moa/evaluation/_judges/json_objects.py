"""JSON objects within the text that a model wrote around them."""

import json
from collections.abc import Callable, Iterator
from typing import Any

_DECODER = json.JSONDecoder(strict=False)


def objects_in(text: str, accepts: Callable[[dict[str, Any]], bool]) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Give the accepted objects of a text, each with its start and its end; it is looked for inside of others, too."""
    place = 0
    while (brace := text.find("{", place)) >= 0:
        place = brace + 1
        try:
            value, end = _DECODER.raw_decode(text, brace)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and accepts(value):
            yield brace, end, value
            place = end
