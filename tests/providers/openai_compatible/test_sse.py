from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa.providers._openai_compatible.sse import SseReader


def read(*chunks: bytes) -> list[tuple[bytes, bytes]]:
    reader = SseReader()
    return [event for chunk in chunks for event in reader.feed(chunk)] + list(reader.end())


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[start:stop] for start, stop in pairwise(places)]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_reader_takes_every_line_ending(newline: bytes) -> None:
    stream = newline.join([b"data: a", b"", b"event: error", b"data:b", b"data: c", b"", b""])

    assert read(stream) == [(b"", b"a"), (b"error", b"b\nc")]


def test_reader_skips_comments_other_fields_and_events_without_data() -> None:
    assert read(b": ping\n\nid: 1\nretry: 5\nevent: ping\n\ndata: a\n\n") == [(b"", b"a")]


def test_reader_skips_a_byte_order_mark_wherever_it_is_broken() -> None:
    stream = b"\xef\xbb\xbfdata: a\n\n"

    assert {tuple(read(stream[:cut], stream[cut:])) for cut in range(len(stream))} == {((b"", b"a"),)}


def test_reader_gives_a_last_event_whose_empty_line_is_missing() -> None:
    assert read(b"data: a\n\ndata: [DO", b"NE]") == [(b"", b"a"), (b"", b"[DONE]")]


def test_reader_takes_an_error_field_as_an_event_of_that_name() -> None:
    assert read(b'error: {"code":500}\n\n') == [(b"error", b'{"code":500}')]


FIELDS = st.sampled_from(
    [b"data: x", b"data:", b"data:{}", b"event: e", b": c", b"", b"data", b"error: e", b"data: \xc3\xa9"]
)


@given(
    lines=st.lists(st.tuples(FIELDS, st.sampled_from([b"\n", b"\r", b"\r\n"])), max_size=12),
    cuts=st.lists(st.integers(min_value=0, max_value=200), max_size=6),
)
def test_reader_gives_the_same_events_wherever_the_bytes_are_broken(
    lines: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(line + newline for line, newline in lines)

    assert read(*pieces(stream, cuts)) == read(stream)
