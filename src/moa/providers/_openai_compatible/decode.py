"""Replies of the chat completions API, whole or streamed, as our events."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import orjson

from moa._ledger import ErrorInfo
from moa._usage import TokenUsage
from moa.errors import BadRequest, BrokenReply, ProviderError, Refused
from moa.providers._base import Finish, ReasoningDelta, ReplyEvent, Restarted, TextDelta, ToolCallDelta
from moa.providers._cache_marks import asks_for_an_hour
from moa.providers._error_body import error_body_of, is_error
from moa.providers._error_mapping import map_error
from moa.providers._lenient_json import TextJoiner, loads, whole_characters
from moa.providers._openai_compatible.sse import BOM, SseReader
from moa.providers._openai_compatible.tool_calls import ToolCalls
from moa.providers._openai_compatible.usage import largest, read_usage
from moa.providers._reply_context import ReplyContext
from moa.providers._service_state import ServiceState, owner_of
from moa.providers._service_tier import tier_of
from moa.providers._thoughts import Logprobs, ThoughtSplitter, starts_with_thoughts, text_after_thoughts

_REASONS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"length|tokens|token_limit|context_window"), "length"),
    (
        re.compile(r"safety|recitation|sensitive|prohibited|block|spii|language|filter|guardrail|refusal|toxic"),
        "content_filter",
    ),
    (re.compile(r"tool|function"), "tool_calls"),
    (re.compile(r"stop|eos|^end|^done$|(?<!in)complete|finish_reason_unspecified"), "stop"),
)
"""Other services' words for the OpenAI API's finish reasons, e.g. `model_context_window_exceeded`, `content-filter`."""

_MATCHED_STOP = ("stop_reason", "matched_stop", "stop_sequence")
"""Where a choice says which stop text ended it: vLLM's and SGLang's servers, and gateways to Anthropic's API."""

_FAILED = re.compile(r"error|abort|fail|time_?out|cancel|insufficient|malformed|unexpected")
"""Words for replies that their services couldn't bring to an end."""

NO_REASON = ErrorInfo(
    code="no_finish_reason", message="the service ended the reply without giving a reason: it may not be whole"
)
_FIRST = (0, None, "0")
"""Indices of the only choice that we ask for."""

NOT_LIKELY = -9999.0
"""The log probability of what is not likely at all. Source: OpenAI's API reference."""


def decode_reply(body: bytes, context: ReplyContext) -> list[ReplyEvent]:
    """Return the events of a reply that came whole.

    Raises:
        ProviderError: It is an error, a refusal, or not what the protocol says.
    """
    return _Events(context).of_whole(body)


def split_choices(body: bytes) -> list[bytes]:
    """Return a reply with several choices as bodies with one choice each; any other body as it is."""
    try:
        whole = orjson.loads(body)
        choices = whole["choices"]
    except (ValueError, TypeError, KeyError):
        return [body]
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(choice, dict) for choice in choices):
        return [body]
    return [orjson.dumps({**whole, "choices": [{**choice, "index": 0}]}) for choice in choices]


