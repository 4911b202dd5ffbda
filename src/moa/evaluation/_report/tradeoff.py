"""The picture that it is all about: quality against cost, and against latency."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt

from moa.evaluation._analysis.summary import Summary
from moa.evaluation._analysis.system_summary import SystemSummary
from moa.evaluation._report.label_placement import Place, Point, placed
from moa.evaluation._report.palette import INK, PAPER, ROLE_LOOKS
from moa.evaluation._report.system_rows import part_name
from moa.evaluation._report.vega import WIDTH, Chart, by_looks, chart_of, even_line, finished, front_line, short

_HEIGHT = 230
_PANEL = WIDTH - 60
_PANELS = (("usd", "US dollars per 1,000 prompts"), ("p50", "Median seconds to the whole answer"))
_WIDE_RANGE = 20.0
_ROLES = tuple(ROLE_LOOKS)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """A scale whose ends are ours, so that we know where on the picture a value is."""

    low: float
    high: float
    kind: Literal["linear", "log"] = "linear"

    def at(self, value: float, pixels: float) -> float:
        """Where a value is, in pixels from the axis' beginning."""
        low, high, here = (math.log(v) if self.kind == "log" else v for v in (self.low, self.high, value))
        return pixels * (here - low) / (high - low)

    def scale(self) -> alt.Scale:
        """The same for the chart."""
        return alt.Scale(type=self.kind, domain=[self.low, self.high], nice=False, zero=False)


def tradeoff(summary: Summary) -> Chart | None:
    """Return quality against cost and against latency, one panel each; None for fewer than two systems."""
    # In another order a mixture costs the same, takes as long, and nobody would choose it.
    reordered = {one.name for one in summary.effects if not one.leaves_out}
    choices = [system for system in summary.systems if system.name not in reordered]
    rows = [row for system in choices if (row := _row(system, summary)) is not None]
    panels = [_panel(rows, field, title) for field, title in _PANELS if any(row[field] is not None for row in rows)]
    if len(rows) < 2 or not panels:
        return None
    chart = finished(alt.vconcat(*panels, spacing=28).resolve_scale(color="shared", shape="shared"))
    caption = _caption(rows, summary.opponent)
    return Chart(name="tradeoff", title="Quality, cost and latency", caption=caption, document=chart)


def _caption(rows: Sequence[Row], opponent: str | None) -> str:
    sentences = [
        f"Up and to the left is better. Bars are 95% intervals; {opponent} is 50 by definition.",
        "The line joins the systems that no other one beats in both. Names that find no room are left out.",
    ]
    hidden = [row["name"] for row in rows if row["usd"] is None and any(other["usd"] is not None for other in rows)]
    if hidden:
        sentences.append(f"Not in the first panel, as the price is unknown: {', '.join(hidden)}.")
    raw = [row["name"] for row in rows if not row["controlled"]]
    if raw:
        sentences.append(f"Win rate as it is, as there is none at equal length: {', '.join(raw)}.")
    return " ".join(sentences)


def _row(system: SystemSummary, summary: Summary) -> dict[str, Any] | None:
    cost = None if system.economics is None else system.economics.cost.usd
    total = None if system.economics is None else system.economics.total
    row = {
        "name": short(part_name(system.name, summary.about)),
        "role": system.role.replace("_", "-"),
        "usd": cost,
        "p50": None if total is None else total.p50,
        "controlled": True,
    }
    if system.name == summary.opponent:
        return {**row, "rate": 50.0, "low": 50.0, "high": 50.0}
    found = system.metrics
    if found is None or found.counts.win_rate is None:
        return None
    if found.length_controlled_win_rate is None or found.lc_interval is None:
        rate = found.counts.win_rate
        return {**row, "rate": rate, "low": rate, "high": rate, "controlled": False}
    interval = found.lc_interval
    return {**row, "rate": found.length_controlled_win_rate, "low": interval.low, "high": interval.high}


def _panel(rows: Sequence[Row], field: str, title: str) -> Any:
    # The first ones choose where their names go.
    shown = sorted((row for row in rows if row[field] is not None), key=lambda row: _ROLES.index(row["role"]))
    across, up = _across([row[field] for row in shown]), _up(shown)
    x = alt.X(f"{field}:Q", title=title, scale=across.scale(), axis=alt.Axis(tickCount=6))
    y = alt.Y("rate:Q", title="Win rate at equal length, %", scale=up.scale(), axis=alt.Axis(tickCount=6))
    colour, shape = by_looks("role", ROLE_LOOKS, rows, symbolSize=90, columns=9)
    # Drawn last, they are on top of the others.
    base = chart_of(shown[::-1], width=_PANEL, height=_HEIGHT)
    spread = base.mark_rule(strokeWidth=1.25).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour)
    dots = base.mark_point(filled=True, size=110, opacity=1, stroke=PAPER, strokeWidth=1).encode(
        x=x, y=y, color=colour, shape=shape
    )
    points = [
        Point(
            name=row["name"],
            x=across.at(row[field], _PANEL),
            y=up.at(row["rate"], _HEIGHT),
            low=up.at(row["low"], _HEIGHT),
            high=up.at(row["high"], _HEIGHT),
        )
        for row in shown
    ]
    names = _names(shown, placed(points, width=_PANEL, height=_HEIGHT), x, y)
    return alt.layer(even_line(vertical=False), front_line(shown, field, "rate").encode(x=x, y=y), spread, dots, *names)


def _names(rows: Sequence[Row], places: Sequence[Place | None], x: alt.X, y: alt.Y) -> list[Any]:
    """The names that have a place, each on a halo that keeps lines off it."""
    return [
        chart_of([row])
        .mark_text(align=place.align, dx=place.dx, dy=place.dy, fontSize=11, **look)
        .encode(x=x, y=y, text="name:N")
        for row, place in zip(rows, places, strict=True)
        if place is not None
        for look in ({"color": PAPER, "stroke": PAPER, "strokeWidth": 4, "strokeJoin": "round"}, {"color": INK})
    ]


def _across(values: Sequence[float]) -> _Axis:
    low, high = min(values), max(values)
    if low > 0 and high > _WIDE_RANGE * low:
        return _Axis(low=low / 1.6, high=high * 2.0, kind="log")
    return _Axis(low=0.0, high=1.2 * high or 1.0)


def _up(rows: Sequence[Row]) -> _Axis:
    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    room = max(2.0, 0.08 * (high - low))
    return _Axis(low=low - room, high=high + room)
