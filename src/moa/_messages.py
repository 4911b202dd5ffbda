"""What is said to a model: messages, their parts, and the parameters of sampling."""

import base64
import binascii
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from moa._validation.suggestions import did_you_mean
from moa.errors import UsageError

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPart:
    """A piece of text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePart:
    """An image, by its bytes or by an address that the provider fetches.

    Attributes:
        data: The file's bytes, empty if `url` is set.
        media_type: e.g. `image/png`; empty if `url` is set.
        url: An http(s) address, empty if `data` is set.
        detail: `low`, `high` or `auto`, for providers that know it; None leaves it to them.
        data_url: The bytes as a `data:` address, if they came so; empty if not. They then aren't encoded for each call.
    """

    data: bytes = b""
    media_type: str = ""
    url: str = ""
    detail: str | None = None
    data_url: str = field(default="", compare=False, repr=False)

    @property
    def base64_data(self) -> str:
        """The bytes in base64."""
        return self.data_url.partition(",")[2] or base64.b64encode(self.data).decode()


Part = TextPart | ImagePart


@dataclass(frozen=True, slots=True)
class ServiceState:
    """What a service hung on its message or tool call, and wants back with it: signatures, encrypted or plain thoughts.

    Nobody but its owner reads it, and it is sent to nobody else.

    Attributes:
        owner: The endpoint and model family that it came from.
        data: Fields of the service's own message or tool call, as JSON values.
    """

    owner: str
    data: Mapping[str, Any]

    def pack(self) -> str:
        """Return it as one opaque text, for APIs and files; `unpack` reads it."""
        text = json.dumps([self.owner, self.data], separators=(",", ":"))
        return base64.urlsafe_b64encode(zlib.compress(text.encode())).decode().rstrip("=")

    @classmethod
    def unpack(cls, packed: str) -> "ServiceState | None":
        """Return what a text of `pack` stands for; None if it stands for nothing: it may come from anybody."""
        text = cls.unpacked_text(packed, MOST_STATE_BYTES)
        return None if text is None else cls.from_text(text)

    @staticmethod
    def unpacked_text(packed: str, most_bytes: int) -> bytes | None:
        """Return the text that was packed: a thousand times as long, if somebody means harm.

        Args:
            packed: What `pack` gave, or anything else.
            most_bytes: Longest text.

        Returns:
            The text; None if it is longer, or `packed` is anything else.
        """
        try:
            data = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
            reader = zlib.decompressobj()
            text = reader.decompress(data, most_bytes)
        except (ValueError, zlib.error):
            return None
        return text if reader.eof else None

    @classmethod
    def from_text(cls, text: bytes) -> "ServiceState | None":
        """Return what an unpacked text stands for; None if it stands for nothing."""
        try:
            owner, fields = json.loads(text)
        except (ValueError, TypeError, RecursionError):
            return None
        return cls(owner, fields) if isinstance(owner, str) and isinstance(fields, dict) else None


MOST_STATE_BYTES = 4 * 1024 * 1024
"""Most bytes that a service's state may have: a reply's whole thoughts, several times over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A model's wish to call a tool; `arguments` is the JSON text that it wrote, not checked.

    Attributes:
        state: What its service wants back with it; None if nothing.
    """

    id: str
    name: str
    arguments: str
    state: ServiceState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation.

    Attributes:
        content: Text, or parts if there are images.
        tool_calls: What an assistant turn asked for.
        tool_call_id: Which of them a tool turn answers.
        name: Optional name of the speaker.
        cache_points: Where the prompt up to here is worth caching, for services that want to be told: positions in
            `content` (characters of a text, parts of parts), its length for the end. They are advice, and no part of
            what is said: messages that differ only in them are equal.
        cache_ttl: For how long the prompt up to its cache points is to be kept: `1h`, or None for the usual time.
        state: What the service that wrote an assistant turn wants back with it; None if nothing.
    """

    role: Role
    content: str | tuple[Part, ...] = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    cache_points: tuple[int, ...] = field(default=(), compare=False)
    cache_ttl: str | None = field(default=None, compare=False)
    state: ServiceState | None = None

    @property
    def text(self) -> str:
        """All text parts, joined by line breaks."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def images(self) -> tuple[ImagePart, ...]:
        """All image parts."""
        if isinstance(self.content, str):
            return ()
        return tuple(part for part in self.content if isinstance(part, ImagePart))


def whole_characters(text: str) -> str:
    """Return a text with U+FFFD for each half of a character (half an emoji), which no encoding of Unicode can hold."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