class StreamDecoder:
    """Decodes a streamed reply from its bytes, broken anywhere.

    A reply is whole when a finish reason has come; `[DONE]` may be missing then. `[DONE]` after some content but
    without a finish reason ends a reply with a note: gateways write it too after what they pass on has broken off, so
    it doesn't prove that the text is whole. Bytes that end without either are a broken reply.

    A body that begins like JSON is no stream but a whole reply, whatever was asked for: its events come at the end.

    Attributes:
        done: `[DONE]` has come; nothing follows.

    Args:
        context: Whose reply it is.
        holds: The model is expected to write thoughts without an opening tag: text is held until they are closed.
    """

    def __init__(self, context: ReplyContext, *, holds: bool = False) -> None:
        self.done = False
        self._reader = SseReader()
        self._events = _Events(context, holds=holds)
        self._sniffing = True
        self._held: list[bytes] = []
        self._comes_in_deltas = False

    @property
    def thinks_in_text(self) -> bool:
        """Whether thoughts were found before a closing tag that stood alone."""
        return self._events.splitter.closed_alone

    @property
    def whole(self) -> bool:
        """Whether a finish reason has come: all text is there, at most the usage is missing."""
        return self._events.finish_reason is not None

    def feed(self, chunk: bytes) -> Iterator[ReplyEvent]:
        """Give the events that the next bytes complete; what came before an error is given before it is raised.

        Raises:
            ProviderError: An error event, or something that the protocol doesn't know.
        """
        if self._sniffing:
            chunk = self._streamed(chunk)
        for name, data in self._reader.feed(chunk):
            for document in _documents(data):
                yield from self._event(name, document)

    def end(self) -> Iterator[ReplyEvent]:
        """Give the last events, `Finish` at their end; to be called once, after `done` or the last byte.

        Raises:
            ProviderError: The reply isn't whole, or was a refusal.
        """
        if body := b"".join(self._held):
            yield from self._events.of_whole(body)
            return
        if not self.done:
            for name, data in self._reader.end():
                for document in _documents(data):
                    yield from self._event(name, document)
        if not self.whole and not (self.done and self._events.has_content):
            raise self._events.broken(
                "it ended with [DONE] but without a finish reason" if self.done else "it ended without a finish reason"
            )
        yield from self._events.end(has_reason=self.whole)

    def _streamed(self, chunk: bytes) -> bytes:
        """Return what belongs to a stream: nothing of a whole reply, which is held until its end."""
        if not self._held:
            chunk = chunk.removeprefix(BOM).lstrip()  # means nothing, whichever it is
        if self._held or chunk.startswith((b"{", b"[")):
            self._held.append(chunk)
            return b""
        self._sniffing = not chunk
        return chunk

    def _event(self, name: bytes, data: bytes) -> list[ReplyEvent]:
        if self.done or not data:
            return []
        if data[:6] == b"[DONE]":
            self.done = True
            return []
        events = self._events
        if name == b"error":
            raise events.error(_error_event(data))
        try:
            chunk = events.json_object(data)
        except BrokenReply:
            # After the finish reason only the usage may come, without which the reply is whole all the same.
            if not self.whole:
                raise
            return []
        if choice := events.choice(chunk):
            # Some servers put messages into their events in place of deltas; others, behind deltas, the whole message.
            delta = choice.get("delta") or (None if self._comes_in_deltas else _message_of(choice))
            if isinstance(delta, dict):
                found = events.delta(delta, choice)
                self._comes_in_deltas = self._comes_in_deltas or (events.has_content and delta is choice.get("delta"))
                return found
            if delta is not None:
                raise events.broken("a delta is not an object", chunk)
        return []


def _documents(data: bytes) -> Sequence[bytes]:
    """The JSON documents in an event's data: one, or one a line from servers that leave empty lines out."""
    if b"\n" not in data:
        return (data,)
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return data.split(b"\n")
    return (data,)


