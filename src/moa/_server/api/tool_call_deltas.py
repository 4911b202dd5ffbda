"""Tool calls one after another, for APIs whose streams can't mix them."""

from dataclasses import replace

from moa.events import AnswerToolCallDelta


class ToolCallSequencer:
    """Puts pieces of several tool calls in order: those of the first go through, those of the others wait for the end.

    Services may interleave them, and no call is known to be complete before the end of the answer.
    """

    def __init__(self) -> None:
        self._first: int | None = None
        self._waiting: dict[int, AnswerToolCallDelta] = {}

    def add(self, piece: AnswerToolCallDelta) -> tuple[AnswerToolCallDelta, ...]:
        """Return the pieces that can be sent now."""
        if self._first is None:
            self._first = piece.index
        if piece.index == self._first:
            return (piece,)
        known = self._waiting.get(piece.index)
        self._waiting[piece.index] = piece if known is None else _joined(known, piece)
        return ()

    def flush(self) -> tuple[AnswerToolCallDelta, ...]:
        """Return the calls that were held back, each complete."""
        return tuple(self._waiting[index] for index in sorted(self._waiting))


def _joined(one: AnswerToolCallDelta, other: AnswerToolCallDelta) -> AnswerToolCallDelta:
    return replace(one, id=one.id or other.id, name=one.name or other.name, arguments=one.arguments + other.arguments)
