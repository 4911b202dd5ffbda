"""The normal form of a conversation, and the shapes that some services want it in: pure functions.

The normal form is what every service takes, if it takes tools and a system text at all: one system text at the front,
no blank turns, the calls of one turn in one assistant message with their results right behind them, each call with an
id of its own, images named by what their bytes are. Callers' conversations come in other shapes, e.g. the items of the
Responses API, which are one call each.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from moa._messages import Conversation, ImagePart, Message, Part, TextPart

GO_ON = "Go on with your last turn from exactly where it ends, without repeating any of it."
"""What a service is asked that doesn't take a conversation which ends with the assistant's own words."""
NOTED = "Understood."
"""The assistant's turn between a tool's result and what the user says next, where a service wants one."""
NO_RESULT = "(no result)"
"""Stands for the result of a call that nobody answered: services refuse calls without one."""
OTHER_RESULT = "A tool gave this result:"
"""Before a result without a call, or a second one for its call: services refuse both as such."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)


def image_type(data: bytes) -> str | None:
    """Return the media type of a PNG, JPEG, GIF or WebP image by its first bytes, None for anything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in _SIGNATURES if data.startswith(start)), None)


def normal_form(conversation: Conversation) -> Conversation:
    """Return a conversation in its normal form; one that has it already comes back as it is."""
    if _is_plain(conversation):
        return conversation
    system = [turn for turn in conversation if turn.role == "system" and _has_content(turn)]
    turns = _with_own_ids(_with_results_behind_calls(turn for turn in conversation if turn.role != "system"))
    if system:
        turns.insert(0, joined(system))
    return tuple(_with_true_types(turn) for turn in turns)


def _is_plain(conversation: Conversation) -> bool:
    """Whether it is text of a system, a user, an assistant and so on in turn: the common case, told quickly."""
    expected: tuple[str, ...] = ("system", "user")
    for turn in conversation:
        content = turn.content
        if turn.role not in expected or turn.tool_calls or not isinstance(content, str) or not content.strip():
            return False
        expected = ("assistant",) if turn.role == "user" else ("user",)
    return True


def _has_content(turn: Message) -> bool:
    return bool(turn.text.strip() or turn.images or turn.tool_calls)


def joined(turns: Iterable[Message]) -> Message:
    """Return turns of one role as one: their texts apart by a blank line, their parts and calls one after another."""
    first, *others = turns
    whole = first
    for turn in others:
        whole = replace(
            whole,
            content=_joined_content(whole.content, turn.content),
            cache_points=(*whole.cache_points, *_shifted(turn, whole.content)),
            cache_ttl=whole.cache_ttl or turn.cache_ttl,
            tool_calls=whole.tool_calls + turn.tool_calls,
            state=turn.state or whole.state,
        )
    return whole


def _shifted(turn: Message, before: str | tuple[Part, ...]) -> tuple[int, ...]:
    """A turn's cache points where its content follows what stands before."""
    if isinstance(before, str) and isinstance(turn.content, str):
        ahead = len(before) + 2 if before and turn.content else len(before)
        return tuple(ahead + point for point in turn.cache_points)
    ahead = len(_parts(before))
    if isinstance(turn.content, str):
        # A text has become one part: only its end is still a place between parts.
        return tuple(ahead + 1 for point in turn.cache_points if point == len(turn.content))
    return tuple(ahead + point for point in turn.cache_points)


def _joined_content(one: str | tuple[Part, ...], other: str | tuple[Part, ...]) -> str | tuple[Part, ...]:
    if isinstance(one, str) and isinstance(other, str):
        return "\n\n".join(filter(None, (one, other)))
    return (*_parts(one), *_parts(other))


def _parts(content: str | tuple[Part, ...]) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (TextPart(text=content),) if content.strip() else ()
    return content


def _with_results_behind_calls(conversation: Iterable[Message]) -> list[Message]:
    """The turns without blank ones, each assistant turn whole and followed by the results of its calls."""
    turns: list[Message] = []
    for turn in conversation:
        last = turns[-1] if turns else None
        if turn.role == "tool":
            turns.insert(_behind_its_call(turn, turns), turn)
        elif not _has_content(turn):
            continue
        elif turn.role == "assistant" and last is not None and last.role == "assistant":
            turns[-1] = joined((last, turn))
        else:
            turns.append(turn)
    return _with_every_result(turns)


