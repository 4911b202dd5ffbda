import json
from itertools import chain, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa._messages import ServiceState, ToolCall
from moa._usage import TokenUsage
from moa.errors import (
    AuthenticationFailed,
    BadRequest,
    BrokenReply,
    ContextTooLong,
    ModelNotFound,
    ProviderError,
    RateLimited,
    Refused,
    ServiceFailed,
)
from moa.providers._base import Reply, ReplyEvent, ReplyFold, TextDelta, ToolCallDelta
from moa.providers._openai_compatible.decode import StreamDecoder, decode_reply
from moa.providers._openai_compatible.usage import read_usage

Json = dict[str, Any]
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
TOKENS = TokenUsage(input_tokens=9, output_tokens=3)


def fold(events: list[ReplyEvent]) -> Reply:
    folded = ReplyFold()
    for event in events:
        folded.add(event)
    return folded.reply("lab/small")


def whole(message: Json | None, finish: str | None = "stop", **fields: Any) -> Reply:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return fold(decode_reply(json.dumps({"choices": [choice], **fields}).encode(), reference="lab/small"))


def sse(*chunks: Json | str) -> bytes:
    lines = (chunk if isinstance(chunk, str) else json.dumps(chunk) for chunk in chunks)
    return "".join(f"data: {line}\n\n" for line in lines).encode()


def piece(finish: str | None = None, logprobs: Json | None = None, **delta: Any) -> Json:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c-1", "model": "m-1", "choices": [choice | ({"logprobs": logprobs} if logprobs else {})]}


def streamed(*chunks: bytes) -> Reply:
    decoder = StreamDecoder(reference="lab/small")
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return fold(events + list(decoder.end()))


GOOD = sse(
    piece(role="assistant", content=""),
    piece(content="Grüße, "),
    piece(content="Welt"),
    piece("stop"),
    {"id": "c-1", "choices": [], "usage": USAGE},
    "[DONE]",
)


# -- streams -------------------------------------------------------------------------------------------------------


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
        (piece(content="yes") | {"usage": {**USAGE, "completion_tokens": 1}}, piece("stop") | {"usage": USAGE}),
        (piece(content="yes"), piece("stop"), {"choices": [], "usage": USAGE}),
        (piece(content="yes"), piece("stop") | {"x_groq": {"usage": USAGE}}),
        (piece(content="yes"), piece("stop") | {"usage": None}, {"usage": USAGE}),
    ],
    ids=["on every chunk", "after the choices", "where Groq puts it", "without choices"],
)
def test_stream_finds_the_usage_wherever_it_stands(chunks: tuple[Json, ...]) -> None:
    assert streamed(sse(*chunks, "[DONE]")).finish.usage == TOKENS


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
    decoder = StreamDecoder(reference="lab/small")

    found = list(
        decoder.feed(sse(piece(tool_calls=[{"index": 2, "id": "c", "function": {"name": "f", "arguments": "{"}}])))
    )

    assert found == [ToolCallDelta(index=0, id="c", name="f", arguments="{")]


@pytest.mark.parametrize("ending", [{"error": "boom"}, "no JSON"])
def test_stream_hands_out_the_text_that_came_before_an_error(ending: Json | str) -> None:
    decoder, found = StreamDecoder(reference="lab/small"), list[ReplyEvent]()
    stream = sse(piece(content="one "), piece(content="two"), ending)

    with pytest.raises(ProviderError):
        found.extend(chain(decoder.feed(stream), decoder.end()))

    assert found == [TextDelta("one "), TextDelta("two")]


def test_stream_without_its_last_line_end_hands_out_its_text_before_it_is_broken() -> None:
    decoder, found = StreamDecoder(reference="lab/small"), list[ReplyEvent]()

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


# -- whole replies -------------------------------------------------------------------------------------------------


def test_reply_is_folded_to_text_usage_and_names() -> None:
    reply = whole({"content": "yes"}, id="c-1", model="m-1", usage=USAGE)

    assert (reply.text, reply.finish.reason, reply.finish.usage) == ("yes", "stop", TOKENS)
    assert (reply.finish.served_by, reply.finish.request_id) == ("m-1", "c-1")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("eos", "stop"),
        ("max_tokens", "length"),
        ("SAFETY", "content_filter"),
        ("COMPLETE", "stop"),
        ("model_context_window_exceeded", "length"),
        ("content-filter", "content_filter"),
        ("own", "own"),
        (None, "stop"),
    ],
)
def test_reply_has_a_finish_reason_in_the_usual_words(said: str | None, meant: str) -> None:
    assert whole({"content": "yes"}, said).finish.reason == meant


