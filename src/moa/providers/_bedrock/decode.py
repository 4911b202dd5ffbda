"""Bedrock's replies as our events: a whole Converse reply, and the events of a ConverseStream one by one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from moa._usage import TokenUsage
from moa.errors import BrokenReply, Refused
from moa.providers._base import Finish, ModelRequest, ReasoningDelta, ReplyEvent, ToolCallDelta
from moa.providers._bedrock.error_mapping import from_event
from moa.providers._cache_marks import HOUR
from moa.providers._lenient_json import TextJoiner, loads, loads_whole, whole_characters
from moa.providers._reply_context import ReplyContext
from moa.providers._service_state import ServiceState, owner_of
from moa.providers._service_tier import tier_of
from moa.providers._thoughts import ThoughtSplitter

_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}


_EVENTS = frozenset({"contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"})
"""What counts of a stream: not `messageStart`, nor what later versions of the service may add."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of an event stream, its checksums already checked."""

    headers: Mapping[str, Any]
    payload: bytes


def whole_reply(content: bytes, context: ReplyContext) -> list[ReplyEvent]:
    """Return the events of a Converse reply, the last one being the `Finish`.

    Raises:
        BrokenReply: It isn't what the service model says.
        Refused: A guardrail or filter left nothing of the model's own text.
    """
    data, decoder = _object(content, context.reference, whole=True), StreamDecoder(context)
    match data:
        case {"output": {"message": {"content": list(blocks)}}, "stopReason": str()}:
            events = [
                event
                for at, block in enumerate(blocks)
                for kind, fields in _as_streamed(block)
                for event in decoder.take(kind, {**fields, "contentBlockIndex": at})
            ]
            return [*events, *decoder.take("messageStop", data), *decoder.take("metadata", data)]
    raise BrokenReply("the reply has no message or no stop reason", model=context.reference)