class _Events:
    """What streamed and whole replies have in common: fields of a message, in pieces or all at once, as events."""

    def __init__(self, context: ReplyContext, *, holds: bool = False) -> None:
        self.finish_reason: str | None = None
        self._stop_sequence: str | None = None
        self._context, self._reference, self._request = context, context.reference, context.request
        self._secrets, self._request_id = context.secrets, context.request_id
        self._served_by: str | None = None
        self._usage: TokenUsage | None = None
        self._tier: str | None = None
        self.splitter = ThoughtSplitter(holds=holds)
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._owner = owner_of(context.reference)
        self._tools = ToolCalls(self._owner)
        self._joiner = TextJoiner()
        self._state: dict[str, Any] = {}
        self._has_text = False

    @property
    def has_content(self) -> bool:
        """Whether text or a tool call has come."""
        return self._has_text or bool(self._tools)

    def of_whole(self, body: bytes) -> list[ReplyEvent]:
        """Return the events of a reply that came whole."""
        reply = self.json_object(body.removeprefix(BOM))
        choice = self.choice(reply)
        if choice is None:
            raise self.broken("it has no choice", reply)
        message = _message_of(choice)
        if not isinstance(message, dict) and self.finish_reason is None:
            raise self.broken("its choice has no message", reply)
        # A filter leaves a reason and no message at all.
        found = self.delta(_with_numbered_calls(message), choice) if isinstance(message, dict) else []
        # The body is whole, so a service that gives no reason can only mean that the model was done.
        self.finish_reason = self.finish_reason or "stop"
        return found + self.end()

    def json_object(self, data: bytes) -> dict[str, Any]:
        """Return the object that a whole reply or an event of a stream is."""
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            value = self._almost_json(data, error)
        if isinstance(value, dict):
            return value
        if isinstance(value, list) and value and isinstance(value[0], dict) and "error" in value[0]:
            return value[0]
        raise self.broken("it is not a JSON object", data)

    def _almost_json(self, data: bytes, error: ValueError) -> Any:
        try:
            return loads(data)
        except ValueError:
            if not data:
                raise self.broken("it is empty") from None
            if data.lstrip().startswith(b"<"):
                # Asking again is of no use: it is another server, or another path, than the one that was meant.
                message = "there is a web page in place of a reply: check the endpoint's base_url"
                raise BadRequest(message, model=self._reference) from None
            raise self.broken(f"it is not JSON ({error})", data) from error

    def choice(self, reply: Mapping[str, Any]) -> dict[str, Any] | None:
        """Take in what surrounds the message, and return its choice, None if there is none.

        Only the choice of index 0 counts: we never ask for more than one.
        """
        get = reply.get
        if get("error") or get("object") == "error":
            raise self.error(reply)
        if self._served_by is None or "service_tier" in reply:
            self._note_origin(reply)
        choices: Any = get("choices")
        if choices is None and (wrapped := self._wrapped(reply)) is not None:
            return self.choice(wrapped)
        choice: Any = choices[0] if isinstance(choices, list) and choices else None
        if usage := read_usage(get("usage") or _misplaced_usage(reply, choice)):
            self._usage = usage if self._usage is None else largest(self._usage, usage)
        if choice is None and not choices:
            self._raise_if_blocked(reply)
            return None
        if not isinstance(choice, dict):
            raise self.broken("its choice is not an object", reply)
        if choice.get("index") not in _FIRST:
            others = (other for other in choices if isinstance(other, dict) and other.get("index") in _FIRST)
            if (choice := next(others, None)) is None:
                return None
        if reason := choice.get("finish_reason"):
            self._finish(str(reason).lower().replace("-", "_"), choice)
        return choice

    def _wrapped(self, reply: Mapping[str, Any]) -> dict[str, Any] | None:
        """A reply inside of a gateway's own envelope; in its place there may be an error."""
        for envelope in (reply.get("data"), reply.get("result")):
            if isinstance(envelope, dict) and envelope.get("choices"):
                return envelope
        if is_error(reply):
            raise self.error(reply)
        return None

    def _raise_if_blocked(self, reply: Mapping[str, Any]) -> None:
        blocked = reply.get("promptFeedback") or reply.get("prompt_feedback")
        if isinstance(blocked, dict) and (why := blocked.get("blockReason") or blocked.get("block_reason")):
            raise self._with_usage(Refused(f"the prompt was blocked: {why}", model=self._reference))

    def _note_origin(self, reply: Mapping[str, Any]) -> None:
        """Take in what a reply says of itself: its model, its id, the tier that it was served in."""
        get = reply.get
        if self._served_by is None and isinstance(model := get("model"), str):
            is_asked = self._request is not None and model == self._request.model
            self._served_by = model if is_asked else self._secrets.hide(model)
        if self._request_id is None and isinstance(identity := get("id"), str):
            self._request_id = identity
        if (tier := tier_of(get("service_tier"))) is not None:
            self._tier = tier

    def _finish(self, reason: str, choice: Mapping[str, Any]) -> None:
        stop = self._request.sampling.stop if self._request else ()
        if named := [choice.get(name) for name in _MATCHED_STOP if choice.get(name) in stop]:
            self._stop_sequence = named[0]
        elif reason == "stop_sequence" and len(stop) == 1:
            self._stop_sequence = stop[0]
        self.finish_reason = _meaning_of(reason)
        if self.finish_reason is None:
            raise self.error({"error": choice.get("error") or f"the model stopped with the reason {reason!r}"})

    def delta(self, message: Mapping[str, Any], choice: Mapping[str, Any]) -> list[ReplyEvent]:
        """Return the events of a message or of a piece of one."""
        found: list[ReplyEvent] = []
        get = message.get
        for name, value in message.items():
            if value is not None and name != "content" and name != "role":
                self._beside_content(message, found)
                break
        content = get("content")
        logprobs = _logprobs(choice)
        if isinstance(content, dict) and "type" in content:
            content = [content]
        if isinstance(content, list):
            content = self._parts(content, found)
        if isinstance(content, str):
            if content or logprobs:
                self._text(content, logprobs, found)
        elif content is not None:
            raise self.broken("its content is not text", message)
        return found

    def _beside_content(self, message: Mapping[str, Any], found: list[ReplyEvent]) -> None:
        if thought := _reasoning(message):
            self._reasoning.append(thought)
            found.append(ReasoningDelta(whole_characters(thought)))
            found += self.splitter.release()
        self._note_state(message)
        if isinstance(refusal := message.get("refusal"), str):
            self._refusal.append(refusal)
        if calls := message.get("tool_calls"):
            found += [self._tool(call) for call in (calls if isinstance(calls, list) else [calls])]
        elif isinstance(function := message.get("function_call"), dict):
            # The API before there were several calls: at most one, without an id.
            found.append(self._tools.add({"index": 0}, function))

    def _note_state(self, message: Mapping[str, Any]) -> None:
        """Keep what the service will want back with its message."""
        if isinstance(thought := message.get("reasoning_content"), str):
            self._state["reasoning_content"] = self._state.get("reasoning_content", "") + thought
        if isinstance(details := message.get("reasoning_details"), list):
            self._state["reasoning_details"] = [*self._state.get("reasoning_details", ()), *details]

    def _text(self, text: str, logprobs: Logprobs, found: list[ReplyEvent]) -> None:
        if self._joiner.half or not text.isascii():
            text = self._joiner.feed(text)
        for piece, its_logprobs in _aligned(text, logprobs) if len(logprobs) > 1 else ((text, logprobs),):
            for event in self.splitter.feed(piece, its_logprobs):
                self._note(event)
                found.append(event)

    def _note(self, event: ReplyEvent) -> None:
        if isinstance(event, TextDelta):
            self._has_text = True
        elif isinstance(event, Restarted):
            self._has_text = False
        elif isinstance(event, ReasoningDelta):
            self._reasoning.append(event.text)

    def _parts(self, parts: list[Any], found: list[ReplyEvent]) -> str:
        """Return the text of content that comes in parts, as Mistral's reasoning models send it."""
        text = []
        for part in parts:
            match part:
                case {"type": "text" | "output_text", "text": str(piece)}:
                    text.append(piece)
                case {"type": "thinking" | "reasoning", **fields}:
                    thought = _thought_of(fields)
                    self._reasoning.append(thought)
                    found.append(ReasoningDelta(thought))
                case {"type": "refusal", "refusal": str(refusal)}:
                    self._refusal.append(refusal)
                case str(piece):
                    text.append(piece)
                # Other kinds (citations, audio, what is to be invented yet) are nothing that we could show.
        return "".join(text)

    def _tool(self, call: object) -> ToolCallDelta:
        if not isinstance(call, dict):
            raise self.broken("a tool call is not an object", call)
        # A piece may do without a function; some servers write name and arguments beside the id.
        function = call.get("function")
        return self._tools.add(call, function if isinstance(function, dict) else call)

    def end(self, *, has_reason: bool = True) -> list[ReplyEvent]:
        """Return the last events of a whole reply, or of one that ended without giving a reason."""
        found: list[ReplyEvent] = []
        if half := self._joiner.end():
            found += self.splitter.feed(half)
        found += self.splitter.end()
        for event in found:
            self._note(event)
        if not self.has_content and (tail := text_after_thoughts("".join(self._reasoning))):
            self._has_text = True
            found.append(TextDelta(tail))
        if self._tools.has_nameless:
            raise self.broken("a tool call has no function")
        found += self._tools.end()
        reason = self.finish_reason or "stop"
        if refusal := "".join(self._refusal):
            shown = self._secrets.beginning(refusal, 500)
            raise self._with_usage(Refused(f"the model refused: {shown}", model=self._reference))
        if reason == "content_filter" and not self._has_text:
            raise self._with_usage(Refused("a content filter kept the whole reply back", model=self._reference))
        if reason in ("stop", "tool_calls"):
            reason = "tool_calls" if self._tools else "stop"
        finish = Finish(
            reason=reason,
            usage=self._whole_usage(),
            served_by=self._served_by,
            request_id=self._request_id,
            notes=() if has_reason else (NO_REASON,),
            # Only a turn that called tools is sent back before the model has answered.
            state=ServiceState(self._owner, self._state) if self._state and self._tools else None,
            stop_sequence=self._stop_sequence if reason == "stop" else None,
        )
        return [*found, finish]

    def _whole_usage(self) -> TokenUsage | None:
        usage = self._usage
        if usage is None:
            return None
        if self._tier is not None:
            usage = replace(usage, tier=self._tier)
        written = usage.cache_write_tokens
        if written and not usage.cache_write_1h_tokens and self._request and asks_for_an_hour(self._request):
            usage = replace(usage, cache_write_1h_tokens=written)
        return usage

    def error(self, reply: Mapping[str, Any]) -> ProviderError:
        """Our error for one that came inside of a reply."""
        error_body = error_body_of(reply, self._secrets)
        return self._with_usage(map_error(error_body, self._context))

    def broken(self, what: str, piece: object = None) -> ProviderError:
        """The error for something that isn't what the protocol says."""
        words = piece if isinstance(piece, bytes) else orjson.dumps(piece)
        shown = "" if piece is None else f": {self._secrets.beginning(words.decode('utf-8', 'replace'), 200)!r}"
        return self._with_usage(BrokenReply(f"the reply is broken: {what}{shown}", model=self._reference))

    def _with_usage(self, error: ProviderError) -> ProviderError:
        error.usage = self._usage
        return error


