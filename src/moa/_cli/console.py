"""Where the command prints: answers on standard output, everything else on standard error."""

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.text import Text

from moa._cli.word_wrap import WordWrap
from moa._ledger import Ledger
from moa._render.errors import failure_ledger, failure_lines
from moa._render.sanitize import safe
from moa._render.symbols import Symbols, symbols_for
from moa._render.totals import degraded_lines, ledger_line, totals_line
from moa._results import Answer
from moa.errors import MoaError

_ENDLESS = 10_000


def out_console() -> Console:
    """A console on standard output that takes text literally."""
    return _console(sys.stdout)


def err_console() -> Console:
    """A console on standard error that takes text literally."""
    return _console(sys.stderr)


def _console(stream: TextIO) -> Console:
    console = Console(file=stream, markup=False, emoji=False, highlight=False, soft_wrap=False)
    if not console.width:  # COLUMNS=0, as some containers have it: nothing at all would be shown
        console.width = 80
    return console


def out_symbols() -> Symbols:
    """The symbols that standard output can encode."""
    return symbols_for(sys.stdout.encoding or "ascii")


def err_symbols() -> Symbols:
    """The symbols that standard error can encode."""
    return symbols_for(sys.stderr.encoding or "ascii")


def say(lines: str | Iterable[str], *, style: str = "") -> None:
    """Print lines on standard error, sanitized; on a terminal, broken between words."""
    console = err_console()
    for line in (lines,) if isinstance(lines, str) else lines:
        console.print(Text(safe(line)), style=style, soft_wrap=not console.is_terminal)


def print_sentences(*sentences: str) -> None:
    """Print sentences on standard output, sanitized; on a terminal, broken between words."""
    console = out_console()
    for sentence in sentences:
        console.print(Text(safe(sentence)), soft_wrap=not console.is_terminal)


def draw(*pictures: RenderableType, keeps_lines: bool = False) -> None:
    """Print pictures on standard output; a pipe gets them without the blanks that fill their lines.

    Args:
        *pictures: What to print.
        keeps_lines: Whether lines may be longer than the terminal is wide, so that what is to be copied stays whole.
    """
    console = out_console()
    if keeps_lines:
        endless = console.options.update(max_width=_ENDLESS)
        console.width = max(console.width, *(console.measure(one, options=endless).maximum for one in pictures))
    if console.is_terminal:
        console.print(*pictures, sep="\n")
        return
    with console.capture() as captured:
        console.print(*pictures, sep="\n")
    print("\n".join(line.rstrip() for line in captured.get().splitlines()), flush=True)


def show_error(error: MoaError) -> None:
    """Print an error on standard error, and what the run used until then."""
    first, *rest = failure_lines(error)
    say((f"error: {first}", *rest), style="red")
    ledger = failure_ledger(error)
    if ledger.calls:
        say(ledger_line(ledger, err_symbols()), style="dim")


def show_totals(answer: Answer) -> None:
    """Print on standard error the degradations and the totals."""
    signs, terminal = err_symbols(), err_console().is_terminal
    if terminal:
        say("")
    say((f"degraded: {line}" for line in degraded_lines(answer.degraded)), style="yellow")
    say(totals_line(answer, signs), style="dim")


def show_cancelled(ledger: Ledger) -> None:
    """Print on standard error what a cancelled run used."""
    say(f"cancelled: {ledger_line(ledger, err_symbols())}", style="yellow")


def print_json(document: Mapping[str, Any]) -> None:
    """Print one JSON object on standard output, valid in every encoding and safe for a terminal."""
    text = json.dumps(document, ensure_ascii=False, indent=2)
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    if not is_utf8 or (sys.stdout.isatty() and safe(text) != text):
        text = json.dumps(document, indent=2)
    print(text, flush=True)


class AnswerWriter:
    """Writes an answer to a stream piece by piece: unchanged into a pipe, sanitized for a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self.started = False
        self._stream = stream
        self._wrap = WordWrap(_console(stream).width) if stream.isatty() else None
        self._ends_line = True

    def write(self, text: str) -> None:
        """Write a piece at once; on a terminal a word that may go on waits for its end."""
        shown = safe(text) if self._wrap else text
        if not shown:
            return
        self.started = True
        self._ends_line = shown.endswith("\n")
        self._stream.write(self._wrap.feed(shown) if self._wrap else shown)
        self._stream.flush()

    def close(self) -> None:
        """End the last line if it is still open."""
        if self._wrap:
            self._stream.write(self._wrap.flush())
        if not self._ends_line:
            self._stream.write("\n")
            self._stream.flush()
            self._ends_line = True


def write_answer(text: str) -> None:
    """Print a whole answer on standard output."""
    writer = AnswerWriter(sys.stdout)
    writer.write(text)
    writer.close()
