r"""Escaping of our own delimiters inside proposals: reversible, so that no proposal can break out of its place.

One backslash goes into everything that looks like a delimiter, also into what is escaped already: n backslashes become
n + 1, and unescaping takes one away. `</Response_1>` becomes `</\Response_1>`, and a line that begins with `2.` begins
with `2\.`. Letter case and white space don't matter. Unicode look-alikes and invisible characters inside a delimiter
are left alone: they are different texts for a model too.
"""

import re
from dataclasses import dataclass
from functools import cache

_LINE_START = "(?:^|[\r\v\f\x1c-\x1e\x85\u2028\u2029])"
_TAG = r"\s*response(?:\s*_|[\s-]*\d)"


@dataclass(frozen=True, slots=True)
class Delimiter:
    """One kind of delimiter: what stands before the place of the backslashes, and what after them."""

    before: str
    after: str

    def escape(self, text: str) -> str:
        """Return the text with one more backslash in everything that looks like this delimiter."""
        return _pattern(rf"({self.before})(?=\\*{self.after})").sub(r"\1\\", text)

    def unescape(self, text: str) -> str:
        """Return the text with one backslash less: what `escape` was given."""
        return _pattern(rf"({self.before})\\(?=\\*{self.after})").sub(r"\1", text)


@cache
def _pattern(source: str) -> re.Pattern[str]:
    # The module `re` keeps compiled patterns too, but adding up its flags alone costs more than the search.
    return re.compile(source, re.IGNORECASE | re.MULTILINE)


TAG = Delimiter(r"<\s*/?", _TAG)
"""`<Response_1>` and `</Response_1>`."""

ITEM = Delimiter(rf"{_LINE_START}\s*\d+", "[.)]")
"""`1.` or `1)` where a line begins."""


def escape(text: str, delimiters: tuple[Delimiter, ...]) -> str:
    """Return the text with these delimiters escaped."""
    for delimiter in delimiters:
        text = delimiter.escape(text)
    return text


def unescape(text: str, delimiters: tuple[Delimiter, ...]) -> str:
    """Return what `escape` was given with the same delimiters."""
    for delimiter in reversed(delimiters):
        text = delimiter.unescape(text)
    return text
