"""Whole replies, and what streams and they have in common."""

import json

import pytest

from moa._usage import TokenUsage
from moa.errors import (
    BadRequest,
    BrokenReply,
    Refused,
    ServiceFailed,
)
from moa.providers._openai_compatible.decode import decode_reply
from moa.providers._openai_compatible.usage import read_usage
from moa.providers._reply_context import ReplyContext
from tests.providers.openai_compatible.replies import TOKENS, USAGE, Json, both, fold, piece, sse, streamed, whole


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
        # github.com/earendil-works/pi/pull/2116: Ollama and LM Studio
        ("end", "stop"),
        ("done", "stop"),
        ("token_limit", "length"),
        ("ERROR_TOXIC", "content_filter"),
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
        decode_reply(body, ReplyContext("lab/small"))


def test_a_web_page_in_place_of_a_reply_is_no_reason_to_ask_again() -> None:
    with pytest.raises(BadRequest, match="check the endpoint's base_url") as caught:
        decode_reply(b"\n<!doctype html><title>Open WebUI</title>", ReplyContext("lab/small"))
    assert not caught.value.retryable


def test_reply_cut_off_anywhere_is_broken() -> None:
    body = json.dumps({"choices": [{"message": {"content": "whole"}, "finish_reason": "stop"}]}).encode()

    for cut in range(len(body)):
        with pytest.raises(BrokenReply):
            decode_reply(body[:cut], ReplyContext("lab/small"))


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "boom"}},
        [{"error": {"code": 503, "message": "boom"}}],
        {"object": "error", "message": "boom"},
        # github.com/NousResearch/hermes-agent/pull/65738
        {"choices": None, "error_type": "InternalError", "error_message": "boom"},
    ],
)
def test_reply_that_is_an_error_in_spite_of_http_200_is_a_failure(body: object) -> None:
    with pytest.raises(ServiceFailed, match="boom"):
        decode_reply(json.dumps(body).encode(), ReplyContext("lab/small"))


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
        fold(decode_reply(json.dumps({"choices": [choice]}).encode(), ReplyContext("lab/small"))),
    ]

    assert [reply.logprobs for reply in replies] == [(entry("y"), entry("es"))] * 2


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
