"""The report: one HTML file that works offline and lets no output break out of its place; and Markdown."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from moa.evaluation._analysis.collected import Collected
from moa.evaluation._analysis.cost_sentence import caching_sentence
from moa.evaluation._analysis.recommendation import MEASURES, MODEL_NAMES, table
from moa.evaluation._analysis.summary import Summary
from moa.evaluation._analysis.system_summary import SystemSummary
from moa.evaluation._report import format as chart_format
from moa.evaluation._report.charts import median_run, pictures
from moa.evaluation._report.palette import with_page_colours
from moa.evaluation._report.qa_browser import prompts
from moa.evaluation._report.system_rows import SCALE, part_name, system_rows
from moa.evaluation._report.vega import Chart, svg

_COLUMNS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report in its forms.

    Attributes:
        html: One self-contained file.
        markdown: Verdict, tables and captions; the charts are named, as files beside it.
        drawings: The charts, each with its SVG.
    """

    html: str
    markdown: str
    drawings: tuple[tuple[Chart, str], ...]


def make_report(summary: Summary, evaluation: Collected, *, title: str) -> Report:
    """Return the report of an evaluation.

    Args:
        summary: Its figures.
        evaluation: Where they come from, for the browser of prompts.
        title: The run's name.

    Raises:
        MissingDependency: The `eval` extra isn't installed.
    """
    with evaluation.reading() as texts:
        drawn = pictures(summary, evaluation.candidate.verdicts, median_run(evaluation, texts))
        shown = prompts(evaluation, texts)
    drawings = tuple((picture, svg(picture.document)) for picture in drawn)
    found = summary.candidate.metrics
    measure = MEASURES["equal_length" if found is None else found.lc_model]
    style, script = (asset(name) for name in ("report.css", "report.js"))
    values = {
        "title": title,
        "summary": summary,
        "rows": system_rows(summary),
        "baseline": summary.baseline,
        "planned": evaluation.planned,
        "measure": measure[0].upper() + measure[1:],
        "model": "" if found is None else f"{MODEL_NAMES[found.lc_model]} ({found.lc_reason})",
        "lines": table(summary.conclusion),
        "guessed_ends": any(system.output_issues.cut_off is None for system in summary.systems),
        "agents": _agents(summary.candidate),
        "layers": _layers(summary.candidate),
        "caching": caching_sentence((system.name, system.economics) for system in summary.systems),
        "judging": _judging(summary),
        "how": {topic: _as_text(value) for topic, value in summary.how.items()},
        "part": part_name,
        "scale": SCALE,
        "f": chart_format,
    }
    html = environment(autoescape=True).get_template("report.html.j2")
    markdown = environment(autoescape=False).get_template("report.md.j2")
    return Report(
        html=html.render(
            **values,
            # Our own files and our own drawings, in which the drawing library has escaped every text.
            style=Markup(style),
            script=Markup(script),
            policy=content_policy(style, script),
            charts=[(picture, Markup(with_page_colours(drawing))) for picture, drawing in drawings],
            prompts=shown,
            categories=sorted({prompt.category for prompt in shown} - {""}),
        ),
        markdown=markdown.render(**values, charts=drawn),
        drawings=drawings,
    )


def environment(*, autoescape: bool) -> Environment:
    """Return what fills the report's templates."""
    found = Environment(
        loader=PackageLoader("moa.evaluation._report", "templates"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["cell"] = _cell
    return found


def asset(name: str) -> str:
    """Return the text of a file beside the templates."""
    return (files("moa.evaluation._report") / "templates" / name).read_text(encoding="utf-8")


def content_policy(style: str, script: str) -> str:
    """Return the policy under which a page uses this style and script, and nothing else: it calls no address."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _agents(system: SystemSummary) -> list[dict[str, Any]]:
    if system.economics is None:
        return []
    copied, critical = system.copied or {}, system.economics.critical_share
    last = max((layer for layer, _, _ in system.economics.by_place), default=1)
    rows = []
    for (layer, agent, model), cost in sorted(system.economics.by_place.items(), key=lambda entry: entry[0][0]):
        found = copied.get(agent) if layer < last else None
        rows.append(
            {
                "layer": layer,
                "agent": agent,
                "model": model,
                "usd": chart_format.money(cost.usd),
                "tokens": f"{cost.input_tokens or 0:,.0f} in, {cost.output_tokens or 0:,.0f} out",
                "critical": chart_format.percent(100 * critical[agent], 0) if agent in critical else chart_format.NONE,
                "copied": chart_format.NONE if found is None else chart_format.percent(100 * found.share, 0),
                "only_here": chart_format.NONE if found is None else chart_format.percent(100 * found.only_here, 0),
            }
        )
    return rows


def _layers(system: SystemSummary) -> str:
    """What each layer costs, in one sentence; empty if there is one only."""
    if system.economics is None or len(system.economics.by_layer) < 2:
        return ""
    each = (f"layer {layer}: {chart_format.money(cost.usd)}" for layer, cost in system.economics.by_layer.items())
    return f"Per 1,000 prompts, {', '.join(each)}."


def _judging(summary: Summary) -> str:
    """What all verdicts took, in one sentence."""
    judged = [system.judged for system in summary.systems if system.judged is not None]
    dollars, times = [one.usd for one in judged], [one.seconds for one in judged]
    usd = None if None in dollars else sum(amount for amount in dollars if amount is not None)
    time = None if None in times else sum(seconds for seconds in times if seconds is not None)
    verdicts = f"{sum(one.n for one in judged):,} verdicts"
    return f"In all, {verdicts} took {chart_format.time(time)} of the judge's time and cost {chart_format.money(usd)}."


def _as_text(value: Any) -> str:
    """How something was measured: in a line if it fits, else as a mixture file would say it."""
    if isinstance(value, Mapping) and all(isinstance(one, str) for one in value.values()):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    if isinstance(value, str):
        return value
    plain = json.loads(json.dumps(value, default=str))
    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, default_flow_style=None, width=_COLUMNS))


def _cell(text: object) -> str:
    """A text as a cell of a Markdown table: nothing in it ends the cell or becomes HTML."""
    flat = " ".join(str(text).split())
    return flat.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")
