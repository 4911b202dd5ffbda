"""The symbols of terminal output: typographic ones, or ASCII where the encoding has nothing else."""

from dataclasses import dataclass

from rich.console import ConsoleOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbols:
    """One set of symbols.

    Attributes:
        waiting: Not asked yet.
        done: Succeeded.
        failed: Failed.
        left: Abandoned because it was too slow.
        spinner: Frames of an animation while something runs.
        dot: Separator within a line.
        line: A line from one layer to the next.
        arrow: The end of that line.
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
    """Return the set that an encoding supports, e.g. `sys.stdout.encoding`."""
    return UNICODE if encoding.lower().startswith("utf") else ASCII


def symbols(options: ConsoleOptions) -> Symbols:
    """Return the set that a console supports."""
    return symbols_for(options.encoding)