@pytest.mark.parametrize("content", [None, ""])
def test_reply_without_content_is_empty_and_has_no_text(content: str | None) -> None:
    reply = whole({"content": content}, usage=USAGE)

    assert reply.is_empty
    assert reply.finish.usage == TOKENS


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"choices":[{"mess',
        b'{"choices":[{"message":{"content":"\xff"}}]}',
        b"{}",
        b'{"choices":[]}',
        b'{"choices":null}',
        b'{"choices":[null]}',
        b'{"choices":[{}]}',
        b'{"choices":[{"message":null}]}',
        b'{"choices":[{"message":{"content":{}}}]}',
        b"null",
        b"[]",
        b'"text"',
    ],
)
def test_reply_of_anything_else_is_broken(body: bytes) -> None:
    with pytest.raises(BrokenReply):
        decode_reply(body, reference="lab/small")


def test_a_web_page_in_place_of_a_reply_is_no_reason_to_ask_again() -> None:
    with pytest.raises(BadRequest, match="check the endpoint's base_url") as caught:
        decode_reply(b"\n<!doctype html><title>Open WebUI</title>", reference="lab/small")
    assert not caught.value.retryable


def test_reply_cut_off_anywhere_is_broken() -> None:
    body = json.dumps({"choices": [{"message": {"content": "whole"}, "finish_reason": "stop"}]}).encode()

    for cut in range(len(body)):
        with pytest.raises(BrokenReply):
            decode_reply(body[:cut], reference="lab/small")


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "boom"}},
        [{"error": {"code": 503, "message": "boom"}}],
        {"object": "error", "message": "boom"},
    ],
)
def test_reply_that_is_an_error_in_spite_of_http_200_is_a_failure(body: object) -> None:
    with pytest.raises(ServiceFailed, match="boom"):
        decode_reply(json.dumps(body).encode(), reference="lab/small")


# -- both ways -----------------------------------------------------------------------------------------------------


def both(message: Json, *deltas: Json, finish: str = "stop") -> list[Reply]:
    return [whole(message, finish), streamed(sse(*(piece(**delta) for delta in deltas), piece(finish)))]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_is_kept_apart_from_the_text(field: str) -> None:
    for reply in both(
        {field: "hm hm", "content": "yes"}, {field: "hm "}, {field: "hm", "content": None}, {"content": "yes"}
    ):
        assert (reply.reasoning, reply.text) == ("hm hm", "yes")


def test_reasoning_is_read_once_when_a_service_sends_it_twice() -> None:
    details = [{"type": "reasoning.text", "text": "hm"}]

    for reply in both(
        {"reasoning": "hm", "reasoning_details": details, "content": "yes"},
        {"reasoning": "hm", "reasoning_details": details},
        {"content": "yes"},
    ):
        assert reply.reasoning == "hm"


def test_reasoning_is_found_in_details_alone() -> None:
    details = [{"type": "reasoning.summary", "summary": "hm"}, {"type": "reasoning.encrypted", "data": "x"}]

    for reply in both({"reasoning_details": details, "content": "a"}, {"reasoning_details": details}, {"content": "a"}):
        assert (reply.reasoning, reply.text) == ("hm", "a")


def test_reasoning_is_found_in_parts_of_content() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}

    for reply in both(
        {"content": [thinking, {"type": "text", "text": "a"}]}, {"content": [thinking]}, {"content": "a"}
    ):
        assert (reply.reasoning, reply.text) == ("hm", "a")


def test_reasoning_that_holds_the_answer_behind_its_closing_tag_gives_it_back() -> None:
    for reply in both(
        {"reasoning_content": "hm</think>\n\nyes"},
        {"reasoning_content": "hm</thi"},
        {"reasoning_content": "nk>\n\nyes"},
    ):
        assert reply.text == "yes"


@pytest.mark.parametrize("reasoning", ["only thoughts", "thoughts</think>  \n"])
def test_reasoning_alone_leaves_the_text_empty(reasoning: str) -> None:
    for reply in both({"reasoning_content": reasoning}, {"reasoning_content": reasoning}):
        assert reply.is_empty


def test_thoughts_that_are_never_closed_leave_the_text_empty() -> None:
    for reply in both(
        {"content": "<think>and so on"}, {"content": "<thi"}, {"content": "nk>and so on"}, finish="length"
    ):
        assert (reply.reasoning, reply.text) == ("and so on", "")


