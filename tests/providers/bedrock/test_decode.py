import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa._messages import Sampling, ServiceState
from moa._usage import TokenUsage
from moa.errors import BrokenReply, ProviderError, Refused
from moa.providers._base import Finish, ReasoningDelta, ReplyEvent, ReplyFold, TextDelta, ToolCallDelta
from moa.providers._bedrock.aws import FrameReader
from moa.providers._bedrock.decode import Frame, StreamDecoder, whole_reply
from moa.providers._reply_context import ReplyContext
from tests.support.bedrock_calls import ask
from tests.support.bedrock_server import Says
from tests.support.event_stream import event, frame

REFERENCE = "bedrock/some.model"
CONTEXT = ReplyContext(REFERENCE)
SAYS = Says("Grüße, ", "世界", reasoning=["hm"], tools=[("t1", "weather", ['{"city":', '"Rome"}'])], stop="tool_use")


def streamed(*chunks: bytes) -> list[ReplyEvent]:
    reader, decoder = FrameReader(reference=REFERENCE), StreamDecoder(CONTEXT)
    events = [e for chunk in chunks for frame in reader.feed(chunk) for e in decoder.feed(frame)]
    decoder.end()
    return events


def whole(told: Any) -> list[ReplyEvent]:
    return whole_reply(orjson.dumps(told), CONTEXT)


def reply(*blocks: Any, stop: str = "end_turn", **fields: Any) -> dict[str, Any]:
    usage = {"inputTokens": 1, "outputTokens": 1}
    return {"output": {"message": {"content": list(blocks)}}, "stopReason": stop, "usage": usage, **fields}


# ── streams ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_stream_gives_its_pieces_in_order() -> None:
    assert streamed(b"".join(SAYS.frames())) == [
        ReasoningDelta("hm"),
        TextDelta("Grüße, "),
        TextDelta("世界"),
        ToolCallDelta(index=0, id="t1", name="weather"),
        ToolCallDelta(index=0, arguments='{"city":'),
        ToolCallDelta(index=0, arguments='"Rome"}'),
        Finish(reason="tool_calls", usage=TokenUsage(input_tokens=7, output_tokens=2)),
    ]


@given(cuts=st.lists(st.integers(0, len(b"".join(SAYS.frames()))), max_size=12))
def test_stream_broken_anywhere_gives_the_same(cuts: list[int]) -> None:
    content = b"".join(SAYS.frames())
    edges = [0, *sorted(cuts), len(content)]
    pieces = [content[start:end] for start, end in itertools.pairwise(edges)]

    assert streamed(*pieces) == streamed(content)


@given(end=st.integers(0, len(b"".join(SAYS.frames())) - 1))
def test_stream_cut_off_anywhere_is_a_broken_reply(end: int) -> None:
    with pytest.raises(BrokenReply):
        streamed(b"".join(SAYS.frames())[:end])


@given(at=st.integers(0, len(b"".join(SAYS.frames())) - 1), flipped=st.integers(1, 255))
def test_stream_with_any_byte_changed_is_a_broken_reply(at: int, flipped: int) -> None:
    content = bytearray(b"".join(SAYS.frames()))
    content[at] ^= flipped

    with pytest.raises(BrokenReply):
        streamed(bytes(content))


@given(noise=st.binary(min_size=1, max_size=200))
def test_noise_is_a_broken_reply(noise: bytes) -> None:
    with pytest.raises(BrokenReply):
        streamed(noise)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": 5}}),
        ("contentBlockDelta", {"contentBlockIndex": 0}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": {}}}}),
        ("contentBlockDelta", {"contentBlockIndex": 9, "delta": {"toolUse": {"input": "{"}}}),
        ("contentBlockDelta", {"contentBlockIndex": [9], "delta": {"toolUse": {"input": "{"}}}),
        ("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {"name": "weather"}}}),
        ("messageStop", {}),
        ("messageStop", ["end_turn"]),
        ("metadata", "usage"),
    ],
)
def test_event_that_is_not_what_the_service_model_says_is_a_broken_reply(kind: str, told: Any) -> None:
    with pytest.raises(BrokenReply):
        streamed(event(kind, told), *SAYS.frames())


