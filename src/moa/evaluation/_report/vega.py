"""What all charts share: their size, their look, and how they are drawn: as SVG and PNG, without any browser."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from moa.errors import MissingDependency
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


def svg(document: Mapping[str, Any]) -> str:
    """Return a Vega-Lite chart as SVG.

    Raises:
        MissingDependency: The `eval` extra isn't installed.
    """
    return str(_converter().vegalite_to_svg(dict(document)))


def png(document: Mapping[str, Any]) -> bytes:
    """Return a Vega-Lite chart as PNG, at twice its size; errors as in `svg`."""
    return bytes(_converter().vegalite_to_png(dict(document), scale=2.0))


def _converter() -> Any:
    try:
        import vl_convert
    except ImportError as error:
        raise MissingDependency.of("the report", extra="eval") from error
    return vl_convert


def by_looks(
    field: str, looks: Mapping[str, tuple[str, str]], rows: Sequence[Mapping[str, Any]], **legend: Any
) -> tuple[alt.Color, alt.Shape]:
    """Return colour and shape by a field, with a legend above the chart for the values that occur in the rows."""
    found = [one for one in looks if any(row[field] == one for row in rows)]
    colours, shapes = (alt.Scale(domain=found, range=[looks[one][part] for one in found]) for part in (0, 1))
    above = alt.Legend(orient="top", **legend)
    return (
        alt.Color(f"{field}:N", title=None, scale=colours, legend=above),
        alt.Shape(f"{field}:N", title=None, scale=shapes, legend=above),
    )


def front_line(rows: Sequence[Mapping[str, Any]], cost: str, quality: str) -> Any:
    """Return the line through those that none beats in both, from the cheapest on."""
    front: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda row: (row[cost], -row[quality])):
        if not front or row[quality] > front[-1][quality]:
            front.append({cost: row[cost], quality: row[quality]})
    return chart_of(front).mark_line(color=MUTED, strokeWidth=1, interpolate="step-after")