def test_refusal_is_an_error_that_knows_its_usage() -> None:
    streams = sse(
        piece(refusal="I can't "), piece(refusal="help."), piece("stop"), {"choices": [], "usage": USAGE}, "[DONE]"
    )

    with pytest.raises(Refused, match=r"I can't help\.") as from_stream:
        streamed(streams)
    with pytest.raises(Refused, match=r"I can't help\.") as from_whole:
        whole({"content": None, "refusal": "I can't help."}, usage=USAGE)

    assert from_stream.value.usage == from_whole.value.usage == TOKENS


def test_content_filter_is_a_refusal_only_if_it_left_nothing() -> None:
    with pytest.raises(Refused):
        whole({"content": ""}, "content_filter")
    with pytest.raises(Refused):
        streamed(sse(piece(content=""), piece("content_filter")))

    for reply in both({"content": "the beginning"}, {"content": "the beginning"}, finish="content_filter"):
        assert (reply.text, reply.finish.reason) == ("the beginning", "content_filter")


def test_logprobs_keep_the_apis_shape_both_ways() -> None:
    def entry(token: str) -> Json:
        return {"token": token, "logprob": -0.5, "bytes": list(token.encode()), "top_logprobs": []}

    tokens = ["<think>", "hm", "</think>", "y", "es"]
    chunks = [piece(content=token, logprobs={"content": [entry(token)]}) for token in tokens]
    choice = {
        "message": {"content": "".join(tokens)},
        "logprobs": {"content": [entry(token) for token in tokens]},
        "finish_reason": "stop",
    }

    replies = [
        streamed(sse(*chunks, piece("stop"))),
        fold(decode_reply(json.dumps({"choices": [choice]}).encode(), reference="lab/small")),
    ]

    assert [reply.logprobs for reply in replies] == [(entry("y"), entry("es"))] * 2


# -- usage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        (USAGE, TOKENS),
        ({"prompt_tokens": 9, "completion_tokens": 0}, TokenUsage(input_tokens=9)),
        (
            {
                **USAGE,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            TokenUsage(input_tokens=9, output_tokens=3, cached_input_tokens=4, reasoning_tokens=2),
        ),
        (
            {
                **USAGE,
                "cache_creation_input_tokens": 6,
                "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 4},
            },
            TokenUsage(input_tokens=9, output_tokens=3, cache_write_tokens=6, cache_write_1h_tokens=4),
        ),
        ({**USAGE, "prompt_cache_hit_tokens": 4}, TokenUsage(input_tokens=9, output_tokens=3, cached_input_tokens=4)),
        (
            {**USAGE, "total_tokens": 17, "completion_tokens_details": {"reasoning_tokens": 5}},
            TokenUsage(input_tokens=9, output_tokens=8, reasoning_tokens=5),
        ),
        ({**USAGE, "prompt_tokens_details": None}, TOKENS),
        ({}, None),
        (None, None),
        ("9", None),
        ({"prompt_tokens": 0, "completion_tokens": 0}, None),
        ({"prompt_tokens": "9", "completion_tokens": "three"}, TokenUsage(input_tokens=9)),
        (
            {"input_tokens": 9, "output_tokens": "3", "output_tokens_details": {"reasoning_tokens": 2}},
            TokenUsage(input_tokens=9, output_tokens=3, reasoning_tokens=2),
        ),
        ({"prompt_tokens": -1, "completion_tokens": 3}, TokenUsage(output_tokens=3)),
    ],
)
def test_usage_is_read_or_left_unknown(reported: object, expected: TokenUsage | None) -> None:
    assert read_usage(reported) == expected


# -- oddities that services really send ----------------------------------------------------------------------------


def call_piece(**fields: Any) -> Json:
    function = {key: fields.pop(key) for key in ("name", "arguments") if key in fields}
    return piece(tool_calls=[{**fields, "function": function}])


PARIS = {"name": "weather", "arguments": '{"city":"Paris"}'}
ROME = {"name": "weather", "arguments": '{"city":"Rome"}'}