Conversation = tuple[Message, ...]
"""Messages in the order in which they were said."""


_NOT_TYPED = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
"""What coding agents put into a user message beside the results of tools."""


def last_user_turn(conversation: Conversation) -> int:
    """Return the index of the last message with something that a person wrote; of the last message if there is none.

    Results of tools, and what programs add to them behind a tool message, are not written by a person.
    """
    for at in range(len(conversation) - 1, -1, -1):
        message = conversation[at]
        if message.role != "user":
            continue
        after_tool = at > 0 and conversation[at - 1].role == "tool"
        if not after_tool or _NOT_TYPED.sub("", message.text).strip():
            return at
    return len(conversation) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a model samples; None leaves a parameter to the service.

    Attributes:
        temperature: From 0.
        top_p: Probability mass, 0-1.
        top_k: Number of candidate tokens.
        max_tokens: Most tokens that the reply may have.
        stop: Texts that end the reply.
        seed: For services that have one.
        reasoning_effort: `none`, `minimal`, `low`, `medium`, `high` …, as the service names them.
        extra: Further fields of the service's request body, passed through untouched.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    reasoning_effort: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyOptions:
    """What a caller asks of the answer beyond sampling; every mapping in the OpenAI API's shape.

    Attributes:
        tools: Functions that the model may call; a `cache_control` beside `type` and `function` marks the end of a
            prefix worth caching, as in messages.
        tool_choice: `auto`, `none`, `required`, or one function.
        response_format: e.g. a JSON schema that the reply must satisfy.
        top_logprobs: How many alternatives to report for each token; None for no log probabilities at all.
        format_is_optional: The response format is a wish: a service that refuses it is asked without one. Otherwise
            its refusal is an error.
    """

    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: str | Mapping[str, Any] | None = None
    response_format: Mapping[str, Any] | None = None
    top_logprobs: int | None = None
    format_is_optional: bool = False


def conversation(
    prompt: str | Sequence[Message | Mapping[str, Any]],
    *,
    system: str | None = None,
    images: Sequence[ImagePart] = (),
) -> Conversation:
    """Return a prompt, or messages in the OpenAI API's shape, as a conversation.

    Half of a character in a text (half an emoji) becomes U+FFFD.

    Args:
        prompt: One user turn, or all turns (`Message`, or mappings with `role` and `content`).
        system: A system message to put in front.
        images: Images to add to the last user turn.

    Raises:
        UsageError: No turn, no user turn for the images, an empty last one, calls of tools without results at the end,
            or something that is no turn or image.
    """
    turns = [_with_whole_characters(turn) for turn in _turns(prompt)]
    if not any(turn.role != "system" for turn in turns):
        raise UsageError("the conversation is empty: give a prompt or at least one user message")
    if images:
        turns = _with_images(turns, _checked(images))
    last = turns[-1]
    if (last.role == "user" or len(turns) == 1) and not last.text.strip() and not last.images:
        raise UsageError("the prompt is empty: write something into the last user message")
    if last.tool_calls:
        names = ", ".join(call.name for call in last.tool_calls)
        raise UsageError(
            f"the conversation ends with calls of tools ({names:.200}): add a tool message for each result"
        )
    if system:
        turns.insert(0, Message(role="system", content=whole_characters(system)))
    return tuple(turns)