def _behind_its_call(result: Message, turns: list[Message]) -> int:
    for at in range(len(turns) - 1, -1, -1):
        if any(call.id == result.tool_call_id for call in turns[at].tool_calls):
            at += 1
            while at < len(turns) and turns[at].role == "tool":
                at += 1
            return at
    return len(turns)


def _with_every_result(turns: list[Message]) -> list[Message]:
    """The turns with one result for each call; results without a call of their own follow as a user's turns."""
    whole: list[Message] = []
    unanswered: list[str] = []
    others: list[Message] = []
    for turn in turns:
        if turn.role != "tool":
            whole += [Message(role="tool", content=NO_RESULT, tool_call_id=call_id) for call_id in unanswered]
            whole += others
            unanswered, others = [call.id for call in turn.tool_calls], []
        elif turn.tool_call_id in unanswered:
            unanswered.remove(turn.tool_call_id)
        else:
            others.append(Message(role="user", content=_joined_content(OTHER_RESULT, turn.content)))
            continue
        whole.append(turn)
    if others or (whole and whole[-1].role == "tool"):
        whole += [Message(role="tool", content=NO_RESULT, tool_call_id=call_id) for call_id in unanswered]
    return whole + others


def _with_own_ids(turns: list[Message]) -> list[Message]:
    """The turns with no id used by two calls: some services number the calls of each reply from 0."""
    used: set[str] = set()
    ids: dict[str | None, list[str]] = {}
    for at, turn in enumerate(turns):
        if turn.tool_calls:
            ids, calls = {}, []
            for call in turn.tool_calls:
                own = call.id
                while not own or own in used:
                    own = f"{call.id or 'call'}_{len(used)}"
                used.add(own)
                ids.setdefault(call.id, []).append(own)
                calls.append(call if own == call.id else replace(call, id=own))
            turns[at] = replace(turn, tool_calls=tuple(calls))
        elif turn.role == "tool" and (own_ids := ids.get(turn.tool_call_id)):
            turns[at] = replace(turn, tool_call_id=own_ids.pop(0) if len(own_ids) > 1 else own_ids[0])
    return turns


def _with_true_types(turn: Message) -> Message:
    if isinstance(turn.content, str):
        return turn
    has_content = [not isinstance(part, TextPart) or bool(part.text.strip()) for part in turn.content]
    parts = tuple(_with_true_type(part) for part, has_any in zip(turn.content, has_content, strict=True) if has_any)
    if parts == turn.content:
        return turn
    return replace(turn, content=parts, cache_points=tuple(sum(has_content[:point]) for point in turn.cache_points))


def _with_true_type(part: Part) -> Part:
    """The part; an image named by its first bytes, as services refuse one whose name is another."""
    if not isinstance(part, ImagePart) or not part.data:
        return part
    true = image_type(part.data) or part.media_type
    return part if true == part.media_type else replace(part, media_type=true)


# ── shapes that only some services want ──────────────────────────────────────────────────────────────────────────────


def _without_system(conversation: Conversation) -> Conversation:
    """The system text at the head of the first user turn."""
    system = [turn for turn in conversation if turn.role == "system"]
    if not system:
        return conversation
    text = "\n\n".join(turn.text for turn in system)
    turns = [turn for turn in conversation if turn.role != "system"]
    head = Message(role="user", content=text)
    if turns and turns[0].role == "user":
        content = turns[0].content
        own = f"{text}\n\n{content}" if isinstance(content, str) else _joined_content(text, content)
        return (replace(turns[0], content=own), *turns[1:])
    return (head, *turns)


def alternating(conversation: Conversation) -> Conversation:
    """Return the conversation with neighboring turns of one role as one turn; results of tools stay apart."""
    turns: list[Message] = []
    for turn in conversation:
        if turns and turns[-1].role == turn.role and turn.role != "tool":
            turns[-1] = joined((turns[-1], turn))
        else:
            turns.append(turn)
    return tuple(turns)


