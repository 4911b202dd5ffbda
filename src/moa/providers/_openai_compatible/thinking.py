"""Text whose beginning may be a model's thoughts between `<think>` and `</think>`: the two told apart."""

from collections.abc import Mapping
from typing import Any

from moa.providers._base import ReasoningDelta, ReplyEvent, TextDelta

OPENING, CLOSING = "<think>", "</think>"

Logprobs = tuple[Mapping[str, Any], ...]


class ThoughtSplitter:
    """Turns pieces of content into reasoning and visible text, wherever the pieces are broken.

    Only the very start of the content may open thoughts; what never closes is all thoughts. White space before the
    opening and after the closing tag belongs to neither side. Log probabilities of thoughts are dropped.
    """

    def __init__(self) -> None:
        self._state = self._at_start
        self._held = ""
        self._held_logprobs: Logprobs = ()

    def feed(self, text: str, logprobs: Logprobs = ()) -> list[ReplyEvent]:
        """Return what the next piece of content adds."""
        return self._state(text, logprobs)

    def end(self) -> list[ReplyEvent]:
        """Return what was held back."""
        held, self._held = self._held, ""
        if not held:
            return []
        return [ReasoningDelta(held) if self._state == self._in_thoughts else TextDelta(held, self._held_logprobs)]

    def _at_start(self, text: str, logprobs: Logprobs) -> list[ReplyEvent]:
        held = self._held + text
        begun = held.lstrip()
        if begun.startswith(OPENING):
            self._held, self._held_logprobs, self._state = "", (), self._in_thoughts
            return self._in_thoughts(begun[len(OPENING) :], ())
        self._held_logprobs += logprobs
        if OPENING.startswith(begun):
            self._held = held
            return []
        logprobs, self._held, self._held_logprobs, self._state = self._held_logprobs, "", (), self._in_text
        return [TextDelta(held, logprobs)]

    def _in_thoughts(self, text: str, logprobs: Logprobs) -> list[ReplyEvent]:
        text = self._held + text
        thoughts, closing, rest = text.partition(CLOSING)
        if closing:
            self._held, self._state = "", self._after_thoughts
            return [*_reasoning(thoughts), *self._after_thoughts(rest, ())]
        kept = _overlap(text)
        self._held = text[len(text) - kept :]
        return _reasoning(text[: len(text) - kept])

    def _after_thoughts(self, text: str, logprobs: Logprobs) -> list[ReplyEvent]:
        text = text.lstrip()
        if not text:
            return []
        self._state = self._in_text
        return [TextDelta(text, logprobs)]

    def _in_text(self, text: str, logprobs: Logprobs) -> list[ReplyEvent]:
        return [TextDelta(text, logprobs)] if text or logprobs else []


def _reasoning(text: str) -> list[ReplyEvent]:
    return [ReasoningDelta(text)] if text else []


def _overlap(text: str) -> int:
    """Return how many characters at the end of a text may be the start of a closing tag."""
    return next((size for size in range(len(CLOSING) - 1, 0, -1) if text.endswith(CLOSING[:size])), 0)
