"""A run as a waterfall: one bar for each attempt, over the run's time."""

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from moa._ledger import Ledger
from moa._render.format import seconds
from moa._render.html import filled
from moa._render.sanitize import one_line
from moa._render.timeline import Bar, BarState, Timeline, timeline
from moa._results import Answer

_LEAST_CHART = 16
_MOST_LABEL = 32
_MOST_FIGURES = 44
_PROBLEM_LIMIT = 300

_STYLES: dict[BarState, str] = {
    "ok": "green",
    "cached": "blue",
    "failed": "red",
    "cancelled": "yellow",
    "running": "cyan",
}


class WaterfallView:
    """A waterfall of a ledger for a terminal: how long each attempt queued, reasoned and wrote."""

    def __init__(self, ledger: Ledger) -> None:
        self._timeline = timeline(ledger)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Draw layer by layer."""
        bars = [bar for lane in self._timeline.lanes for bar in lane.bars]
        if not bars:
            yield Text("no model was called", style="dim")
            return
        signs = "·▒█" if options.encoding.startswith("utf") else ".-#"
        titles = [lane.title for lane in self._timeline.lanes]
        labels = min(_MOST_LABEL, max(map(len, [*titles, *map(_label, bars)])))
        figures = min(_MOST_FIGURES, max(len(bar.figures) for bar in bars))
        width = max(_LEAST_CHART, options.max_width - labels - figures - 4)
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=labels, no_wrap=True, overflow="ellipsis")
        table.add_column(width=width, no_wrap=True)
        table.add_column(overflow="fold")
        for lane in self._timeline.lanes:
            table.add_row(Text(lane.title, style="dim"), "", "")
            for bar in lane.bars:
                table.add_row(Text(_label(bar)), _chart(bar, self._timeline, width, signs), Text(bar.figures))
        yield table
        yield Text(f"{signs[0]} in a queue  {signs[1]} until the first token  {signs[2]} writing", style="dim")
        for bar in bars:
            if bar.problem:
                yield Text(one_line(f"{bar.model}: {bar.problem}", limit=_PROBLEM_LIMIT), style=_STYLES[bar.state])


def _label(bar: Bar) -> str:
    return ("  " if bar.is_first else "    ") + one_line(bar.label, limit=80)


def _chart(bar: Bar, whole: Timeline, width: int, signs: str) -> Text:
    """The bar's line of cells, at least one."""
    times = (bar.queued_s, bar.sent_s, bar.writes_s, bar.ended_s)
    start, sent, first, end = (round(width * (at_s / whole.span_s)) if whole.span_s else 0 for at_s in times)
    start = min(start, width - 1)
    end = max(end, start + 1)
    sent = min(max(sent, start), end)
    first = min(max(first, sent), end)
    cells = signs[0] * (sent - start) + signs[1] * (first - sent) + signs[2] * (end - first)
    return Text(" " * start).append(cells, style=_STYLES[bar.state])


def waterfall_html(source: Answer | Ledger) -> str:
    """Return a run's waterfall as an HTML fragment with its own style and no script, for pages and notebooks."""
    shown = timeline(source.ledger if isinstance(source, Answer) else source)
    ticks = [(1000 * part // 4, seconds(shown.span_s * part / 4)) for part in range(5)]
    return filled("waterfall.html", timeline=shown, ticks=ticks)
