"""Streams: put together, broken anywhere, and whatever services send in place of one."""

from itertools import chain, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa._messages import ToolCall
from moa.errors import (
    AuthenticationFailed,
    BadRequest,
    BrokenReply,
    ContextTooLong,
    ModelNotFound,
    ProviderError,
    RateLimited,
    ServiceFailed,
)
from moa.providers._base import ReplyEvent, TextDelta, ToolCallDelta
from moa.providers._openai_compatible.decode import StreamDecoder
from moa.providers._reply_context import ReplyContext
from tests.providers.openai_compatible.replies import TOKENS, USAGE, Json, piece, sse, streamed

GOOD = sse(
    piece(role="assistant", content=""),
    piece(content="Grüße, "),
    piece(content="Welt"),
    piece("stop"),
    {"id": "c-1", "choices": [], "usage": USAGE},
    "[DONE]",
)


def test_stream_is_folded_to_text_usage_and_names() -> None:
    reply = streamed(GOOD)

    assert (reply.text, reply.finish.reason, reply.finish.usage) == ("Grüße, Welt", "stop", TOKENS)
    assert (reply.finish.served_by, reply.finish.request_id) == ("m-1", "c-1")


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_stream_cut_off_anywhere_is_a_failure_or_the_whole_text(newline: bytes) -> None:
    stream = GOOD.replace(b"\n", newline)
    finished = stream.index(b'"stop"')
    outcomes = set()

    for cut in range(len(stream)):
        try:
            reply = streamed(stream[:cut])
        except BrokenReply:
            outcomes.add("broken")
            assert cut < stream.index(newline, finished), "the finish reason had come"
        else:
            outcomes.add("whole")
            assert cut > finished
            assert (reply.text, reply.finish.reason) == ("Grüße, Welt", "stop")
            assert reply.finish.usage in (None, TOKENS)

    assert outcomes == {"broken", "whole"}


@given(st.lists(st.integers(min_value=0, max_value=len(GOOD)), max_size=8))
def test_stream_means_the_same_wherever_its_bytes_are_broken(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(GOOD)]

    assert streamed(*(GOOD[a:b] for a, b in pairwise(places))) == streamed(GOOD)


def test_stream_is_whole_without_done_once_a_finish_reason_has_come() -> None:
    assert streamed(sse(piece(content="yes"), piece("length"))).finish.reason == "length"


@pytest.mark.parametrize("stream", [sse(piece(content="half a sen")), sse(piece(content=""), "[DONE]")])
def test_stream_that_breaks_off_without_a_finish_reason_is_broken(stream: bytes) -> None:
    with pytest.raises(BrokenReply, match="without a finish reason"):
        streamed(stream)


def test_stream_that_says_done_without_a_finish_reason_is_an_answer_with_a_note() -> None:
    reply = streamed(sse(piece(content="Ice floats."), "[DONE]"))

    assert (reply.text, reply.finish.reason) == ("Ice floats.", "stop")
    assert [note.code for note in reply.finish.notes] == ["no_finish_reason"]


def test_stream_ignores_choices_that_nobody_asked_for() -> None:
    second = {"choices": [{"index": 1, "delta": {"content": "other"}, "finish_reason": "stop"}]}

    assert streamed(sse(piece(content="yes"), second, piece("length"))).text == "yes"
    with pytest.raises(BrokenReply):
        streamed(sse(piece(content="yes"), second))


def test_stream_ignores_what_follows_done() -> None:
    assert streamed(GOOD + sse("no JSON", piece(content="more"))).text == "Grüße, Welt"


@pytest.mark.parametrize(
    "chunks",
    [
        (
            piece(content="yes") | {"usage": {**USAGE, "completion_tokens": 1, "total_tokens": 10}},
            piece("stop") | {"usage": USAGE},
        ),
        (piece(content="yes"), piece("stop"), {"choices": [], "usage": USAGE}),
        (piece(content="yes"), piece("stop") | {"x_groq": {"usage": USAGE}}),
        (piece(content="yes"), piece("stop") | {"usage": None}, {"usage": USAGE}),
        (piece(content="yes") | {"usage": {"prompt_tokens": 9}}, piece("stop") | {"usage": {"completion_tokens": 3}}),
    ],
    ids=["on every chunk", "after the choices", "where Groq puts it", "without choices", "in two parts"],
)
def test_stream_finds_the_usage_wherever_it_stands(chunks: tuple[Json, ...]) -> None:
    assert streamed(sse(*chunks, "[DONE]")).finish.usage == TOKENS


def test_stream_keeps_the_details_of_a_usage_that_is_told_again_without_them() -> None:
    # github.com/BerriAI/litellm/pull/33054
    detailed = USAGE | {"prompt_tokens_details": {"cached_tokens": 8}}
    chunks = (piece(content="yes") | {"usage": detailed}, piece("stop") | {"usage": USAGE})

    usage = streamed(sse(*chunks, "[DONE]")).finish.usage
    assert usage is not None
    assert usage.cached_input_tokens == 8


def test_stream_puts_tool_calls_together_from_their_pieces() -> None:
    def call(index: int, arguments: str, **fields: str) -> Json:
        name = {"name": fields.pop("name")} if "name" in fields else {}
        return piece(tool_calls=[{"index": index, "function": {**name, "arguments": arguments}, **fields}])

    reply = streamed(
        sse(
            call(0, "", id="c0", name="f"),
            call(0, '{"a"'),
            call(1, "{}", id="c1", name="g"),
            call(0, ":1}"),
            piece("stop"),
        )
    )

    assert reply.tool_calls == (
        ToolCall(id="c0", name="f", arguments='{"a":1}'),
        ToolCall(id="c1", name="g", arguments="{}"),
    )
    assert reply.finish.reason == "tool_calls"


