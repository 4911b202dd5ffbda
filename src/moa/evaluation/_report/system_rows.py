"""The table of systems: each figure of a system as a person reads it."""

import math
from typing import Any

from moa.evaluation._analysis.summary import Summary
from moa.evaluation._analysis.system_summary import SystemSummary
from moa.evaluation._report import format as shown

SCALE = 120.0
"""Width of the small picture of an interval, in its own units."""

_ROOM = 3.0


def system_rows(summary: Summary) -> list[dict[str, Any]]:
    """Return each system's figures as texts, the best first; those without a figure are last, in the order of the run.

    `summary` has the figures themselves; the second text of `seconds` and `first_token` is the 95th percentile; `range`
    is the interval at equal length as a picture, on a scale that all systems share; None without an interval.
    """
    intervals = [one.metrics.lc_interval for one in summary.systems if one.metrics is not None]
    ends = [50.0, *(end for interval in intervals if interval is not None for end in interval.ends)]
    rates = {one.name: _rate(one, summary) for one in summary.systems}

    def order(system: SystemSummary) -> float:
        rate = rates[system.name]
        return math.inf if rate is None else -rate

    return [_row(one, summary, rates[one.name], min(ends), max(ends)) for one in sorted(summary.systems, key=order)]


def part_name(system: str, candidate: str) -> str:
    """Return a part of the candidate by its own name, as whose part it is goes without saying; any other as it is."""
    part = system.removeprefix(f"{candidate}.")
    if part == system:
        return system
    return part.removeprefix("member.").replace("without.", "without ", 1)


def _rate(system: SystemSummary, summary: Summary) -> float | None:
    if system.name == summary.opponent:
        return 50.0
    return None if system.metrics is None else system.metrics.length_controlled_win_rate


def _row(system: SystemSummary, summary: Summary, rate: float | None, low: float, high: float) -> dict[str, Any]:
    money, clean = system.economics, system.output_issues
    is_opponent = system.name == summary.opponent
    # All others are judged against the opponent: its figures are so by definition.
    found, judged = (None, None) if is_opponent else (system.metrics, system.judged)
    interval = None if system.metrics is None else system.metrics.lc_interval
    places = None
    if found is not None and found.lc_interval is not None and rate is not None:
        marks = {"low": found.lc_interval.low, "at": rate, "high": found.lc_interval.high, "even": 50.0}
        scale = (SCALE - 2 * _ROOM) / max(high - low, 1e-9)
        places = {name: _ROOM + scale * (value - low) for name, value in marks.items()}
    flips = None if judged is None else judged.flips
    cut_off = clean.looks_cut_off if clean.cut_off is None else clean.cut_off
    return {
        "summary": system,
        "name": part_name(system.name, summary.about),
        "role": system.role.replace("_", "-"),
        "is_subject": system.name == summary.about,
        "is_opponent": is_opponent,
        "rate": "50 by definition" if is_opponent else shown.percent(rate),
        "interval": shown.interval(interval),
        "range": places,
        "win_rate": shown.percent(None if found is None else found.counts.win_rate),
        "unflipped": shown.percent(None if judged is None else judged.consistent_win_rate),
        "flips": shown.NONE if judged is None else "not tried" if flips is None else shown.percent(100 * flips),
        "verdicts": shown.NONE if found is None else f"{found.counts.n_total:,}",
        "missing": shown.NONE if judged is None else shown.share(judged.missing, judged.n),
        "usd": shown.cost(None if money is None else money.cost),
        "seconds": shown.middle_and_tail(None if money is None else money.total),
        "first_token": shown.middle_and_tail(None if money is None else money.first_token),
        "length": f"{system.avg_length:,.0f}",
        "cut_off": f"{shown.share(cut_off, clean.n)}{'*' if clean.cut_off is None else ''}",
        "empty": shown.share(clean.empty, clean.n),
        "refusals": shown.share(clean.refusals, clean.n),
        "leaks": shown.share(clean.leaks, clean.n),
    }
