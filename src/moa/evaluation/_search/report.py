"""The report of a search: JSON, one HTML page, and the winner as a mixture file."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import altair as alt
import yaml
from markupsafe import Markup

from moa.evaluation._data.outputs import write_json
from moa.evaluation._report import format as figures
from moa.evaluation._report.html_report import asset, content_policy, environment
from moa.evaluation._report.palette import BLUE, GREEN, GREY, MUTED, ORANGE, with_page_colours
from moa.evaluation._report.vega import WIDTH, by_looks, chart_of, finished, front_line, short, svg
from moa.evaluation._search.conclusion import Conclusion, Standing
from moa.evaluation._search.search import Found

_LOOKS = {
    "baseline": (ORANGE, "diamond"),
    "good enough": (BLUE, "circle"),
    "not shown": (GREY, "circle"),
    "worse": (MUTED, "cross"),
    "dominated": (MUTED, "triangle-down"),
    "single": (GREEN, "square"),
}


def write_search(found: Found, conclusion: Conclusion, out: Path) -> None:
    """Write `search.json`, `search.html` and, if a mixture has won, `winner.yaml`."""
    write_json(out / "search.json", as_dict(found, conclusion))
    (out / "search.html").write_text(_page(found, conclusion, title=out.name), encoding="utf-8")
    winner, file = conclusion.winner, out / "winner.yaml"
    if winner is None or winner.is_single or winner.raced.candidate.system.mixture is None:
        file.unlink(missing_ok=True)
        return
    document = winner.raced.candidate.system.mixture.as_dict() | {"description": conclusion.sentences[0]}
    file.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")


def as_dict(found: Found, conclusion: Conclusion) -> dict[str, Any]:
    """Return a search as JSON-ready values."""
    spec = found.search.spec
    return {
        "sentences": list(conclusion.sentences),
        "winner": None if conclusion.winner is None else conclusion.winner.name,
        "pays": conclusion.pays,
        "single": None if conclusion.single is None else conclusion.single.name,
        "ended": found.ended,
        "margin": spec.margin,
        "max_cost_ratio": found.search.max_cost_ratio,
        "deadline_s": found.search.deadline_s,
        "prompts": len(found.search.race),
        "holdout": len(found.search.holdout),
        "critical": found.critical,
        "baseline": {
            "name": found.search.baseline.name,
            "usd_per_1000": 1000 * found.baseline_usd,
            "p95_s": found.baseline_s,
        },
        "spent_usd": found.spent_usd,
        "answers": found.calls,
        "answers_of_all_on_all": found.brute_force,
        "candidates": [one.as_dict() for one in conclusion.standings],
    }


def _page(found: Found, conclusion: Conclusion, *, title: str) -> str:
    style = asset("report.css")
    tried = [one for one in conclusion.standings if one.shown is not None]
    tried.sort(key=lambda one: (one is not conclusion.winner, one.state != "good enough", one.usd))
    marked = {short(one.name) for one in (conclusion.winner, conclusion.single) if one is not None}
    template = environment(autoescape=True).get_template("search.html.j2")
    return template.render(
        title=title,
        sentences=conclusion.sentences,
        chart=Markup(with_page_colours(svg(_chart(found, tried, marked)))),
        rows=[_row(one, conclusion) for one in tried],
        left_out=[one for one in conclusion.standings if one.raced.left_out],
        margin=found.search.spec.margin,
        baseline=found.search.baseline.name,
        baseline_usd=figures.money(1000 * found.baseline_usd),
        evidence="a hold-out that the race did not see" if found.search.holdout else "all prompts of the race",
        style=Markup(style),
        policy=content_policy(style, ""),
    )


def _row(one: Standing, conclusion: Conclusion) -> dict[str, str]:
    assert one.shown is not None
    mark = "winner" if one is conclusion.winner else "best model alone" if one is conclusion.single else ""
    return {
        "name": one.name,
        "mark": mark,
        "form": one.raced.candidate.form,
        "state": one.state if one.fits else f"{one.state}; too dear or too slow",
        "points": f"{one.shown.value:+.1f}",
        "interval": f"{one.shown.low:+.1f} to {one.shown.high:+.1f}",
        "prompts": f"{one.shown.n:,}",
        "usd": figures.money(None if one.raced.usd is None else 1000 * one.raced.usd),
        "p95": figures.time(one.raced.p95_s),
    }


def _chart(found: Found, tried: Sequence[Standing], marked: Collection[str]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [
        {
            "name": short(one.name),
            "state": "single" if one.is_single else one.state,
            "usd": 1000 * one.usd,
            "points": one.shown.value,
            "low": one.shown.low,
            "high": one.shown.high,
        }
        for one in tried
        if one.shown is not None and one.raced.usd is not None
    ]
    baseline = {"name": short(found.search.baseline.name), "state": "baseline", "usd": 1000 * found.baseline_usd}
    rows.append({**baseline, "points": 0.0, "low": 0.0, "high": 0.0})
    kind: Literal["log", "linear"] = "log" if all(row["usd"] > 0 for row in rows) else "linear"
    x = alt.X("usd:Q", title="US dollars per 1,000 prompts", scale=alt.Scale(type=kind, zero=False, padding=30))
    y = alt.Y("points:Q", title=f"Points above {baseline['name']}")
    colour, shape = by_looks("state", _LOOKS, rows)
    base = chart_of(rows, width=WIDTH - 60, height=320)
    margin = chart_of([{"points": -found.search.spec.margin}]).mark_rule(strokeDash=[4, 3], color=MUTED)
    front = front_line(rows, "usd", "points").encode(x=x, y=y)
    # What isn't shown either way steps back: its bounds are wide, and would cover what is shown.
    strength = alt.condition(alt.datum.state == "not shown", alt.value(0.25), alt.value(0.9))
    encoded = {"x": x, "color": colour, "opacity": strength}
    spread = base.mark_rule(strokeWidth=1.25).encode(y=alt.Y("low:Q"), y2="high:Q", **encoded)
    dots = base.mark_point(filled=True, size=80).encode(y=y, shape=shape, **encoded)
    named = [row for row in rows if row["state"] == "baseline" or row["name"] in marked]
    names = chart_of(named).mark_text(align="left", dx=8, dy=-6, fontSize=10).encode(x=x, y=y, text="name:N")
    return finished(alt.layer(margin.encode(y="points:Q"), front, spread, dots, names))