@lru_cache(maxsize=256)
def _meaning_of(reason: str) -> str | None:
    """A service's word for a reply's end in the OpenAI API's words; None if the service couldn't bring it to an end."""
    ours = next((ours for words, ours in _REASONS if words.search(reason)), reason)
    return None if ours != "content_filter" and _FAILED.search(reason) else ours


def _message_of(choice: Mapping[str, Any]) -> object:
    """A choice's message; some servers put one into their events, and those of the API before it a bare text."""
    message = choice.get("message") or choice.get("delta")
    return {"content": choice["text"]} if not message and isinstance(choice.get("text"), str) else message


def _with_numbered_calls(message: dict[str, Any]) -> dict[str, Any]:
    """A whole message whose tool calls are told apart by their places, whatever their ids and indices are."""
    calls = message.get("tool_calls")
    if not isinstance(calls, list) or len(calls) < 2:
        return message
    numbered = [{**call, "index": at} if isinstance(call, dict) else call for at, call in enumerate(calls)]
    return {**message, "tool_calls": numbered}


def _error_event(data: bytes) -> dict[str, Any]:
    try:
        return {"error": orjson.loads(data)}
    except orjson.JSONDecodeError:
        return {"error": data.decode("utf-8", "replace")}


def _reasoning(message: Mapping[str, Any]) -> str:
    """Return what a message holds of the model's thoughts, under any of the names in use."""
    get = message.get
    thought = get("reasoning_content") or get("reasoning") or get("reasoning_text") or get("thinking")
    if isinstance(thought, str):
        return thought
    if isinstance(thought, dict):
        return _thought_of(thought)
    details = get("reasoning_details")
    if not isinstance(details, list):
        return ""
    texts = (detail.get("text") or detail.get("summary") for detail in details if isinstance(detail, dict))
    return "".join(text for text in texts if isinstance(text, str))


