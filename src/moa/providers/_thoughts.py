"""Text that contains a model's thoughts beside its answer: the two told apart, whole and in pieces broken anywhere.

Servers without a parser for a model's thoughts send them as text, between tags of the model's own, or with a closing
tag alone where the chat template has written the opening one. An answer that merely discusses a tag stays as it is.
"""

import re
from collections.abc import Mapping
from typing import Any

from moa.providers._base import ReasoningDelta, ReplyEvent, Restarted, TextDelta

Logprobs = tuple[Mapping[str, Any], ...]

_HARMONY = ("<|end|><|start|>assistant<|channel|>final<|message|>", "<|channel|>final<|message|>")
_CLOSINGS = {
    "<think>": ("</think>",),
    "<thinking>": ("</thinking>",),
    "<thought>": ("</thought>",),
    "<reasoning>": ("</reasoning>",),
    "<seed:think>": ("</seed:think>",),
    "[THINK]": ("[/THINK]",),
    "◁think▷": ("◁/think▷",),
    "<|begin_of_thought|>": ("<|end_of_thought|>",),
    "<|inner_prefix|>": ("<|inner_suffix|>",),
    "<|channel>thought": ("<channel|>",),
    "<scratchpad>": ("</scratchpad>",),
    "<antThinking>": ("</antThinking>",),
    "<|channel|>analysis<|message|>": _HARMONY,
    "<|start|>assistant<|channel|>analysis<|message|>": _HARMONY,
}
"""Each opening tag with what closes it, in either case. Sources: the chat templates of DeepSeek R1, Qwen3, Nova,
Seed-OSS, Magistral, Kimi-VL, Sky-T1, Apertus and Gemma, and OpenAI's harmony format, as their servers send them without
a parser; and what prompts of Anthropic's ask models to write."""

_CLOSINGS_OF = {opening.lower(): closings for opening, closings in _CLOSINGS.items()}
_CLOSING = {closings: re.compile("|".join(map(re.escape, closings)), re.IGNORECASE) for closings in _CLOSINGS.values()}
_OPENINGS = tuple(_CLOSINGS_OF)
_LONGEST_OPENING = max(map(len, _OPENINGS))

_ALONE = ("</think>", "</thinking>", "</seed:think>", "[/THINK]", "◁/think▷")
"""Closing tags whose opening one a chat template may have written already."""

_END_OF_HARMONY = re.compile(r"<\|(?:return|end)\|>")
_BARE_HARMONY = re.compile(r"analysis(?=[A-Z])")
"""Harmony whose special tokens were left out on the way: `analysis…assistantfinal…`."""
_BARE_FINAL = "assistantfinal"

_BEGINNINGS = frozenset(opening[:size] for opening in (*_OPENINGS, "analysisx") for size in range(len(opening)))
"""What a text may begin with that may yet open thoughts; nothing may become anything."""

_QUOTES = frozenset("`'\"“”‘’")

WITHOUT_PARSER = re.compile(r"qwq|qwen-?3|\br1\b|distill|think|reason|magistral|\bz1\b|cogito|nemotron", re.IGNORECASE)
"""Ids of models that write thoughts before every answer, with no opening tag if their server knows no parser."""


