"""How much a JSON body holds, counted while it arrives and before it is parsed.

A parser holds Python's lock from its first byte to its last, also in a thread: what it may be given is bounded here, at
the speed of searching bytes, and in pieces between which the event loop goes on.
"""

from moa._server.http.errors import RequestError

MAX_VALUES = 100_000
"""Most values of a body. A text, as long as it may be, is one. A coding agent's longest requests have about 30,000."""

MAX_DEPTH = 100
"""Deepest nesting. Services' own limits for JSON schemas are 5 to 10, each of them two or three levels here."""

_BRACKETS = b"[]{}"
_OTHERS = bytes(set(range(256)) - set(_BRACKETS))
_OPENING = frozenset(b"[{")


class JsonBounds:
    """Counts values and levels of a JSON text that comes in pieces.

    Args:
        max_values: Most values: members of lists and objects, lists and objects themselves.
        max_depth: Most lists and objects within one another.

    Attributes:
        values: Counted so far.
    """

    def __init__(self, *, max_values: int = MAX_VALUES, max_depth: int = MAX_DEPTH) -> None:
        self._max_values, self._max_depth = max_values, max_depth
        self.values, self._depth = 1, 0
        self._is_in_text = False
        self._held_back = b""

    def feed(self, piece: bytes) -> None:
        """Count a further piece.

        Raises:
            RequestError: The text holds too much. What is no JSON is left to the parser, which stops where it errs.
        """
        piece = self._held_back + piece
        # A backslash may belong to the first character of the next piece.
        backslashes = len(piece) - len(piece.rstrip(b"\\"))
        self._held_back = piece[-1:] if backslashes % 2 else b""
        if self._held_back:
            piece = piece[:-1]
        if b"\\" in piece:
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        if piece.count(b'"') > 4 * self._max_values + 4:  # before there is a list of so many parts
            raise self._too_many()
        parts = piece.split(b'"')
        outside = b"".join(parts[self._is_in_text :: 2])
        self._is_in_text ^= len(parts) % 2 == 0
        for bracket in outside.translate(None, _OTHERS):
            self._depth += 1 if bracket in _OPENING else -1
            if self._depth > self._max_depth:
                message = f"the body is nested more than {self._max_depth} levels deep, the most that this server takes"
                raise RequestError(400, "request_too_deep", message)
            if self._depth < 0:
                raise RequestError(400, "invalid_json", "the body is not valid JSON: it closes what it never opened")
        self.values += outside.count(b",") + outside.count(b"[") + outside.count(b"{")
        if self.values > self._max_values:
            raise self._too_many()

    def _too_many(self) -> RequestError:
        message = f"the body contains more than {self._max_values:,} values, the maximum of this server"
        return RequestError(413, "request_too_large", message)