def test_event_that_is_not_json_is_a_broken_reply() -> None:
    with pytest.raises(BrokenReply, match="not JSON"):
        streamed(frame({":message-type": "event", ":event-type": "metadata"}, b"{"))


def test_events_and_deltas_of_later_versions_are_passed_over() -> None:
    unknown = [
        event("somethingNew", {"a": 1}),
        event("contentBlockStart", {"contentBlockIndex": 5, "start": {"image": {"format": "png"}}}),
        event("contentBlockDelta", {"contentBlockIndex": 5, "delta": {"citation": {}}}),
        event("contentBlockDelta", {"contentBlockIndex": 5, "delta": {"reasoningContent": {"new": "s"}}}),
        event("contentBlockStop", {"contentBlockIndex": 5}),
    ]
    assert streamed(*unknown, *SAYS.frames()) == streamed(*SAYS.frames())


def test_message_without_a_type_is_an_error_not_text() -> None:
    with pytest.raises(ProviderError):
        StreamDecoder(CONTEXT).feed(Frame({}, b'{"delta": {"text": "boo"}}'))


def test_empty_pieces_give_no_events() -> None:
    assert [type(e) for e in streamed(*Says("", "a", "").frames())] == [TextDelta, Finish]


# ── whole replies ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_whole_reply_gives_its_blocks_in_order() -> None:
    assert whole_reply(SAYS.whole(), CONTEXT) == [
        ReasoningDelta("hm"),
        TextDelta("Grüße, 世界"),
        ToolCallDelta(index=0, id="t1", name="weather"),
        ToolCallDelta(index=0, arguments='{"city":"Rome"}'),
        Finish(reason="tool_calls", usage=TokenUsage(input_tokens=7, output_tokens=2)),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        orjson.dumps({"output": {"message": {"content": "text"}}, "stopReason": "end_turn"}),
        orjson.dumps({"output": {"message": {"content": []}}}),
        orjson.dumps(reply({"text": None})),
        orjson.dumps(reply({"toolUse": {"name": "x"}})),
        orjson.dumps(reply({"text": "a"}, usage={"inputTokens": "7", "outputTokens": 1})),
        orjson.dumps(reply({"text": "a"}, usage={"inputTokens": 7, "outputTokens": 1, "cacheReadInputTokens": "x"})),
        orjson.dumps(reply({"text": "a"}, usage=[])),
    ],
)
def test_reply_that_is_not_what_the_service_model_says_is_a_broken_reply(content: bytes) -> None:
    with pytest.raises(BrokenReply):
        whole_reply(content, CONTEXT)


@pytest.mark.slow
@given(content=st.binary(max_size=60) | st.recursive(st.none() | st.text(max_size=5), st.lists).map(orjson.dumps))
def test_garbage_is_never_text(content: bytes) -> None:
    with pytest.raises(BrokenReply):
        whole_reply(content, CONTEXT)


def test_block_without_anything_to_show_is_passed_over() -> None:
    hidden = {"reasoningContent": {"redactedContent": "AAE="}}

    assert [type(e) for e in whole(reply(hidden, {"text": ""}, {"text": "a"}))] == [TextDelta, Finish]


def test_unreported_usage_stays_unknown() -> None:
    assert whole(reply({"text": "a"}, usage=None))[-1] == Finish(reason="stop", usage=None)


# ── how replies end ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_stop_sequence_is_that_of_the_models_own_fields_or_the_only_one() -> None:
    """In streams it is below `delta`, as Vercel's client found out."""
    frames = event("messageStop", _ended_by({"delta": {"stop_sequence": "END"}}))
    metadata = event("metadata", {"usage": {"inputTokens": 1, "outputTokens": 1}})
    asked = ask(sampling=Sampling(stop=("STOP",)))
    said = orjson.dumps(reply({"text": "a"}, stop="stop_sequence"))

    found = [
        streamed(frames, metadata)[-1],
        whole(reply({"text": "a"}, stop="stop_sequence") | _ended_by({"stop_sequence": "END"}))[-1],
        whole_reply(said, ReplyContext(REFERENCE, asked))[-1],
        whole_reply(said, CONTEXT)[-1],
    ]

    assert [end.stop_sequence for end in found if isinstance(end, Finish)] == ["END", "END", "STOP", None]


