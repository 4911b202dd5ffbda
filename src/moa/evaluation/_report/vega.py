"""What all charts share: their size, their look, and how they are handed on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from moa.evaluation._report.palette import GREEN, GRID, INK, MUTED, PAPER

WIDTH = 760
"""Pixels of a whole chart: small enough for its texts to be read where it is scaled to a page of A4."""

_FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart with what has to be said about it.

    Attributes:
        name: Its file's name without ending.
        title: Its heading.
        caption: How to read it, and what is missing from it.
        document: Vega-Lite.
    """

    name: str
    title: str
    caption: str
    document: Mapping[str, Any]


def short(name: str) -> str:
    """Return a system's name as a chart has room for it: without its endpoint."""
    plain = name.rpartition("/")[2]
    return plain if len(plain) <= 34 else f"{plain[:33]}…"


def even_line(*, vertical: bool) -> alt.Chart:
    """Return the line on which both systems are equal."""
    line: alt.Chart = chart_of([{"even": 50}]).mark_rule(color=MUTED, strokeDash=[2, 3])
    return line.encode(x="even:Q") if vertical else line.encode(y="even:Q")


def chart_of(rows: Sequence[Mapping[str, Any]], **size: Any) -> Any:
    """Return a chart of these rows; untyped, as most of the library's methods are."""
    data: Any = alt.Data
    return alt.Chart(data(values=list(rows)), **size)


def finished(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """Return a chart as Vega-Lite, in the report's look."""
    axis = {
        "labelColor": MUTED,
        "titleColor": INK,
        "gridColor": GRID,
        "domainColor": GRID,
        "tickColor": GRID,
        "titleFontWeight": "normal",
        "titleFontSize": 12,
        "labelFontSize": 11,
        "titlePadding": 8,
    }
    document: dict[str, Any] = chart.to_dict()
    document["config"] = {
        "background": PAPER,
        "font": _FONT,
        "axis": axis,
        "view": {"stroke": None},
        "legend": {"labelColor": INK, "labelFontSize": 11},
        "mark": {"color": GREEN},
    }
    return document


def pareto_front(rows: Sequence[Mapping[str, Any]], cost: str, quality: str) -> list[dict[str, Any]]:
    """Return those that none beats in both, from the cheapest on, with these two fields alone."""
    front: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda row: (row[cost], -row[quality])):
        if not front or row[quality] > front[-1][quality]:
            front.append({cost: row[cost], quality: row[quality]})
    return front
