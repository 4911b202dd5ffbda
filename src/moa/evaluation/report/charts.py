"""The report's charts as Vega-Lite documents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import altair as alt
import numpy as np

from moa.evaluation.annotations import Annotation, win_probabilities
from moa.evaluation.arrays import sigmoid
from moa.evaluation.length_control import LengthFit, standard_deviation
from moa.evaluation.records import Record
from moa.evaluation.report.palette import BLUE, GREEN, GREY, GRID, INK, MUTED, ORANGE, PAPER, ROLE_COLOURS
from moa.evaluation.statistics import ByCategory, mean_estimate
from moa.evaluation.summary import Summary, SystemSummary
from moa.render.figures import seconds

_PANEL, _WIDE = 470, 930
_FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
_BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
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


def pictures(summary: Summary, annotations: Sequence[Annotation], median_run: Record | None) -> tuple[Picture, ...]:
    """Return the charts that the data is enough for.

    Args:
        summary: All figures.
        annotations: Of the first system.
        median_run: Of the first system, the run whose time is the median; None if there is none with calls.
    """
    first = summary.systems[0]
    found = (
        tradeoff(summary),
        None if first.categories is None else by_category(first.name, first.categories),
        None if median_run is None else waterfall(median_run),
        length_effect(first, annotations),
    )
    return tuple(picture for picture in found if picture is not None)


def tradeoff(summary: Summary) -> Picture | None:
    """Return quality against cost and against latency, one panel each."""
    rows = [row for system in summary.systems if (row := _tradeoff_row(system, summary)) is not None]
    panels = [
        _panel(rows, field, title)
        for field, title in (("usd", "US dollars per 1,000 prompts"), ("p50", "Median seconds to the whole answer"))
        if any(row[field] is not None for row in rows)
    ]
    if len(rows) < 2 or not panels:
        return None
    hidden = [row["name"] for row in rows if row["usd"] is None and any(other["usd"] is not None for other in rows)]
    left_out = f" Not in the first panel, as the price is unknown: {', '.join(hidden)}." if hidden else ""
    caption = (
        f"Up and to the left is better. Bars are 95 % intervals; {summary.opponent} is 50 by definition.{left_out}"
    )
    chart = alt.hconcat(*panels, spacing=36)
    return Picture(name="tradeoff", title="Quality, cost and latency", caption=caption, document=_finished(chart))


def by_category(system: str, categories: ByCategory) -> Picture | None:
    """Return the win rate in each category with simultaneous intervals."""
    rows = [
        {
            "category": name,
            "rate": found.value,
            "low": max(0.0, found.interval.low),
            "high": min(100.0, found.interval.high),
            "n": f"n = {found.n}",
        }
        for name, found in categories.estimates.items()
        if found is not None
    ]
    if not rows:
        return None
    base = _chart(rows, width=_WIDE - 150, height=alt.Step(30)).encode(
        y=alt.Y("category:N", sort=alt.EncodingSortField("rate", order="descending"), title=None)
    )
    scale = alt.Scale(domain=[0, 100])
    spread = base.mark_rule(color=BLUE, strokeWidth=2).encode(x=alt.X("low:Q", scale=scale, title=None), x2="high:Q")
    dots = base.mark_point(filled=True, size=90, color=BLUE, opacity=1).encode(
        x=alt.X("rate:Q", scale=scale, title="Win rate, %", axis=alt.Axis(tickCount=10))
    )
    labels = base.mark_text(align="left", color=MUTED, fontSize=11).encode(x=alt.datum(101), text="n:N")
    chart = _even_line(vertical=True) + spread + dots + labels
    caption = f"{system}, raw win rate. {categories.multiplicity}. Left out: fewer than 5 prompts, or equal verdicts."
    return Picture(name="categories", title="By category", caption=caption, document=_finished(chart))


def waterfall(record: Record) -> Picture | None:
    """Return when each agent of one run worked."""
    rows = [row for call in record.calls for row in _bars(call)]
    if not rows:
        return None
    base = _chart(rows, width=_WIDE - 150, height=alt.Step(26)).encode(
        y=alt.Y("agent:N", sort=None, title=None, axis=alt.Axis(labelLimit=190))
    )
    time = alt.X("start:Q", title="Seconds since the question")
    bars = base.mark_bar(height=14, cornerRadius=2).encode(
        x=time,
        x2="end:Q",
        color=alt.Color(
            "kind:N",
            title=None,
            scale=alt.Scale(domain=["proposal", "answer", "failed"], range=[GREY, BLUE, ORANGE]),
            legend=alt.Legend(orient="top"),
        ),
    )
    ticks = (
        base.transform_filter("isValid(datum.first)").mark_tick(color=INK, thickness=2, height=20).encode(x="first:Q")
    )
    labels = base.mark_text(align="left", dx=5, color=MUTED, fontSize=11).encode(x="end:Q", text="label:N")
    caption = "The run whose time is the median. A dark tick is the first token, where the reply was streamed."
    return Picture(name="waterfall", title="A median run", caption=caption, document=_finished(bars + ticks + labels))


def length_effect(system: SystemSummary, annotations: Sequence[Annotation]) -> Picture | None:
    """Return how the preference goes with the difference in length, and what the length model makes of it."""
    fit = None if system.metrics is None else system.metrics.fit
    if fit is None:
        return None
    longer = np.array([float(len(a.output_2) - len(a.output_1)) for a in annotations])
    wins = 100.0 * win_probabilities(annotations)
    dots = [row for part in np.array_split(np.argsort(longer), _BINS) if (row := _bin(longer[part], wins[part]))]
    if len(dots) < 3:
        return None
    low, high = min(row["longer"] for row in dots), max(row["longer"] for row in dots)
    grid = np.linspace(low, high, 60)
    curve = [{"longer": float(x), "rate": float(y)} for x, y in zip(grid, _curve(fit, longer, grid), strict=True)]
    base = _chart(dots, width=_WIDE - 60, height=240)
    x = alt.X("longer:Q", title="Characters by which the system's answer is longer than the baseline's")
    spread = base.mark_rule(color=GREY, strokeWidth=1.5).encode(x=x, y=alt.Y("low:Q", title="Win rate, %"), y2="high:Q")
    points = base.mark_point(filled=True, size=70, color=GREY, opacity=1).encode(x=x, y="rate:Q")
    line = _chart(curve).mark_line(color=BLUE, strokeWidth=2.5).encode(x=x, y="rate:Q")
    equal = _chart([{"longer": 0}]).mark_rule(color=MUTED, strokeDash=[4, 4]).encode(x="longer:Q")
    caption = (
        f"{system.name}: tenths of the prompts by length difference (dots, 95 % intervals) and the length model's "
        f"curve at mean difficulty. The length-controlled win rate is read off where the lengths are equal (dashed): "
        f"{fit.win_rate:.1f} %."
    )
    chart = _even_line(vertical=False) + equal + spread + points + line
    return Picture(name="length", title="What length does", caption=caption, document=_finished(chart))


def median_run(records: Mapping[int, Record]) -> Record | None:
    """Return the run with calls whose time is the median, None if there is none."""
    timed = sorted(
        (record for record in records.values() if record.calls and record.seconds is not None and not record.replayed),
        key=lambda record: record.seconds or 0.0,
    )
    return timed[len(timed) // 2] if timed else None


def short(name: str) -> str:
    """Return a system's name as a chart has room for it: without its endpoint."""
    plain = name.rpartition("/")[2]
    return plain if len(plain) <= 34 else f"{plain[:33]}…"


