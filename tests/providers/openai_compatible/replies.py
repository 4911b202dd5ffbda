"""Replies as services write them, in one piece and as streams, and what is read from them."""

import json
from typing import Any

from moa._usage import TokenUsage
from moa.providers._base import Reply, ReplyEvent, ReplyFold
from moa.providers._openai_compatible.decode import StreamDecoder, decode_reply
from moa.providers._reply_context import ReplyContext

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
    return fold(decode_reply(json.dumps({"choices": [choice], **fields}).encode(), ReplyContext("lab/small")))


def sse(*chunks: Json | str) -> bytes:
    lines = (chunk if isinstance(chunk, str) else json.dumps(chunk) for chunk in chunks)
    return "".join(f"data: {line}\n\n" for line in lines).encode()


def piece(finish: str | None = None, logprobs: Json | None = None, **delta: Any) -> Json:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c-1", "model": "m-1", "choices": [choice | ({"logprobs": logprobs} if logprobs else {})]}


def streamed(*chunks: bytes) -> Reply:
    decoder = StreamDecoder(ReplyContext("lab/small"))
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return fold(events + list(decoder.end()))


def both(message: Json, *deltas: Json, finish: str = "stop") -> list[Reply]:
    return [whole(message, finish), streamed(sse(*(piece(**delta) for delta in deltas), piece(finish)))]