class ThoughtSplitter:
    """Turns pieces of content into reasoning and visible text.

    Only the very start of the content may open thoughts; what never closes is all thoughts. A closing tag that stands
    alone makes everything before it thoughts: what was given out as text is then void (`Restarted`). White space before
    an opening and after a closing tag belongs to neither side. Log probabilities of thoughts are dropped.

    Args:
        holds: Text is held back until a closing tag arrives or the content ends, as the model is expected to think.

    Attributes:
        closed_alone: A closing tag stood alone.
    """

    def __init__(self, *, holds: bool = False) -> None:
        self.closed_alone = False
        self._state = self._at_start
        self._held = ""
        self._held_logprobs: Logprobs = ()
        self._closings: tuple[str, ...] = ()
        self._before: list[str] = []
        self._holds, self._withheld = holds, list[TextDelta]()
        self._is_harmony = False

    def feed(self, text: str, logprobs: Logprobs = ()) -> list[ReplyEvent]:
        """Return what the next piece of content adds."""
        return self._state(text, logprobs)

    def release(self) -> list[ReplyEvent]:
        """Give out what was held: the model's thoughts arrive separately, so its text has none."""
        self._holds = False
        withheld, self._withheld = self._withheld, []
        return list(withheld)

    def end(self) -> list[ReplyEvent]:
        """Return what was held back."""
        held, self._held = self._held, ""
        if not held:
            return self.release()
        if self._state == self._in_thoughts:
            return [ReasoningDelta(held)]
        if self._state == self._in_bare_harmony:
            thoughts, final, answer = held.partition(_BARE_FINAL)
            if final:
                return [ReasoningDelta(thoughts.removeprefix("analysis")), TextDelta(answer)]
        if self._state == self._in_text and (closing := self._closing_alone(held, at_end=True)):
            return [*self._close_alone(*closing), *self.release()]
        return [*self.release(), TextDelta(held, self._held_logprobs)]

    def _at_start(self, text: str, logprobs: Logprobs) -> list[ReplyEvent]:
        held = self._held + text
        begun = held.lstrip()
        if (opening := _opening(begun)) is not None:
            return self._open(opening, begun)
        self._held_logprobs += logprobs
        if _may_open(begun):
            self._held = held
            return []
        logprobs, self._held, self._held_logprobs = self._held_logprobs, "", ()
        if _BARE_HARMONY.match(begun):
            self._state, self._held = self._in_bare_harmony, held
            return []
        self._state = self._in_text
        return self._in_text(held, logprobs)

    def _open(self, opening: str, begun: str) -> list[ReplyEvent]:
        self._closings = _CLOSINGS_OF[opening]
        self._held, self._held_logprobs, self._state = "", (), self._in_thoughts
        self._is_harmony = self._closings is _HARMONY
        return self._in_thoughts(begun[len(opening) :], ())

    def _in_thoughts(self, text: str, logprobs: Logprobs) -> list[ReplyEvent]:
        text = self._held + text
        if (found := _CLOSING[self._closings].search(text)) is not None:
            self._held, self._state = "", self._after_thoughts
            return [*_reasoning(text[: found.start()]), *self._after_thoughts(text[found.end() :], ())]
        overlap = _overlap(text, self._closings)
        self._held = text[len(text) - overlap :]
        return _reasoning(text[: len(text) - overlap])

    def _in_bare_harmony(self, text: str, logprobs: Logprobs) -> list[ReplyEvent]:
        self._held += text
        return []

    def _after_thoughts(self, text: str, logprobs: Logprobs) -> list[ReplyEvent]:
        # Some models think again, once or several times, before they answer.
        text = (self._held + text).lstrip()
        if (opening := _opening(text)) is not None:
            return self._open(opening, text)
        if _may_open(text):
            self._held = text
            return []
        self._held, self._state = "", self._in_answer
        return self._in_answer(text, logprobs)

    def _in_answer(self, text: str, logprobs: Logprobs) -> list[ReplyEvent]:
        if self._is_harmony:
            text = _END_OF_HARMONY.sub("", self._held + text)
            overlap = _overlap(text, ("<|return|>", "<|end|>"))
            text, self._held = text[: len(text) - overlap], text[len(text) - overlap :]
        return [TextDelta(text, logprobs)] if text or logprobs else []

    def _in_text(self, text: str, logprobs: Logprobs) -> list[ReplyEvent]:
        # Spelled out, as every piece of every reply passes here.
        if not (self._held or self._holds or "<" in text or "[" in text or "◁" in text):
            self._before.append(text)
            return [TextDelta(text, logprobs)] if text or logprobs else []
        text, logprobs = self._held + text, self._held_logprobs + logprobs
        self._held, self._held_logprobs = "", ()
        if closing := self._closing_alone(text, at_end=False):
            return self._close_alone(*closing)
        overlap = _overlap(text, _ALONE, whole=True)
        if overlap:
            self._held, self._held_logprobs = text[len(text) - overlap :], logprobs
            text, logprobs = text[: len(text) - overlap], ()
        self._before.append(text)
        if not text and not logprobs:
            return []
        if self._holds:
            self._withheld.append(TextDelta(text, logprobs))
            return []
        return [TextDelta(text, logprobs)]

    def _closing_alone(self, text: str, *, at_end: bool) -> tuple[str, str] | None:
        """The thoughts up to a closing tag that stands alone in the text, and the answer after it."""
        for match in re.finditer("|".join(map(re.escape, _ALONE)), text):
            after = text[match.end() : match.end() + 1]
            if not after and not at_end:
                continue
            before = "".join(self._before) + text[: match.start()]
            if _closes(before, after):
                return before, text[match.end() :]
        return None

    def _close_alone(self, thoughts: str, answer: str) -> list[ReplyEvent]:
        self.closed_alone = True
        void: list[ReplyEvent] = [Restarted()] if any(self._before) and not self._holds else []
        self._withheld, self._before, self._holds, self._state = [], [], False, self._after_thoughts
        return [*void, *_reasoning(thoughts), *self._after_thoughts(answer, ())]


def starts_with_thoughts(text: str) -> bool:
    """Return whether a text may contain thoughts: it begins with an opening tag, or has a closing one."""
    return _opening(text.lstrip()) is not None or any(closing in text for closing in _ALONE)


def text_after_thoughts(reasoning: str) -> str:
    """Return the answer that a server has put among the thoughts: what follows the tag that closes them."""
    return reasoning.rpartition("</think>")[2].strip() if "</think>" in reasoning else ""


def _closes(before: str, after: str) -> bool:
    """Whether a tag between two texts closes thoughts; a tag within a sentence, in quotes or in code is only named."""
    if before.count("```") % 2 or any(opening in before for opening in _CLOSINGS):
        return False
    line, last = before.rpartition("\n")[2], before[-1:]
    if (last in _QUOTES - {""} and last) or (after in _QUOTES - {""} and after):
        return False
    if line.strip() and last.isspace():
        return False
    return after in ("", "\n", "\r") or not (after.isspace() or after in ".,;:!?)]")


def _opening(text: str) -> str | None:
    """The tag that a text opens with, in lower case."""
    start = text[:_LONGEST_OPENING].lower()
    if not start.startswith(_OPENINGS):
        return None
    return next(opening for opening in _OPENINGS if start.startswith(opening))


def _may_open(text: str) -> bool:
    """Whether a text is the beginning of a tag, or nothing."""
    return text[:_LONGEST_OPENING].lower() in _BEGINNINGS


def _reasoning(text: str) -> list[ReplyEvent]:
    return [ReasoningDelta(text)] if text else []


def _overlap(text: str, closings: tuple[str, ...], *, whole: bool = False) -> int:
    """How many characters at the end of a text may be the start of a closing tag; `whole`: or all of one."""
    longest = 0
    for closing in closings:
        for size in range(min(len(text), len(closing) - (not whole)), longest, -1):
            if text[-size:].lower() == closing[:size].lower():
                longest = size
                break
    return longest
