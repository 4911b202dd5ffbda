"""Oddities that services really send, in streams and whole replies."""

import json
from typing import Any

import pytest

from moa._messages import ServiceState
from moa.errors import Refused
from moa.providers._openai_compatible.decode import decode_reply
from moa.providers._openai_compatible.usage import read_usage
from moa.providers._reply_context import ReplyContext
from tests.providers.openai_compatible.replies import Json, fold, piece, sse, streamed, whole


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
        decode_reply(body, ReplyContext("lab/small"))
    assert not caught.value.retryable
    with pytest.raises(Refused):
        streamed(b"data: " + body + b"\n\n")


def test_a_prompt_that_was_blocked_is_a_refusal() -> None:
    body = json.dumps({"choices": [], "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}).encode()

    with pytest.raises(Refused, match="PROHIBITED_CONTENT"):
        decode_reply(body, ReplyContext("lab/small"))


@pytest.mark.parametrize("value", ["-Infinity", "NaN", "null", "-9999.0"])
def test_a_token_that_is_not_likely_at_all_has_a_log_probability_all_the_same(value: str) -> None:
    body = (
        '{"choices":[{"message":{"content":"A"},"finish_reason":"stop","logprobs":{"content":[{"token":"A",'
        f'"logprob":-0.1,"top_logprobs":[{{"token":"A","logprob":-0.1}},{{"token":"B","logprob":{value}}}]}}]}}}}]}}'
    )

    reply = fold(decode_reply(body.encode(), ReplyContext("lab/small")))

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

    reply = fold(decode_reply(body, ReplyContext("lab/small")))

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

    found = fold(decode_reply(json.dumps(body).encode(), ReplyContext("lab/small"))).finish.usage

    assert found is not None
    assert found.tier == tier
