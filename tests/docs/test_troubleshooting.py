"""Every error has its place in the page that says what to do."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from moa.errors import MoaError

PAGE = Path(__file__).parent.parent.parent / "docs" / "troubleshooting.md"

_ENTRY = re.compile(r"^### `(\w+)` \{ #(\w+) \}\n\n`(\w+)`: (.+)", re.MULTILINE)


def _tree(root: type[MoaError]) -> Iterator[type[MoaError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _tree(kind)


ERRORS = [kind for kind in _tree(MoaError) if kind.__module__.startswith("moa.")]


@pytest.fixture(scope="module")
def entries() -> dict[str, tuple[str, str]]:
    """Code to class name and anchor."""
    return {code: (name, anchor) for code, anchor, name, _ in _ENTRY.findall(PAGE.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_an_error_has_an_entry_under_its_code(error: type[MoaError], entries: dict[str, tuple[str, str]]) -> None:
    assert entries.get(error.code) == (error.__name__, error.code)


def test_no_entry_is_left_of_an_error_that_is_gone(entries: dict[str, tuple[str, str]]) -> None:
    assert set(entries) <= {error.code for error in ERRORS}
