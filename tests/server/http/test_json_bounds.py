"""What a body holds, counted before anything parses it."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moa._server.http.errors import RequestError
from moa._server.http.json_bounds import JsonBounds
from tests.support.work import lines_run

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('ab\\"[]{},:é\ud83d\n', max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('a"\\[,', max_size=3), inner, max_size=4),
    max_leaves=20,
)


def _count(value: Any) -> tuple[int, int]:
    """Members of lists and objects, and lists and objects themselves; and how deep they go."""
    if not isinstance(value, list | dict):
        return 0, 0
    inside = [_count(each) for each in (value.values() if isinstance(value, dict) else value)]
    # Of n members n - 1 have a comma before them.
    members = 1 + max(0, len(inside) - 1)
    return members + sum(count for count, _ in inside), 1 + max((depth for _, depth in inside), default=0)


def _takes(text: bytes, cuts: list[int], **limits: int) -> bool:
    bounds, edges = JsonBounds(**limits), [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return all(_feeds(bounds, text[start:end]) for start, end in pairwise(edges))


def _feeds(bounds: JsonBounds, piece: bytes) -> bool:
    """Whether a piece is taken; otherwise the refusal has to be one that clients can read."""
    try:
        bounds.feed(piece)
    except RequestError as error:
        if error.status in (400, 413) and len(error.message) < 200:
            return False
        raise
    return True


@pytest.mark.slow
@settings(max_examples=200)
@given(JSON, st.lists(st.integers(0, 10_000), max_size=8), st.booleans())
def test_values_and_levels_are_counted_exactly_wherever_the_text_is_cut(
    value: Any, cuts: list[int], escaped: bool
) -> None:
    text = json.dumps(value, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    count, depth = _count(value)

    assert _takes(text, cuts, max_values=count + 1, max_depth=depth)
    assert not depth or not _takes(text, cuts, max_values=count + 1, max_depth=depth - 1)
    assert not count or not _takes(text, cuts, max_values=count, max_depth=depth)


@settings(max_examples=100)
@given(st.binary(max_size=60) | st.text('[]{}",:\\ab1', max_size=60).map(str.encode))
def test_whatever_the_bytes_are_they_are_taken_or_refused_as_ours(text: bytes) -> None:
    _feeds(JsonBounds(max_values=5, max_depth=3), text)


def test_a_text_is_one_value_however_long_it_is() -> None:
    bounds = JsonBounds(max_values=3)
    bounds.feed(b'{"image": "')
    for _ in range(100):
        bounds.feed(b"A,[{" * 1000)
    bounds.feed(b'"}')


@pytest.mark.parametrize("piece", [b"[", b"1,", b'"",', b"{", b"]", b'"a":1,', b"[]", b'\\"', b"\\\\", b" "])
def test_the_work_for_a_piece_is_linear_in_it(piece: bytes) -> None:
    def work(size: int) -> int:
        return lines_run(lambda: _feeds(JsonBounds(), piece * size))

    assert work(20_000) <= 2.2 * work(10_000)
