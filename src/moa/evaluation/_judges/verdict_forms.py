"""The verdict that a judge's reply states, in the forms in which judges really write it."""

import re
import unicodedata
from typing import Any

from moa.evaluation._data.annotations import DRAW
from moa.evaluation._judges.json_objects import objects_in

_KEY = (
    r"(?:final[ _-]*)?(?:verdict|winner|judge?ment|decision|choice|answer|preference|grade(?=[\"'*_]*\s*(?:[:=]|is\b))"
    r"|preferred(?:[ _-]*(?:response|answer))?"
    r"|(?:better|best|winning|selected|chosen)(?:[ _-]*(?:response|answer|assistant|option))?)"
)
_NOUN = r"(?:the\s+)?(?:response|answer|assistant|option|model|output|candidate)?[\s_#:-]*"
# A small "a" before another word is an article.
_SIDE = rf"{_NOUN}\(?[\"'`*\[({{]*(?P<side>(?-i:[AB])|(?-i:[ab])(?!\s+\w))\b"
_TIE = (
    r"(?P<tie>(?:a\s+)?(?:tie|draw)|tied|equal(?:ly good)?|neither|both(?: equal(?:ly good)?)?|same|no preference)\b"
    r"(?!\s+\w)"
)
# Not where the reply only repeats what may be said: `"A" or "B"`, `A/B/tie`.
_ALONE = r"(?![\"'*`\])}]*(?:\s*[/|]|\s*,?\s+(?:or|and)\b))"

_VALUE = re.compile(
    rf"^[\s\"'`*\[(]*(?:{_SIDE}|{_TIE})[\s\"'`*\])}}.!]*(?:(?:is (?:the )?better|wins)\b\W*)?$", re.IGNORECASE
)
_STATED = re.compile(
    rf"\b{_KEY}\b(?:\s+is)?[\"'*_]*\s*[:=]?[\s\"'`*]*(?:is\s+)?(?:{_SIDE}|{_TIE}){_ALONE}", re.IGNORECASE
)
_BRACKETS = re.compile(
    r"\[\[\s*(?:(?P<side>[AB])(?:\s*>+\s*[AB])?|(?P<tie>C|tie|A\s*=\s*B|B\s*=\s*A))\s*\]\]", re.IGNORECASE
)
_TAGGED = re.compile(
    rf"<\s*{_KEY}\s*>[\s*\"'`]*(?:{_SIDE}|{_TIE})[\s*\"'`.]*<\s*/"
    r"|\bboxed[{\[]\s*(?:\\text\w*\{)?\s*(?:response\s*)?(?P<boxed>A|B|tie)\s*[}\]]",
    re.IGNORECASE,
)
_PROSE = re.compile(
    r"(?:\b(?:response|answer|assistant|option)[\s_]*(?P<side>[AB])\b"
    r"(?:\s+(?:is|was)\s+(?:the\s+)?(?:clearly\s+|much\s+|slightly\s+|overall\s+)?"
    r"(?:better|best|superior|stronger|preferable|winner)\b|\s+wins\b))"
    r"|(?:\bI\s+(?:would\s+)?(?:prefer|choose|pick|select)\s+(?:response|answer|assistant|option)[\s_]*"
    r"(?P<picked>[AB])\b)"
    r"|\b(?:it'?s|it is|they are|(?:both|the)(?: two)? (?:responses|answers) are)\s+"
    r"(?:a (?:tie|draw)|tied|equally good)\b",
    re.IGNORECASE,
)
_DENIED = re.compile(r"(?:\bnot|n't|\bnever|\bwhether)(?:[^\S\n]+\w+){0,4}\s+$", re.IGNORECASE)
"""Before what is said not to be the verdict, or is doubted."""
_QUOTES = str.maketrans("‘’“”", "''\"\"")
_LONGEST_VALUE = 100
_RUN = re.compile(r"[\s\"'`*_#:=\[({-]{9,}")
"""Marks and white space between words. Models that are held to JSON may write thousands of line breaks: the patterns
above would take hours with them."""
_KEYS = re.compile(rf"^{_KEY}$", re.IGNORECASE)


def verdict_in(text: str) -> float | None:
    """Return the preference that a reply states, in the order of showing; None if it states none, or several.

    What counts is, wherever it stands: a JSON object with the verdict (under the key that was asked for, or one that
    judges use in its place), `verdict: A` and its like, `[[A]]` and `[[A>B]]` as the arenas' judges write it, a tag, a
    box; else a reply that is nothing but the verdict; else a sentence such as "Response A is better". A letter that
    merely occurs in prose does not count. A reply that states several different verdicts states none: one of them may
    be a quotation.

    Args:
        text: The reply.

    Returns:
        1 where the output shown first is better, 2 where the second is, 1.5 for a tie.
    """
    text = unicodedata.normalize("NFKC", text).translate(_QUOTES)
    objects, around = _objects_in(text)
    stated = {found for value in objects for found in _of_object(value)}
    for pattern in (_STATED, _BRACKETS, _TAGGED):
        stated |= _affirmed(pattern, around)
    if not stated and (whole := _value(text)) is not None:
        stated = {_preference(whole)}
    if not stated:
        stated = _affirmed(_PROSE, around)
    return stated.pop() if len(stated) == 1 else None


def _affirmed(pattern: re.Pattern[str], text: str) -> set[float]:
    """The verdicts in a text that are not denied."""
    matches = pattern.finditer(text)
    return {_preference(match) for match in matches if not _DENIED.search(text[: match.start()][-60:])}


def _preference(match: re.Match[str]) -> float:
    groups = match.groupdict()
    side = groups.get("side") or groups.get("picked") or groups.get("boxed") or ""
    return {"a": 1.0, "b": 2.0}.get(side.lower(), DRAW)


def _of_object(value: dict[str, Any]) -> list[float]:
    """The verdicts under an object's keys."""
    found = [str(verdict) for key, verdict in value.items() if _KEYS.match(key) and isinstance(verdict, str)]
    return [_preference(match) for verdict in found if (match := _value(verdict)) is not None]


def _value(text: str) -> re.Match[str] | None:
    """The verdict that a text is and nothing else; none if it is long, as that would take seconds to find out."""
    text = text.strip()
    return _VALUE.match(text) if len(text) <= _LONGEST_VALUE else None


def _objects_in(text: str) -> tuple[list[dict[str, Any]], str]:
    """The JSON objects with a verdict, and the text around them, long runs of marks cut short."""
    objects, around, place = list[dict[str, Any]](), "", 0
    for start, end, value in objects_in(text, lambda value: bool(_of_object(value))):
        objects.append(value)
        around += text[place:start]
        place = end
    return objects, _RUN.sub(lambda run: run[0][:4] + run[0][-4:], around + text[place:])