def _with_whole_characters(turn: Message) -> Message:
    content = turn.content
    if isinstance(content, str):
        whole: str | tuple[Part, ...] = whole_characters(content)
    else:
        whole = tuple(
            replace(part, text=whole_characters(part.text)) if isinstance(part, TextPart) else part for part in content
        )
    calls = tuple(replace(call, arguments=whole_characters(call.arguments)) for call in turn.tool_calls)
    if whole == content and calls == turn.tool_calls:
        return turn
    return replace(turn, content=whole, tool_calls=calls)


def _turns(prompt: object) -> list[Message]:
    if isinstance(prompt, str):
        return [Message(role="user", content=prompt)]
    if isinstance(prompt, Iterable) and not isinstance(prompt, bytes | bytearray | Mapping):
        return [_message(turn, number) for number, turn in enumerate(prompt, 1)]
    shape = "in" if isinstance(prompt, Message | Mapping) else "as"
    raise UsageError(f"the prompt is {_kind(prompt)}: give text, or messages {shape} a list")


def _checked(images: object) -> tuple[ImagePart, ...]:
    if not isinstance(images, Iterable) or isinstance(images, str | bytes | Mapping):
        raise UsageError(f"images is {_kind(images)}: give a list of ImagePart")
    checked = []
    for number, image in enumerate(images, 1):
        if not isinstance(image, ImagePart):
            raise UsageError(f"image {number} is {_kind(image)}: give an ImagePart, with its data or its url")
        checked.append(image)
    return tuple(checked)


def _kind(value: object) -> str:
    """What a value is, in a few words."""
    match value:
        case None:
            return "None"
        case str():
            return f"text ({value!r:.40})"
        case Mapping():
            return "a mapping"
    return f"of type {type(value).__name__}"


def _with_images(turns: list[Message], images: Sequence[ImagePart]) -> list[Message]:
    for at in range(len(turns) - 1, -1, -1):
        if turns[at].role == "user":
            content = turns[at].content
            parts = (TextPart(text=content),) if isinstance(content, str) else content
            return [*turns[:at], replace(turns[at], content=(*parts, *images)), *turns[at + 1 :]]
    raise UsageError("the images have no user message to go with: add one")


MESSAGE_KEYS = ("role", "content", "tool_calls", "tool_call_id", "name", "cache_control")
"""What a mapping that is a message may have."""

_OF_A_REPLY = ("refusal", "reasoning", "reasoning_content", "reasoning_details")
"""What services add to their replies, which callers send back as they came. No model is shown it again."""


def _message(value: object, number: int) -> Message:
    if isinstance(value, Message):
        return value
    if not isinstance(value, Mapping):
        advice = 'give a Message, or a mapping such as {"role": "user", "content": "…"}'
        raise UsageError(f"message {number} is {_kind(value)}: {advice}")
    for key, content in value.items():
        # Replies are also full of empty fields.
        if key not in (*MESSAGE_KEYS, *_OF_A_REPLY) and content not in (None, [], {}):
            hint = did_you_mean(str(key), MESSAGE_KEYS) or "."
            raise UsageError(
                f"message {number} has the unknown key {key!r:.80}{hint} Known are {', '.join(MESSAGE_KEYS)}"
            )
    role = value.get("role")
    if role == "developer":
        role = "system"
    if role not in ("system", "user", "assistant", "tool"):
        raise UsageError(f"a message has the role {role!r}: use system, user, assistant or tool")
    content, cache_points = _content(value.get("content"))
    if value.get("cache_control") and len(content) not in cache_points:
        cache_points = (*cache_points, len(content))
    return Message(
        role=role,
        content=content,
        cache_points=cache_points,
        cache_ttl=longest_ttl([value, *(value["content"] if isinstance(value.get("content"), list | tuple) else ())]),
        tool_calls=tuple(_tool_call(call) for call in value.get("tool_calls") or ()),
        tool_call_id=value.get("tool_call_id"),
        name=value.get("name"),
    )


def longest_ttl(marked: Iterable[object]) -> str | None:
    """Return `1h` if the `cache_control` of anything asks for it, else None: the usual time."""
    marks = (each.get("cache_control") for each in marked if isinstance(each, Mapping))
    return "1h" if any(isinstance(mark, Mapping) and mark.get("ttl") == "1h" for mark in marks) else None


