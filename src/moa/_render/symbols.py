"""The signs that pictures are drawn with: typographic ones, or ASCII where the terminal has nothing else."""

from dataclasses import dataclass

from rich.console import ConsoleOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbols:
    """One set of signs.

    Attributes:
        waiting: Not asked yet.
        done: Ended well.
        failed: Ended badly.
        left: Given up because it was too slow.
        spinner: Frames of something that runs, shown one after another.
        dot: Between the figures of a line.
        line: A stroke from one layer to the next.
        arrow: The end of that stroke.
    """

    waiting: str
    done: str
    failed: str
    left: str
    spinner: str
    dot: str
    line: str
    arrow: str


UNICODE = Symbols(waiting="○", done="✓", failed="✗", left="⊘", spinner="⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", dot="·", line="│", arrow="▼")
ASCII = Symbols(waiting=".", done="+", failed="x", left="-", spinner="|/-\\", dot="|", line="|", arrow="v")


def symbols_for(encoding: str) -> Symbols:
    """Return the set that an encoding can write, e.g. `sys.stdout.encoding`."""
    return UNICODE if encoding.lower().startswith("utf") else ASCII


def symbols(options: ConsoleOptions) -> Symbols:
    """Return the set that a console can write."""
    return symbols_for(options.encoding)
