"""Text that a model or a service wrote, made harmless for a terminal.

A reply may hold escape sequences (they can hide text, move the cursor, retitle the window or write to the clipboard),
control characters and bidirectional overrides (they make text read as something that it isn't). Each of them is shown
as a visible sign instead, one character at a time, so that a sequence which is cut in two by a stream is caught too.
"""

from collections.abc import Iterator

_LINE_SEPARATORS = (0x2028, 0x2029)
_BIDI_CONTROLS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_ALLOWED_CONTROLS = (0x09, 0x0A)


def _substitutes() -> Iterator[tuple[int, str]]:
    for code in range(0x20):
        if code not in _ALLOWED_CONTROLS:
            yield code, chr(0x2400 + code)
    yield 0x7F, "\u2421"
    for code in (*range(0x80, 0xA0), *_BIDI_CONTROLS):
        yield code, f"<U+{code:04X}>"
    for code in _LINE_SEPARATORS:
        yield code, "\n"
    for code in range(0xD800, 0xE000):  # half a character: no terminal's encoding can take it
        yield code, "\ufffd"
    yield 0x0D, ""  # a carriage return would overwrite the line; in CRLF nothing is lost without it


_TABLE = dict(_substitutes())

SPECIAL_CHARACTERS = frozenset(_TABLE)
"""Code points that a terminal would obey, or can't show."""


def safe(text: str) -> str:
    """Return the text with everything that a terminal would obey made visible; line breaks and tabs stay.

    Carriage returns are left out. Safe to apply piece by piece to a stream. The result is plain text: give it to rich
    as `Text`, never as markup.
    """
    return text.translate(_TABLE)


def one_line(text: str, *, limit: int) -> str:
    """Return the text made safe, on one line; three dots (which every terminal can write) end it if it was shortened.

    Args:
        text: Anything.
        limit: Most characters of the result, at least 4.
    """
    line = " ".join(safe(text).split())
    return line if len(line) <= limit else line[: limit - 3].rstrip() + "..."