def _as_streamed(block: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """A content block of a whole reply as the events of a stream that had it."""
    match block:
        case {"text": text}:
            yield "contentBlockDelta", {"delta": {"text": text}}
        case {"reasoningContent": dict(thought)}:
            pieces = thought.get("reasoningText")
            rest = {key: value for key, value in thought.items() if key != "reasoningText"}
            yield (
                "contentBlockDelta",
                {"delta": {"reasoningContent": (pieces if isinstance(pieces, dict) else {}) | rest}},
            )
        case {"toolUse": call}:
            yield "contentBlockStart", {"start": {"toolUse": call}}
            yield "contentBlockDelta", {"delta": {"toolUse": {"input": orjson.dumps(call.get("input", {})).decode()}}}


def _stop_sequence(reason: str, data: Mapping[str, Any], request: ModelRequest | None) -> str | None:
    """The stop text that ended the reply: the only one, or that of the model's own fields (in streams: `delta`)."""
    match data.get("additionalModelResponseFields"):
        case {"stop_sequence": str(text)} | {"delta": {"stop_sequence": str(text)}}:
            return text
    stop = request.sampling.stop if request else ()
    return stop[0] if reason == "stop_sequence" and len(stop) == 1 else None


def _state(thoughts: list[Any], reference: str) -> ServiceState | None:
    """What the model wants back in a tool loop: its signed or redacted thoughts, as they came."""
    signed = [
        thought
        for thought in thoughts
        if "redactedContent" in thought or (thought.get("reasoningText") or {}).get("signature")
    ]
    return ServiceState(owner_of(reference), {"reasoningContent": signed}) if signed else None


@dataclass(slots=True)
class _Tool:
    index: int
    written: bool = False

    def write(self, arguments: str) -> list[ReplyEvent]:
        self.written = True
        return [ToolCallDelta(index=self.index, arguments=arguments)]


class StreamDecoder:
    """Takes in the frames of one ConverseStream reply; a reply is whole after its `messageStop` and `metadata`.

    Args:
        context: Whose reply it is.
    """

    def __init__(self, context: ReplyContext) -> None:
        self.finished = False
        self._context, self._reference = context, context.reference
        self._tools: dict[int, _Tool] = {}
        self._splitter, self._joiner = ThoughtSplitter(), TextJoiner()
        self._thoughts: dict[int, dict[str, Any]] = {}
        self._wrote = False
        self._reason: str | None = None
        self._stop_sequence: str | None = None
        self._metadata: Mapping[str, Any] | None = None

    def feed(self, frame: Frame) -> list[ReplyEvent]:
        """Return the events of the next frame, mostly one or none.

        Raises:
            BrokenReply: It isn't what the service model says.
            Refused: A guardrail or filter left nothing of the model's own text.
            ProviderError: It is an exception or error event.
        """
        headers = frame.headers
        if headers.get(":message-type") != "event":
            raise from_event(headers, frame.payload, self._context)
        kind = headers.get(":event-type")
        return self.take(kind, _object(frame.payload, self._reference)) if kind in _EVENTS else []

    def take(self, kind: str, data: dict[str, Any]) -> list[ReplyEvent]:
        """Return the events of the next event of the stream; raises as `feed`."""
        match kind:
            case "contentBlockDelta":
                return self._delta(data)
            case "contentBlockStart":
                return self._start(data)
            case "contentBlockStop":
                return self._stop(data)
            case "messageStop":
                self._reason = _text(data, "stopReason", self._reference)
                self._stop_sequence = _stop_sequence(self._reason, data, self._context.request)
            case "metadata":
                self._metadata = data
        return self._finish_when_whole()

    def end(self) -> None:
        """Take note that nothing follows.

        Raises:
            BrokenReply: The reply isn't whole.
        """
        if not self.finished:
            raise BrokenReply("the stream ended before the reply was whole", model=self._reference)

    def _delta(self, data: Mapping[str, Any]) -> list[ReplyEvent]:
        match data.get("delta"):
            case {"text": str(text)}:
                self._wrote = self._wrote or bool(text)
                if self._joiner.half or not text.isascii():
                    text = self._joiner.feed(text)
                return self._splitter.feed(text) if text else []
            case {"reasoningContent": dict(thought)}:
                self._note_thought(data, thought)
                seen = thought.get("text")
                return [ReasoningDelta(whole_characters(seen))] if isinstance(seen, str) and seen else []
            case {"toolUse": {"input": str(arguments)}}:
                return self._write_tool(data, whole_characters(arguments))
            case {"text": _} | {"toolUse": _} | None:
                raise BrokenReply("a delta is not what the service model says", model=self._reference)
        return []  # signatures and redacted reasoning: nothing that could be shown

    def _note_thought(self, data: Mapping[str, Any], thought: Mapping[str, Any]) -> None:
        """Put a piece of the model's thoughts to its block, in the form in which a request takes it back."""
        block = self._thoughts.setdefault(data.get("contentBlockIndex", 0), {})
        for key in ("text", "signature"):
            if isinstance(piece := thought.get(key), str):
                whole = block.setdefault("reasoningText", {"text": ""})
                whole[key] = whole.get(key, "") + piece
        if isinstance(redacted := thought.get("redactedContent"), str):
            block["redactedContent"] = block.get("redactedContent", "") + redacted

    def _start(self, data: Mapping[str, Any]) -> list[ReplyEvent]:
        match data:
            case {"contentBlockIndex": int(at), "start": {"toolUse": {"toolUseId": str(call_id), "name": str(name)}}}:
                self._tools[at] = _Tool(index=len(self._tools))
                self._wrote = True
                return [ToolCallDelta(index=self._tools[at].index, id=call_id, name=name)]
            case {"start": {"toolUse": _}}:
                raise BrokenReply("a tool call has no id or no name", model=self._reference)
        return []

    def _stop(self, data: Mapping[str, Any]) -> list[ReplyEvent]:
        # A call without arguments streams none; whole replies say `{}`.
        tool = self._tool_at(data)
        return tool.write("{}") if tool and not tool.written else []

    def _write_tool(self, data: Mapping[str, Any], arguments: str) -> list[ReplyEvent]:
        tool = self._tool_at(data)
        if tool is None:
            raise BrokenReply("arguments came for a tool call that never began", model=self._reference)
        return tool.write(arguments) if arguments else []

    def _tool_at(self, data: Mapping[str, Any]) -> _Tool | None:
        at = data.get("contentBlockIndex")
        return self._tools.get(at) if isinstance(at, int) else None

    def _finish_when_whole(self) -> list[ReplyEvent]:
        if self._reason is None or self._metadata is None or self.finished:
            return []
        self.finished = True
        finish = _finish(self._reason, self._metadata, self._context, wrote=self._wrote)
        thoughts = [self._thoughts[at] for at in sorted(self._thoughts)]
        state = _state(thoughts, self._reference) if self._tools else None
        last = self._splitter.feed(half) if (half := self._joiner.end()) else []
        finish = replace(finish, state=state, stop_sequence=self._stop_sequence)
        return [*last, *self._splitter.end(), finish]


def _finish(reason: str, data: Mapping[str, Any], context: ReplyContext, *, wrote: bool) -> Finish:
    reference = context.reference
    if reason.startswith("malformed_"):
        raise BrokenReply(f"the model wrote something that Bedrock can't read ({reason})", model=reference)
    usage, known = _usage(data.get("usage"), reference), _REASONS.get(reason, reason)
    if usage is not None and (tier := tier_of(data.get("serviceTier"))) is not None:
        usage = replace(usage, tier=tier)
    if known == "content_filter" and not (wrote and (usage is None or usage.output_tokens)):
        # With a guardrail, the text of a reply that cost no token is the guardrail's own, not the model's.
        raise Refused(f"a guardrail or content filter of Bedrock stepped in ({reason})", model=reference)
    return Finish(reason=known, usage=usage, served_by=_served_by(data), request_id=context.request_id)


def _served_by(data: Mapping[str, Any]) -> str | None:
    match data:
        case {"trace": {"promptRouter": {"invokedModelId": str(model)}}}:
            return model
    return None


def _usage(data: Any, reference: str) -> TokenUsage | None:
    """The reported tokens. Source: the user guide on prompt caching: `inputTokens` leaves cached tokens out."""
    if data is None:
        return None
    match data:
        case {"inputTokens": int(fresh), "outputTokens": int(output)}:
            read, written = (data.get(key) or 0 for key in ("cacheReadInputTokens", "cacheWriteInputTokens"))
            if isinstance(read, int) and isinstance(written, int):
                return TokenUsage(
                    input_tokens=fresh + read + written,
                    output_tokens=output,
                    cached_input_tokens=read,
                    cache_write_tokens=written,
                    cache_write_1h_tokens=min(_written_for_an_hour(data), written),
                )
    raise BrokenReply("the reported token counts are not numbers", model=reference)


def _written_for_an_hour(data: Mapping[str, Any]) -> int:
    details = data.get("cacheDetails")
    counts = (
        one.get("inputTokens")
        for one in (details if isinstance(details, list) else ())
        if isinstance(one, dict) and one.get("ttl") == HOUR
    )
    return sum(count for count in counts if isinstance(count, int))


def _object(content: bytes, reference: str, *, whole: bool = False) -> dict[str, Any]:
    """The object that a reply or an event is; with `whole`, nothing follows that could hold an emoji's other half."""
    try:
        data = loads_whole(content) if whole else loads(content)
    except ValueError as error:
        raise BrokenReply(f"the reply is not JSON: {error}", model=reference) from error
    if not isinstance(data, dict):
        raise BrokenReply("the reply is not a JSON object", model=reference)
    return data


def _text(data: Mapping[str, Any], key: str, reference: str) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise BrokenReply(f"an event has no {key}", model=reference)
    return value