def _noted_results(conversation: Conversation) -> Conversation:
    turns: list[Message] = []
    for turn in conversation:
        if turn.role == "user" and turns and turns[-1].role == "tool":
            turns.append(Message(role="assistant", content=NOTED))
        turns.append(turn)
    return tuple(turns)


def _ending_with_user(conversation: Conversation) -> Conversation:
    if not conversation or conversation[-1].role != "assistant":
        return conversation
    return (*conversation, Message(role="user", content=GO_ON))


def _nameless(conversation: Conversation) -> Conversation:
    return tuple(turn if turn.name is None else replace(turn, name=None) for turn in conversation)


def short_id(call_id: str) -> str:
    """Return nine letters and digits that stand for an id in one request, always the same ones.

    Source: Mistral's API takes nothing else ("a-z, A-Z, 0-9, with a length of 9"); every other service takes it too.
    """
    if len(call_id) == 9 and call_id.isascii() and call_id.isalnum():
        return call_id
    return hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:9]


def _stateless(conversation: Conversation) -> Conversation:
    return tuple(
        replace(turn, state=None, tool_calls=tuple(replace(call, state=None) for call in turn.tool_calls))
        for turn in conversation
    )


def _with_short_ids(conversation: Conversation) -> Conversation:
    return tuple(
        replace(
            turn,
            tool_calls=tuple(replace(call, id=short_id(call.id)) for call in turn.tool_calls),
            tool_call_id=None if turn.tool_call_id is None else short_id(turn.tool_call_id),
        )
        if turn.tool_calls or turn.tool_call_id is not None
        else turn
        for turn in conversation
    )


def tools_as_text(conversation: Conversation) -> Conversation:
    """Return a conversation in which tool calls and their results are plain text, for those who are given no tools.

    Some services refuse tool turns beside no tools, and who reads them has to know what the tools returned.
    """
    if not any(turn.tool_calls or turn.role == "tool" for turn in conversation):
        return conversation
    names = {call.id: call.name for turn in reversed(conversation) for call in turn.tool_calls}
    return tuple(_as_text(turn, names) for turn in conversation)


def _as_text(turn: Message, names: dict[str, str]) -> Message:
    if turn.role == "tool":
        call_id = turn.tool_call_id or "(unknown)"
        text = f"Result of the tool {names.get(call_id, call_id)}:\n{turn.text}"
        return Message(role="user", content=(TextPart(text=text), *turn.images) if turn.images else text)
    if turn.tool_calls:
        calls = (f"I call the tool {call.name} with {call.arguments}" for call in turn.tool_calls)
        return Message(role="assistant", content="\n".join(filter(None, (turn.text, *calls))))
    return turn


def _without_parts(conversation: Conversation) -> Conversation:
    """Texts in place of parts that are all text."""
    return tuple(
        turn if isinstance(turn.content, str) or turn.images else replace(turn, content=turn.text, cache_points=())
        for turn in conversation
    )


RESHAPED: Mapping[str, Callable[[Conversation], Conversation]] = {
    "system": _without_system,
    "alternation": alternating,
    "user_after_tool": _noted_results,
    "prefill": _ending_with_user,
    "name": _nameless,
    "tool_call_id": _with_short_ids,
    "reasoning_content": _stateless,
    "tool_turns": tools_as_text,
    "content_parts": _without_parts,
}
"""By what a service turns down: how a conversation in its normal form is told to it all the same."""


def with_images_behind_results(conversation: Conversation) -> Conversation:
    """Return the conversation with the images of tools' results in a user turn behind them.

    The chat completions API has no place for images in a tool turn.
    """
    if not any(turn.role == "tool" and turn.images for turn in conversation):
        return conversation
    turns: list[Message] = []
    held: list[Part] = []
    for turn in conversation:
        if turn.role != "tool" and held:
            shown, held = _shown(held), []
            if turn.role == "user":
                turn = joined((shown, turn))
            else:
                turns.append(shown)
        if turn.role == "tool" and turn.images:
            held += [TextPart(text=f"Image in the result of the call {turn.tool_call_id}:"), *turn.images]
            turn = replace(turn, content=turn.text or "(see the image below)")
        turns.append(turn)
    return (*turns, _shown(held)) if held else tuple(turns)


def _shown(parts: list[Part]) -> Message:
    return Message(role="user", content=tuple(parts))