def _tradeoff_row(system: SystemSummary, summary: Summary) -> dict[str, Any] | None:
    cost = None if system.economics is None else system.economics.cost.usd
    total = None if system.economics is None else system.economics.total
    row = {
        "name": short(system.name),
        "role": system.role,
        "usd": cost,
        "p50": None if total is None else total.p50,
    }
    if system.name == summary.opponent:
        return {**row, "rate": 50.0, "low": 50.0, "high": 50.0}
    found = system.metrics
    if found is None or found.counts.win_rate is None:
        return None
    if found.length_controlled_win_rate is None or found.lc_interval is None:
        rate = found.counts.win_rate
        return {**row, "rate": rate, "low": rate, "high": rate}
    interval = found.lc_interval
    return {**row, "rate": found.length_controlled_win_rate, "low": interval.low, "high": interval.high}


def _panel(rows: Sequence[Mapping[str, Any]], field: str, title: str) -> Any:
    shown = _with_label_places([row for row in rows if row[field] is not None])
    values = [row[field] for row in shown if row[field] > 0]
    wide = len(values) == len(shown) and max(values) > 20 * min(values)
    scale = alt.Scale(type="log", nice=True) if wide else alt.Scale(zero=True, padding=20)
    base = _chart(shown, width=_PANEL - 40, height=280)
    x = alt.X(f"{field}:Q", title=title, scale=scale, axis=alt.Axis(tickCount=5))
    y = alt.Y("rate:Q", title="LC win rate, %", scale=alt.Scale(zero=False, padding=18))
    colours = alt.Color(
        "role:N", scale=alt.Scale(domain=list(ROLE_COLOURS), range=list(ROLE_COLOURS.values())), legend=None
    )
    spread = base.mark_rule(strokeWidth=1.5).encode(
        x=x, y=alt.Y("low:Q", title="LC win rate, %"), y2="high:Q", color=colours
    )
    dots = base.mark_point(filled=True, size=120, opacity=1).encode(x=x, y=y, color=colours)
    middle = float(np.sqrt(max(values) * min(values))) if wide else max(row[field] for row in shown) / 2
    labels = [
        base.transform_filter(f"datum.{field} {side} {middle} && datum.place == {place}")
        .mark_text(align=align, dx=dx, dy=13 if place else -9, color=INK, fontSize=11)
        .encode(x=x, y=y, text="name:N")
        for side, align, dx in (("<=", "left", 7), (">", "right", -7))
        for place in (0, 1)
    ]
    return alt.layer(_even_line(vertical=False), spread, dots, *labels)


