"""Text that comes in pieces, broken between words where a terminal would break inside of them."""

from rich.cells import cell_len

_FENCES = ("```", "~~~")


class WordWrap:
    """Puts line breaks between words; what stands between code fences stays as it is, to be copied whole.

    Args:
        width: The terminal's columns.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._column = 0
        self._blanks, self._word = "", ""
        self._line, self._is_code = "", False

    def feed(self, text: str) -> str:
        """Take in the next piece; return what can be written now, which leaves out a word that may go on."""
        return "".join(map(self._next, text))

    def flush(self) -> str:
        """Return what is left."""
        word, self._word = self._word, ""
        blanks, self._blanks = self._blanks, ""
        if word and not self._is_code and self._column > 0 and self._column + cell_len(blanks + word) > self._width:
            blanks, self._column = "\n", 0
        self._column += cell_len((blanks + word).lstrip("\n"))
        return blanks + word

    def _next(self, character: str) -> str:
        if character == "\n":
            ended = self.flush() + "\n"
            self._is_code ^= self._line.lstrip().startswith(_FENCES)
            self._line, self._column = "", 0
            return ended
        self._line += character if len(self._line) < self._width else ""
        if character in " \t":
            ready = self.flush() if self._word else ""
            self._blanks += character
            return ready
        # Scripts without blanks between words break anywhere.
        ready = self.flush() if cell_len(character) > 1 and self._word else ""
        self._word += character
        return ready