def _content(value: object) -> tuple[str | tuple[Part, ...], tuple[int, ...]]:
    """What is said, and the cache points in it: behind each part that has a `cache_control`."""
    if value is None:
        return "", ()
    if isinstance(value, str):
        return value, ()
    if not isinstance(value, Sequence):
        raise UsageError(f"a message's content is {type(value).__name__}: use text or a list of parts")
    parts = tuple(_part(part) for part in value)
    marked = [at for at, part in enumerate(value, 1) if isinstance(part, Mapping) and part.get("cache_control")]
    if all(isinstance(part, TextPart) for part in parts):
        texts = [part.text for part in parts if isinstance(part, TextPart)]
        return "\n".join(texts), tuple(len("\n".join(texts[:at])) for at in marked)
    return parts, tuple(marked)


def _part(value: object) -> Part:
    match value:
        case TextPart() | ImagePart():
            return value
        case {"type": "text" | "input_text", "text": str(text)}:
            return TextPart(text=text)
        case {"type": "image_url", "image_url": {"url": str(url), "detail": str(detail)}}:
            return image_from_url(url, detail=detail)
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            return image_from_url(url)
        case {"type": "text" | "input_text" | "image_url" as known}:
            raise UsageError(f"a content part of type {known!r} lacks its text or its address")
    kind = value.get("type") if isinstance(value, Mapping) else type(value).__name__
    raise UsageError(f"a content part of type {kind!r} is not supported: use text or image_url")


def image_from_url(url: str, *, detail: str | None = None) -> ImagePart:
    """Return an image part for an http(s) address or a base64 `data:` address.

    Raises:
        UsageError: Another kind of address, or data that isn't base64.
    """
    if url.startswith(("http://", "https://")):
        return ImagePart(url=url, detail=detail)
    header, comma, payload = url.partition(",")
    if not (header.startswith("data:image/") and header.endswith(";base64") and comma):
        raise UsageError("an image address must be http(s) or data:image/…;base64,…")
    try:
        data = base64.b64decode(payload, validate=True)
    except binascii.Error as error:
        raise UsageError(f"an image's data is not base64: {error}") from error
    return ImagePart(data=data, media_type=header[5 : -len(";base64")], detail=detail, data_url=url)


def _tool_call(value: object) -> ToolCall:
    match value:
        case ToolCall():
            return value
        case {"id": str(call_id), "function": {"name": str(name), **rest}}:
            return ToolCall(id=call_id, name=name, arguments=_arguments(rest.get("arguments")))
    raise UsageError("a tool call needs `id` and `function` with `name` and `arguments` (JSON text)")


def _arguments(value: object) -> str:
    """Arguments as JSON text. Calls without any have an empty object: many services can't read an empty text."""
    match value:
        case None:
            return "{}"
        case str():
            return value if value.strip() else "{}"
        case Mapping():
            return json.dumps(dict(value), ensure_ascii=False, separators=(",", ":"))
    raise UsageError(f"a tool call's arguments are {_kind(value)}: give JSON text")


def message_dict(message: Message) -> dict[str, Any]:
    """Return a message in the OpenAI API's shape; `conversation` reads it back."""
    content = message.content if isinstance(message.content, str) else [_part_dict(part) for part in message.content]
    fields: dict[str, Any] = {"role": message.role, "content": content}
    if message.name is not None:
        fields["name"] = message.name
    if message.tool_call_id is not None:
        fields["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        fields["content"] = content or None
        fields["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return fields


def _part_dict(part: Part) -> dict[str, Any]:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case ImagePart():
            image = {"url": part.url or _data_url(part)}
            if part.detail is not None:
                image["detail"] = part.detail
            return {"type": "image_url", "image_url": image}


def _data_url(part: ImagePart) -> str:
    return part.data_url or f"data:{part.media_type};base64,{part.base64_data}"
