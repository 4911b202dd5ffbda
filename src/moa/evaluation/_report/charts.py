"""The report's charts as Vega-Lite documents."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from moa._ledger import Call
from moa._render.format import seconds
from moa.evaluation._analysis.collected import Collected, Texts
from moa.evaluation._analysis.summary import Summary
from moa.evaluation._analysis.system_summary import SystemSummary
from moa.evaluation._length_control.models import LONGEST_RATIO, LengthFit, doublings, standard_deviation
from moa.evaluation._metrics.verdicts import Verdicts
from moa.evaluation._report.palette import BLUE, GREY, INK, MUTED, ORANGE
from moa.evaluation._report.tradeoff import tradeoff
from moa.evaluation._report.vega import WIDTH, Chart, chart_of, even_line, finished, short
from moa.evaluation._statistics.array_types import sigmoid
from moa.evaluation._statistics.sample_means import MIN_PROMPTS, ByCategory, rows_with_interval

_BINS = 10


def pictures(summary: Summary, verdicts: Verdicts | None, median_run: Sequence[Call]) -> tuple[Chart, ...]:
    """Return the charts that the data is enough for.

    Args:
        summary: All figures.
        verdicts: On the first system; None where nothing was judged.
        median_run: Calls of the first system's run whose time is the median; none if there is no such run.
    """
    first = summary.candidate
    found = (
        tradeoff(summary),
        None if first.categories is None else by_category(first.name, first.categories),
        waterfall(median_run),
        None if verdicts is None else length_effect(first, verdicts),
    )
    return tuple(picture for picture in found if picture is not None)


def by_category(system: str, categories: ByCategory) -> Chart | None:
    """Return the win rate in each category with simultaneous intervals."""
    rows = [
        {
            "category": name,
            "rate": found.value,
            "low": found.interval.low,
            "high": found.interval.high,
            "n": f"n = {found.n}",
        }
        for name, found in categories.estimates.items()
        if found is not None
    ]
    if not rows:
        return None
    base = chart_of(rows, width=WIDTH - 150, height=alt.Step(30)).encode(
        y=alt.Y("category:N", sort=alt.EncodingSortField("rate", order="descending"), title=None)
    )
    scale = alt.Scale(domain=[0, 100])
    spread = base.mark_rule(color=BLUE, strokeWidth=2).encode(x=alt.X("low:Q", scale=scale, title=None), x2="high:Q")
    dots = base.mark_point(filled=True, size=90, color=BLUE, opacity=1).encode(
        x=alt.X("rate:Q", scale=scale, title="Win rate, %", axis=alt.Axis(tickCount=10))
    )
    labels = base.mark_text(align="left", color=MUTED, fontSize=11).encode(x=alt.datum(101), text="n:N")
    chart = even_line(vertical=True) + spread + dots + labels
    caption = f"{system}, raw win rate. {categories.multiplicity}. Left out: fewer than {MIN_PROMPTS} prompts."
    return Chart(name="categories", title="By category", caption=caption, document=finished(chart))


def waterfall(calls: Sequence[Call]) -> Chart | None:
    """Return when each agent of one run worked; None without any calls."""
    rows = [row for call in calls for row in _bars(call)]
    if not rows:
        return None
    base = chart_of(rows, width=WIDTH - 150, height=alt.Step(26)).encode(
        y=alt.Y("agent:N", sort=None, title=None, axis=alt.Axis(labelLimit=190))
    )
    time = alt.X("start:Q", title="Seconds since the question", axis=alt.Axis(tickCount=8))
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
    return Chart(name="waterfall", title="A median run", caption=caption, document=finished(bars + ticks + labels))


def length_effect(system: SystemSummary, verdicts: Verdicts) -> Chart | None:
    """Return how the preference goes with the difference in length, and what the length model makes of it."""
    fit = None if system.metrics is None else system.metrics.fit
    if fit is None:
        return None
    longer, wins = verdicts.length - verdicts.opponent_length, 100.0 * verdicts.won
    dots = [row for part in np.array_split(np.argsort(longer), _BINS) if (row := _bin(longer[part], wins[part]))]
    if len(dots) < 3:
        return None
    low, high = min(row["longer"] for row in dots), max(row["longer"] for row in dots)
    grid = np.linspace(low, high, 60)
    usual = float(np.median(verdicts.opponent_length))
    rates = _curve(fit, standard_deviation(longer) or np.inf, usual, grid)
    curve = [{"longer": float(x), "rate": float(y)} for x, y in zip(grid, rates, strict=True)]
    base = chart_of(dots, width=WIDTH - 60, height=240)
    title = "Characters by which the system's answer is longer than the baseline's"
    x = alt.X("longer:Q", title=title, axis=alt.Axis(tickCount=8))
    spread = base.mark_rule(color=GREY, strokeWidth=1.5).encode(x=x, y=alt.Y("low:Q", title="Win rate, %"), y2="high:Q")
    points = base.mark_point(filled=True, size=70, color=GREY, opacity=1).encode(x=x, y="rate:Q")
    line = chart_of(curve).mark_line(color=BLUE, strokeWidth=2.5).encode(x=x, y="rate:Q")
    equal = chart_of([{"longer": 0}]).mark_rule(color=MUTED, strokeDash=[4, 4]).encode(x="longer:Q")
    caption = (
        f"{system.name}: tenths of the prompts by length difference (dots, 95% intervals) and the length model's curve "
        f"for an answer of the baseline's median length. The win rate at equal length is read off where the lengths "
        f"are equal (dashed): {fit.win_rate:.1f}%."
    )
    chart = even_line(vertical=False) + equal + spread + points + line
    return Chart(name="length", title="What length does", caption=caption, document=finished(chart))


def median_run(evaluation: Collected, texts: Texts) -> Sequence[Call]:
    """Return the calls of the first system's run whose time is the median; none if its answers come out of a file."""
    seconds = evaluation.candidate.answers.seconds
    timed = sorted(np.flatnonzero(~np.isnan(seconds)).tolist(), key=lambda row: float(seconds[row]))
    if not timed:
        return ()
    return texts.trace(evaluation.about, evaluation.instructions[timed[len(timed) // 2]].index).calls


def _bars(call: Call) -> list[dict[str, Any]]:
    rows = []
    for attempt in call.attempts:
        start, first = attempt.started_s + attempt.queue_s, attempt.first_token_s
        rows.append(
            {
                "agent": f"{call.layer}. {short(call.agent)}",
                "start": start,
                "end": start + attempt.duration_s,
                "first": None if first is None else start + first,
                "kind": call.purpose if attempt.status == "ok" else "failed",
                "label": seconds(attempt.duration_s),
            }
        )
    return rows


def _bin(longer: Any, wins: Any) -> dict[str, float] | None:
    found = rows_with_interval(wins, range(len(wins)), center=50.0)
    if found is None:
        return None
    ends = {"low": found.interval.low, "high": found.interval.high}
    return {"longer": float(np.mean(longer)), "rate": found.value, **ends}


def _curve(fit: LengthFit, spread: float, usual: float, grid: Any) -> Any:
    """The fitted win rate over length differences from a usual length, at the mean of everything else."""
    k = fit.design.length_features
    ratio = doublings(np.maximum(usual + grid, 1.0), np.full(len(grid), max(usual, 1.0)))
    lengths = np.stack([np.tanh(-grid / spread), np.clip(ratio, -LONGEST_RATIO, LONGEST_RATIO), np.sign(-grid)])[:k]
    rest = float(np.mean(fit.weights[k:] @ fit.design.at_equal_length[k:]))
    return 100.0 * sigmoid(fit.weights[:k] @ lengths + rest)