@pytest.mark.parametrize(
    "pieces",
    [
        # Gemini numbers the pieces of every call 0.
        [call_piece(index=0, id="a", **PARIS), call_piece(index=0, id="b", **ROME)],
        # The second call may have no id, or none has one.
        [call_piece(index=0, id="a", **PARIS), call_piece(index=0, **ROME)],
        [call_piece(index=0, **PARIS), call_piece(index=0, **ROME)],
        # Nor need there be an index.
        [call_piece(id="a", **PARIS), call_piece(id="b", **ROME)],
        [call_piece(**PARIS), call_piece(**ROME)],
        [call_piece(index=3, id="a", **PARIS), call_piece(index=7, id="b", **ROME)],
        # Arguments in pieces, the id repeated with each.
        [
            call_piece(index=0, id="a", name="weather", arguments='{"city":'),
            call_piece(index=0, id="a", arguments='"Paris"}'),
            call_piece(index=0, id="b", name="weather", arguments='{"city":'),
            call_piece(index=0, id="b", arguments='"Rome"}'),
        ],
    ],
)
def test_parallel_tool_calls_are_told_apart_by_id_and_name_as_well_as_by_index(pieces: list[Json]) -> None:
    reply = streamed(sse(*pieces, piece("tool_calls")))

    assert [call.arguments for call in reply.tool_calls] == ['{"city":"Paris"}', '{"city":"Rome"}']


def test_a_piece_of_a_call_needs_no_function_and_its_name_may_come_later() -> None:
    # The types of OpenAI's SDK: `ChoiceDeltaToolCall.function` is optional.
    pieces = [{"index": 0, "id": "a", "type": "function"}, {"index": 0, "function": PARIS}, {"index": 0, "id": "a"}]
    reply = streamed(sse(*(piece(tool_calls=[each]) for each in pieces), piece("tool_calls")))

    assert [(call.id, call.name, call.arguments) for call in reply.tool_calls] == [("a", *PARIS.values())]


def test_calls_of_one_id_are_told_apart_and_get_ids_of_their_own() -> None:
    calls = [{"id": "weather", "index": 0, "function": function} for function in (PARIS, ROME)]
    replies = [whole({"tool_calls": calls}), streamed(sse(*(piece(tool_calls=[one]) for one in calls), piece("stop")))]

    for reply in replies:
        assert [(call.id, call.arguments) for call in reply.tool_calls] == [
            ("weather", PARIS["arguments"]),
            ("weather_1", ROME["arguments"]),
        ]


def test_a_call_that_is_repeated_whole_is_one_call() -> None:
    again = call_piece(index=0, id="a", **PARIS)

    assert [call.arguments for call in streamed(sse(again, again, piece("stop"))).tool_calls] == [PARIS["arguments"]]


def test_calls_may_be_written_flat_and_one_alone_without_a_list() -> None:
    reply = whole({"tool_calls": {"id": "a", "name": "weather", "arguments": {"city": "Paris"}}})

    assert [(call.id, call.name, call.arguments) for call in reply.tool_calls] == [("a", *PARIS.values())]


def test_the_first_choice_counts_wherever_it_stands_and_however_its_number_is_written() -> None:
    choices = [{"index": "1", "delta": {"content": "other"}}, {"index": "0", "delta": {"content": "yes"}}]

    assert streamed(sse({"choices": choices}, piece("stop"))).text == "yes"


def test_events_may_follow_each_other_without_an_empty_line() -> None:
    # https://github.com/rexxars/eventsource-parser/pull/31
    stream = sse(piece(content="Ice "), piece(content="floats"), piece("stop"), "[DONE]").replace(b"\n\n", b"\n")
    over_lines = json.dumps(piece("stop", content="yes"), indent=1).replace("\n", "\ndata: ")

    assert streamed(stream).text == "Ice floats"
    assert streamed(sse(over_lines)).text == "yes"


def test_what_can_not_be_read_after_the_finish_reason_costs_no_answer() -> None:
    assert streamed(sse(piece(content="yes"), piece("stop")) + b"event: close\ndata: bye\n\n").text == "yes"


def test_a_name_that_is_repeated_with_every_piece_begins_no_call() -> None:
    pieces = [call_piece(index=0, id="a", name="f", arguments=part) for part in ('{"a"', ": 1", "}")]

    assert [call.arguments for call in streamed(sse(*pieces, piece("stop"))).tool_calls] == ['{"a": 1}']


def test_a_call_without_arguments_has_an_empty_object() -> None:
    reply = streamed(sse(call_piece(index=0, id="a", name="now"), piece("tool_calls")))

    assert reply.tool_calls[0].arguments == "{}"


