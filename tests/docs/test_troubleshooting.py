"""Every error has its place in the page that says what to do."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import moa
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


def test_the_servers_own_codes_are_all_in_its_table() -> None:
    source = Path(moa.__file__).parent / "_server"
    texts = [path.read_text(encoding="utf-8") for path in source.rglob("*.py")]
    codes = {code for text in texts for code in re.findall(r'RequestError\(\s*\d{3},\s*"(\w+)"', text)}
    section = PAGE.read_text(encoding="utf-8").split("## The server refused a request")[1].split("\n## ")[0]

    assert len(codes) > 15
    assert codes - set(re.findall(r"`(\w+)`", section)) == set()