def test_stream_numbers_tool_calls_whose_service_does_not() -> None:
    calls = [{"id": f"c{at}", "function": {"name": "f", "arguments": {"at": at}}} for at in range(2)]

    reply = streamed(sse(*(piece(tool_calls=[call]) for call in calls), piece("tool_calls")))

    assert [(call.id, call.arguments) for call in reply.tool_calls] == [("c0", '{"at":0}'), ("c1", '{"at":1}')]


def test_stream_hands_out_each_delta_as_soon_as_it_is_there() -> None:
    decoder = StreamDecoder(ReplyContext("lab/small"))

    found = list(
        decoder.feed(sse(piece(tool_calls=[{"index": 2, "id": "c", "function": {"name": "f", "arguments": "{"}}])))
    )

    assert found == [ToolCallDelta(index=0, id="c", name="f", arguments="{")]


@pytest.mark.parametrize("ending", [{"error": "boom"}, "no JSON"])
def test_stream_hands_out_the_text_that_came_before_an_error(ending: Json | str) -> None:
    decoder, found = StreamDecoder(ReplyContext("lab/small")), list[ReplyEvent]()
    stream = sse(piece(content="one "), piece(content="two"), ending)

    with pytest.raises(ProviderError):
        found.extend(chain(decoder.feed(stream), decoder.end()))

    assert found == [TextDelta("one "), TextDelta("two")]


def test_stream_without_its_last_line_end_hands_out_its_text_before_it_is_broken() -> None:
    decoder, found = StreamDecoder(ReplyContext("lab/small")), list[ReplyEvent]()

    with pytest.raises(BrokenReply):
        found.extend(chain(decoder.feed(sse(piece(content="one"))[:-2]), decoder.end()))

    assert found == [TextDelta("one")]


WHOLE = b'\xef\xbb\xbf\n {"choices": [{"message": {"content": "yes [1]"}, "finish_reason": "length"}]}\n'


@given(st.lists(st.integers(min_value=3, max_value=len(WHOLE)), max_size=8))
def test_whole_reply_in_place_of_a_stream_is_understood_wherever_its_bytes_are_broken(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(WHOLE)]

    reply = streamed(*(WHOLE[a:b] for a, b in pairwise(places)))

    assert (reply.text, reply.finish.reason) == ("yes [1]", "length")


def test_error_in_place_of_a_stream_keeps_its_words() -> None:
    for body in (b'{"error": {"message": "slow down", "code": 429}}', b'[{"error": {"message": "slow down"}}]'):
        with pytest.raises(ProviderError, match="slow down"):
            streamed(body)


def test_blank_lines_before_a_stream_change_nothing() -> None:
    assert streamed(b"\n", b"\r\n", b" \n", b"\n", GOOD) == streamed(GOOD)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"error": {"message": "boom", "type": "server_error"}}, ServiceFailed),
        ({"error": {"message": "slow down", "code": 429}}, RateLimited),
        ({"error": {"message": "Rate limit reached", "type": "tokens", "code": "rate_limit_exceeded"}}, RateLimited),
        ({"error": "model runner has unexpectedly stopped"}, ServiceFailed),
        ({"error": {"message": "Overloaded", "type": "overloaded_error"}}, ServiceFailed),
        ({"error": {"message": "bad", "type": "invalid_request_error"}}, BadRequest),
        ({"error": {"message": "exceeds the available context size", "code": 400}}, ContextTooLong),
        ({"error": {"message": "no", "code": "invalid_api_key"}}, AuthenticationFailed),
        ({"error": {"message": "The model `x` does not exist", "code": "model_not_found"}}, ModelNotFound),
        ({"object": "error", "message": "boom", "code": 50001}, ServiceFailed),
        (piece("error") | {"error": {"message": "upstream is gone", "code": 502}}, ServiceFailed),
        (piece("insufficient_system_resource"), ServiceFailed),
        (piece("abort"), ServiceFailed),
    ],
)
def test_stream_turns_an_error_inside_of_it_into_a_failure(event: Json, expected: type[ProviderError]) -> None:
    with pytest.raises(ProviderError) as caught:
        streamed(sse(piece(content="half "), event, "[DONE]"))

    assert type(caught.value) is expected


@pytest.mark.parametrize(
    "line", [b'event: error\ndata: {"message":"boom"}\n\n', b'error: {"code":500}\n\n', b"event: error\ndata: boom\n\n"]
)
def test_stream_takes_error_events_by_their_name(line: bytes) -> None:
    with pytest.raises(ServiceFailed):
        streamed(sse(piece(content="half ")) + line)


@pytest.mark.parametrize(
    "data",
    [
        b"data: {broken\n\n",
        b'data: {"choices":[{"delta":{"content":"\xff\xfe"}}]}\n\n',
        b"data: 5\n\n",
        b"data: []\n\n",
        sse({"choices": ["x"]}),
        sse({"choices": "x"}),
        sse({"choices": [{"delta": "x"}]}),
        sse(piece(content=5)),
        sse(piece(content=[{"type": "audio"}])),
        sse(piece(tool_calls="x")),
        sse(piece(tool_calls=["x"])),
        sse(piece(tool_calls=[{"id": "c"}]), piece("tool_calls")),
        b"<html><body>data: 1</body></html>",
        b"",
    ],
)
def test_stream_of_anything_else_is_broken(data: bytes) -> None:
    with pytest.raises(BrokenReply):
        streamed(data + b"data: [DONE]\n\n")