def _with_label_places(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with a place for each label: above its point, or below where the next point is near above it."""
    ranked = sorted(rows, key=lambda row: row["rate"])
    reach = max(row["high"] for row in rows) - min(row["low"] for row in rows)
    near = [above["rate"] - row["rate"] < 0.06 * reach for row, above in pairwise(ranked)]
    return [{**row, "place": int(crowded)} for row, crowded in zip(ranked, [*near, False], strict=True)]


def _even_line(*, vertical: bool) -> alt.Chart:
    line: alt.Chart = _chart([{"even": 50}]).mark_rule(color=MUTED, strokeDash=[2, 3])
    return line.encode(x="even:Q") if vertical else line.encode(y="even:Q")


def _chart(rows: Sequence[Mapping[str, Any]], **size: Any) -> Any:
    """A chart of these rows; untyped, as most of the library's methods are."""
    data: Any = alt.Data
    return alt.Chart(data(values=list(rows)), **size)


def _bars(call: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for attempt in call["attempts"]:
        start = attempt["started_s"] + attempt["queue_s"]
        first = attempt["first_token_s"]
        rows.append(
            {
                "agent": f"{call['layer']}. {short(call['agent'])}",
                "start": start,
                "end": start + attempt["duration_s"],
                "first": None if first is None else start + first,
                "kind": call["purpose"] if attempt["status"] == "ok" else "failed",
                "label": seconds(attempt["duration_s"]),
            }
        )
    return rows


def _bin(longer: Any, wins: Any) -> dict[str, float] | None:
    found = mean_estimate(wins)
    if found is None:
        return None
    low, high = max(0.0, found.interval.low), min(100.0, found.interval.high)
    return {"longer": float(np.mean(longer)), "rate": found.value, "low": low, "high": high}


def _curve(fit: LengthFit, longer: Any, grid: Any) -> Any:
    """The fitted win rate over length differences, at the mean of everything else."""
    spread = standard_deviation(longer) or np.inf
    rest = float(np.mean(fit.weights[1:] @ fit.design.at_equal_length[1:]))
    return 100.0 * sigmoid(fit.weights[0] * np.tanh(-grid / spread) + rest)


def _finished(chart: alt.TopLevelMixin) -> dict[str, Any]:
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
