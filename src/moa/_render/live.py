"""A view of a running run: every agent with its state, time, tokens, cost and newest text."""

from collections.abc import Callable, Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from moa._render.format import count, seconds, spent, usd
from moa._render.progress import AgentRow, AgentState, RunProgress
from moa._render.sanitize import one_line, safe
from moa._render.symbols import Symbols, symbols
from moa._usage import Spend

FRAMES_PER_SECOND = 10
_FIGURES_WIDTH = 44
"""Maximum width of state, time, tokens and cost; the names get the rest."""
_LEAST_NAME_WIDTH = 12
_MOST_NAME_WIDTH = 48
_FAILURE_LIMIT = 400
_INDENT = 3
_MORE = " ..."
_MOST_EXCERPT_LINES = 3

_STYLES: dict[AgentState, str] = {
    "waiting": "dim",
    "asked": "cyan",
    "thinking": "magenta",
    "writing": "cyan",
    "answering": "green",
    "done": "green",
    "cut off": "yellow",
    "failed": "red",
    "abandoned": "yellow",
    "cancelled": "yellow",
}


_Named = tuple[str, AgentRow]
"""A row and its title."""


class LiveRun:
    """A view of a run at the time of drawing.

    Args:
        progress: The run; may change between two drawings.
        now: The monotonic clock of the run's events.
    """

    def __init__(self, progress: RunProgress, now: Callable[[], float]) -> None:
        self._progress, self._now = progress, now

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType | Segment]:
        """Draw layer by layer; below each agent the newest lines of its text, or the first line once it has ended."""
        signs, now, progress = symbols(options), self._now(), self._progress
        groups = _groups(progress)
        named = [row for _, rows in groups for row in rows]
        longest = max((len(name) for name, _ in named), default=0)
        width = min(longest, max(_LEAST_NAME_WIDTH, options.max_width - _FIGURES_WIDTH), _MOST_NAME_WIDTH)
        excerpt_lines = _excerpt_lines([row for _, row in named], len(groups), options.height or console.height)
        for title, rows in groups:
            yield Text(title, style="dim")
            # A row of the table is always one line, so that an agent's text can follow it.
            lines = console.render_lines(_table(rows, signs, now, width), options, pad=False)
            for (_, row), line in zip(rows, lines, strict=True):
                yield from line
                yield Segment.line()
                yield from _excerpt(row, console, options.max_width, excerpt_lines)
            yield from _failures(rows)


def _groups(progress: RunProgress) -> list[tuple[str, Sequence[_Named]]]:
    groups: list[tuple[str, Sequence[_Named]]] = [
        (f"layer {number}", [(row.agent, row) for row in rows]) for number, rows in enumerate(progress.layers, 1)
    ]
    if progress.aggregator:
        # Its name is always the same; the model is more informative.
        last = [(progress.aggregator.model, progress.aggregator)]
        groups.append(("aggregator" if progress.layers else "model", last))
    return groups


def _excerpt_lines(rows: Sequence[AgentRow], groups: int, height: int) -> int:
    """The number of text lines per agent with which the view fits into the terminal."""
    writers = sum(bool(row.excerpt) for row in rows)
    free = height - 1 - groups - len(rows) - sum(bool(row.failure) for row in rows)
    return min(_MOST_EXCERPT_LINES, max(0, free // writers)) if writers else 0


def _excerpt(row: AgentRow, console: Console, width: int, most_lines: int) -> Iterator[RenderableType]:
    if not row.excerpt.strip() or not most_lines or row.state == "answering":
        return
    lines = Text(" ".join(safe(row.excerpt).split())).wrap(console, max(1, width - _INDENT - len(_MORE)))
    if row.running:
        shown = Text("\n").join(lines[-most_lines:])
    else:
        shown = lines[0]
        shown.rstrip()
        shown.append(_MORE if len(lines) > 1 else "")
    shown.stylize("dim")
    yield Padding(shown, (0, 0, 0, _INDENT))


def _table(rows: Sequence[_Named], signs: Symbols, now: float, name_width: int) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=name_width + 3, no_wrap=True, overflow="crop")
    table.add_column(width=9, no_wrap=True)
    for width in (7, 9, 8):
        table.add_column(justify="right", min_width=width, no_wrap=True)
    for name, row in rows:
        style = _STYLES[row.state]
        table.add_row(
            Text.assemble((f" {_sign(row, signs, now)} ", style), one_line(name, limit=name_width)),
            Text(row.state, style=style),
            Text(_time(row, now)),
            Text(_tokens(row), style="dim"),
            Text(_cost(row), style="dim"),
        )
    return table


def _sign(row: AgentRow, signs: Symbols, now: float) -> str:
    match row.state:
        case "waiting":
            return signs.waiting
        case "done" | "cut off":
            return signs.done
        case "failed":
            return signs.failed
        case "abandoned" | "cancelled":
            return signs.left
        case "answering":
            return signs.arrow
    return signs.spinner[int(now * FRAMES_PER_SECOND) % len(signs.spinner)]


def _time(row: AgentRow, now: float) -> str:
    if row.state == "answering":
        return ""
    if row.duration_s is not None:
        return seconds(row.duration_s)
    return "" if row.started_at is None else f"{now - row.started_at:.1f} s"


def _tokens(row: AgentRow) -> str:
    if row.output_tokens is not None:
        return f"{row.output_tokens:,} tok"
    return f"~{row.estimated_tokens:,} tok" if row.running and row.written_bytes else ""


def _cost(row: AgentRow) -> str:
    spend = row.spend
    if spend is None or (row.failure and spend == Spend()):
        return ""
    if spend.unpriced_calls:
        return "price ?"
    return usd(spend.priced_usd) if not spend.estimated_usd else f"~{usd(spend.priced_usd + spend.estimated_usd)}"


def _failures(rows: Sequence[_Named]) -> Iterator[RenderableType]:
    agents: dict[str, list[str]] = {}
    for _, row in rows:
        if row.failure:
            agents.setdefault(row.failure, []).append(row.agent)
    for failure, names in agents.items():
        text = Text(one_line(f"{', '.join(names)}: {failure}", limit=_FAILURE_LIMIT), style="red")
        yield Padding(text, (0, 0, 0, _INDENT))


def finished_line(row: AgentRow, *, repeated: bool = False) -> str:
    """Return one plain line about an agent that has ended, for logs: name, state, time, tokens, cost or cause."""
    name = one_line(row.agent, limit=200)
    if row.failure:
        return f"{name}: {row.state}: " + ("likewise" if repeated else one_line(row.failure, limit=_FAILURE_LIMIT))
    figures = [seconds(row.duration_s)] if row.duration_s is not None else []
    if row.output_tokens is not None:
        figures.append(count(row.output_tokens, "token"))
    if row.spend is not None:
        figures.append(spent(row.spend))
    return f"{name}: {row.state}" + (f" ({', '.join(figures)})" if figures else "")