def _ended_by(own: dict[str, Any]) -> dict[str, Any]:
    return {"stopReason": "stop_sequence", "additionalModelResponseFields": own}


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("something_new", "something_new"),
    ],
)
def test_stop_reason_is_said_in_our_words(stop: str, reason: str) -> None:
    says = Says("text", stop=stop)

    for events in (whole_reply(says.whole(), CONTEXT), streamed(*says.frames())):
        assert isinstance(events[-1], Finish)
        assert events[-1].reason == reason


@pytest.mark.parametrize("stop", ["guardrail_intervened", "content_filtered"])
@pytest.mark.parametrize(
    "says",
    [
        lambda stop: Says(stop=stop),
        lambda stop: Says(reasoning=["hm"], stop=stop),
        # The guardrail turned the prompt away before the model saw it; the text is the guardrail's.
        lambda stop: Says("Sorry, no.", stop=stop, usage={"inputTokens": 0, "outputTokens": 0, "totalTokens": 0}),
    ],
    ids=["no text", "only reasoning", "no token"],
)
def test_filtered_reply_without_the_models_own_text_is_refused(stop: str, says: Any) -> None:
    with pytest.raises(Refused, match=stop):
        whole_reply(says(stop).whole(), CONTEXT)
    with pytest.raises(Refused, match=stop):
        streamed(*says(stop).frames())


@pytest.mark.parametrize("stop", ["malformed_model_output", "malformed_tool_use"])
def test_reply_that_bedrock_cant_read_is_a_broken_reply(stop: str) -> None:
    with pytest.raises(BrokenReply, match=stop):
        whole_reply(Says("x", stop=stop).whole(), CONTEXT)
    with pytest.raises(BrokenReply, match=stop):
        streamed(*Says("x", stop=stop).frames())


def test_cached_tokens_are_part_of_the_input_tokens() -> None:
    usage: dict[str, Any] = {"inputTokens": 5, "outputTokens": 2}
    usage |= {"cacheReadInputTokens": 100, "cacheWriteInputTokens": 30}
    usage["cacheDetails"] = [{"ttl": "5m", "inputTokens": 10}, {"ttl": "1h", "inputTokens": 20}]

    assert whole(reply({"text": "a"}, usage=usage))[-1] == Finish(
        reason="stop",
        usage=TokenUsage(
            input_tokens=135,
            output_tokens=2,
            cached_input_tokens=100,
            cache_write_tokens=30,
            cache_write_1h_tokens=20,
        ),
    )


# ── thoughts in text, and thoughts that travel back ──────────────────────────────────────────────────────────────────


def test_thoughts_in_tags_are_reasoning_streamed_and_whole() -> None:
    says = Says("<think", "ing>By country.</thinking>", "\n\n3.7 ", "billion.")

    for events in (streamed(*says.frames()), whole_reply(says.whole(), CONTEXT)):
        fold = ReplyFold()
        for each in events:
            fold.add(each)
        reply = fold.reply(REFERENCE)
        assert (reply.reasoning, reply.text) == ("By country.", "3.7 billion.")


def test_signed_thoughts_of_a_turn_that_calls_tools_are_kept_for_their_model_as_they_came() -> None:
    def thought(**fields: str) -> bytes:
        return event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": fields}})

    frames = [
        thought(text="hm, "),
        thought(text="so"),
        thought(signature="sig"),
        *Says(tools=[("t1", "f", ["{}"])], stop="tool_use").frames(),
    ]
    last = streamed(*frames)[-1]

    assert isinstance(last, Finish)
    assert last.state == ServiceState(
        "bedrock/some.model", {"reasoningContent": [{"reasoningText": {"text": "hm, so", "signature": "sig"}}]}
    )