def _thought_of(part: Mapping[Any, Any]) -> str:
    """Return the text of a part of a message that holds thoughts: in a text, or in a list of texts."""
    value = next((part[key] for key in ("thinking", "text", "content", "reasoning", "summary") if part.get(key)), "")
    pieces = value if isinstance(value, list) else [value]
    texts = (piece.get("text", "") if isinstance(piece, dict) else piece for piece in pieces)
    return "".join(text for text in texts if isinstance(text, str))


def _misplaced_usage(reply: Mapping[str, Any], choice: object) -> object:
    """Return a usage that stands where Groq (`x_groq`) or Moonshot (in the choice) put it."""
    place = reply.get("x_groq") or choice
    return place.get("usage") if isinstance(place, dict) else None


def _logprobs(choice: Mapping[str, Any]) -> Logprobs:
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list):
        return ()
    return tuple(_with_numbers(entry) for entry in content if isinstance(entry, dict))


def _with_numbers(entry: dict[str, Any]) -> dict[str, Any]:
    """A token's log probabilities as numbers: null, NaN and -Infinity mean that it is not likely at all."""
    alternatives = [one for one in entry.get("top_logprobs") or () if isinstance(one, dict)]
    values = [entry.get("logprob"), *(one.get("logprob") for one in alternatives)]
    if all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        return entry
    fixed = [one | {"logprob": _number(one.get("logprob"))} for one in alternatives]
    return entry | {"logprob": _number(entry.get("logprob"))} | ({"top_logprobs": fixed} if fixed else {})


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else NOT_LIKELY


def _aligned(text: str, logprobs: Logprobs) -> list[tuple[str, Logprobs]]:
    """Return the text token by token where it has thoughts, so that theirs can be told from the answer's."""
    if starts_with_thoughts(text):
        tokens = [str(entry.get("token", "")) for entry in logprobs if isinstance(entry, dict)]
        if "".join(tokens) == text:
            return [(token, (entry,)) for token, entry in zip(tokens, logprobs, strict=True)]
    return [(text, logprobs)]
