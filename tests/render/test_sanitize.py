import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa._render.sanitize import one_line, safe

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
ANYTHING = st.text(st.characters(codec=None))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\x1b[2J\x1b]0;owned\x07", "␛[2J␛]0;owned␇"),
        ("one\r\ntwo\roverwritten", "one\ntwooverwritten"),
        ("\x9b31m", "<U+009B>31m"),
        ("\u202eevil\u2069", "<U+202E>evil<U+2069>"),
        ("half \ud83d", "half \ufffd"),
        ("\u2028", "\n"),
        ("[red]not markup[/red] 👩‍🔬 naïve", "[red]not markup[/red] 👩‍🔬 naïve"),
    ],
)
def test_safe_shows_what_a_terminal_would_obey(text: str, shown: str) -> None:
    assert safe(text) == shown


@given(st.one_of(ANYTHING, st.text("\x1b[]\x07\x9b\r\n\u202e\ud800ab")))
def test_safe_leaves_nothing_that_a_terminal_obeys(text: str) -> None:
    shown = safe(text)

    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in "\n\t"]
    assert not set(shown) & set(BIDI)
    shown.encode("utf-8")


@given(ANYTHING, st.integers(0, 50))
def test_safe_gives_the_same_when_a_stream_cuts_the_text_anywhere(text: str, at: int) -> None:
    assert safe(text[:at]) + safe(text[at:]) == safe(text)


@given(ANYTHING, st.integers(4, 60))
def test_one_line_keeps_to_one_line_and_its_limit(text: str, limit: int) -> None:
    line = one_line(text, limit=limit)

    assert len(line) <= limit
    assert "\n" not in line


def test_one_line_marks_what_it_shortened() -> None:
    assert one_line("  a long\n sentence ", limit=11) == "a long s..."