@pytest.mark.parametrize("reason", ["PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "SAFETY", "content_filter"])
def test_a_reason_of_a_filter_without_a_message_is_a_refusal(reason: str) -> None:
    body = json.dumps({"choices": [{"index": 0, "finish_reason": reason}]}).encode()

    with pytest.raises(Refused) as caught:
        decode_reply(body, reference="lab/small")
    assert not caught.value.retryable
    with pytest.raises(Refused):
        streamed(b"data: " + body + b"\n\n")


def test_a_prompt_that_was_blocked_is_a_refusal() -> None:
    body = json.dumps({"choices": [], "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}).encode()

    with pytest.raises(Refused, match="PROHIBITED_CONTENT"):
        decode_reply(body, reference="lab/small")


@pytest.mark.parametrize("value", ["-Infinity", "NaN", "null", "-9999.0"])
def test_a_token_that_is_not_likely_at_all_has_a_log_probability_all_the_same(value: str) -> None:
    body = (
        '{"choices":[{"message":{"content":"A"},"finish_reason":"stop","logprobs":{"content":[{"token":"A",'
        f'"logprob":-0.1,"top_logprobs":[{{"token":"A","logprob":-0.1}},{{"token":"B","logprob":{value}}}]}}]}}}}]}}'
    )

    reply = fold(decode_reply(body.encode(), reference="lab/small"))

    assert [one["logprob"] for one in reply.logprobs[0]["top_logprobs"]] == [-0.1, -9999.0]


def test_an_emoji_that_was_cut_apart_is_whole_again_and_half_a_one_is_replaced() -> None:
    cut = [
        b'data: {"choices":[{"delta":{"content":"Hi \\ud83d"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"\\ude00!"}}]}\n\n',
    ]

    assert streamed(*cut, sse(piece("stop"))).text == "Hi \N{GRINNING FACE}!"
    assert streamed(cut[0], sse(piece("stop"))).text == "Hi \N{REPLACEMENT CHARACTER}"


def test_parts_of_a_message_that_are_unknown_are_passed_over() -> None:
    parts = [{"type": "audio", "audio": {}}, {"type": "text", "text": "yes"}, {"type": "reasoning", "text": "hm"}]
    body = json.dumps({"choices": [{"message": {"content": parts}, "finish_reason": "stop"}]}).encode()

    reply = fold(decode_reply(body, reference="lab/small"))

    assert (reply.text, reply.reasoning) == ("yes", "hm")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}, (20, 603, 405, 0)),
        ({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 112, "cached_tokens": 100}, (105, 7, 0, 100)),
        ({"input_tokens": 5, "output_tokens": 7}, (5, 7, 0, 0)),
        (
            {"prompt_tokens": 9, "completion_tokens": 2, "cache_read_input_tokens": 4, "total_tokens": 11},
            (9, 2, 0, 4),
        ),
    ],
)
def test_tokens_that_only_the_total_shows_are_counted(usage: Json, expected: tuple[int, ...]) -> None:
    found = read_usage(usage)

    assert found is not None
    assert (found.input_tokens, found.output_tokens, found.reasoning_tokens, found.cached_input_tokens) == expected


def test_what_deepseek_wants_back_with_a_tool_call_is_kept_for_it_alone() -> None:
    pieces = [
        piece(reasoning_content="I need "),
        piece(reasoning_content="the weather."),
        call_piece(index=0, id="a", **PARIS),
    ]

    reply = streamed(sse(*pieces, piece("tool_calls")))

    assert reply.finish.state == ServiceState("lab/small", {"reasoning_content": "I need the weather."})
    assert streamed(sse(piece(reasoning_content="hm", content="yes"), piece("stop"))).finish.state is None


def test_what_gemini_wants_back_with_a_tool_call_is_kept_with_the_call() -> None:
    signature = {"google": {"thought_signature": "c2ln"}}

    reply = streamed(sse(call_piece(index=0, id="a", extra_content=signature, **PARIS), piece("tool_calls")))

    assert reply.tool_calls[0].state == ServiceState("lab/small", {"extra_content": signature})


@pytest.mark.parametrize(
    ("named", "tier"),
    [("flex", "flex"), ("priority", "priority"), ("default", None), ("on_demand", None)],
)
def test_the_tier_that_a_reply_was_served_in_is_part_of_its_usage(named: str | None, tier: str | None) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 7}
    body = {"choices": [{"message": {"content": "a"}}], "usage": usage, "service_tier": named}

    found = fold(decode_reply(json.dumps(body).encode(), reference="lab/small")).finish.usage

    assert found is not None
    assert found.tier == tier
