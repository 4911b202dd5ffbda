"""The table of systems: each figure of a system as a person reads it."""

from collections.abc import Iterator
from dataclasses import dataclass

from moa.evaluation._analysis.summary import Summary
from moa.evaluation._analysis.system_summary import SystemSummary
from moa.evaluation._report import format as shown

SCALE = 120.0
"""Width of the small picture of an interval, in its own units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """An interval as a line with a dot, on a scale that all systems share: places from 0 to `SCALE`."""

    low: float
    at: float
    high: float
    even: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemRow:
    """One system's figures as texts.

    Attributes:
        summary: The figures themselves.
        name: Its name; of a part of the candidate, that part's.
        role: What it is.
        is_subject: Whether the verdict is about it.
        is_opponent: Whether all others are judged against it.
        rate: The figure at equal length.
        interval: Its ends.
        range: The same as a picture; None without an interval.
        win_rate: As the answers are.
        unflipped: The win rate where the judge kept its side; `flips` is how often it did not.
        verdicts: How many; `missing` of them could not be had.
        usd: US dollars per 1,000 prompts.
        seconds: To the whole answer, the median and the 95th percentile; `first_token` to the first token.
        length: Characters on average; `cut_off`, `empty`, `refusals`, `leaks` how many of the answers show that.
    """

    summary: SystemSummary
    name: str
    role: str
    is_subject: bool
    is_opponent: bool
    rate: str
    interval: str
    range: Range | None
    win_rate: str
    unflipped: str
    flips: str
    verdicts: str
    missing: str
    usd: str
    seconds: tuple[str, str]
    first_token: tuple[str, str]
    length: str
    cut_off: str
    empty: str
    refusals: str
    leaks: str


def system_rows(summary: Summary) -> tuple[SystemRow, ...]:
    """Return a row for each system, the best first; those without a figure are last, in the order of the run."""
    place = {one.name: _place(one, summary) for one in summary.systems}
    return tuple(_row(one, summary) for one in sorted(summary.systems, key=lambda one: place[one.name]))


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


def _place(system: SystemSummary, summary: Summary) -> tuple[bool, float]:
    rate = _rate(system, summary)
    return rate is None, -(rate or 0.0)


def _ends(summary: Summary) -> Iterator[float]:
    yield 50.0
    for one in summary.systems:
        if one.metrics is not None and one.metrics.lc_interval is not None:
            yield from one.metrics.lc_interval.ends


def _range(system: SystemSummary, summary: Summary) -> Range | None:
    rate, found = _rate(system, summary), system.metrics
    if rate is None or found is None or found.lc_interval is None:
        return None
    low, high = min(_ends(summary)), max(_ends(summary))
    room, width = 3.0, max(high - low, 1e-9)
    interval = found.lc_interval
    places = [room + (SCALE - 2 * room) * (value - low) / width for value in (interval.low, rate, interval.high, 50.0)]
    return Range(low=places[0], at=places[1], high=places[2], even=places[3])


def _row(system: SystemSummary, summary: Summary) -> SystemRow:
    found, money, clean, judged = system.metrics, system.economics, system.output_issues, system.judged
    is_opponent = system.name == summary.opponent
    cut_off = clean.looks_cut_off if clean.cut_off is None else clean.cut_off
    judged = None if is_opponent else judged
    flips = None if judged is None else judged.flips
    return SystemRow(
        summary=system,
        name=part_name(system.name, summary.about),
        role=system.role.replace("_", "-"),
        is_subject=system.name == summary.about,
        is_opponent=is_opponent,
        rate="50 by definition" if is_opponent else shown.percent(_rate(system, summary)),
        interval=shown.interval(None if found is None else found.lc_interval),
        range=None if is_opponent else _range(system, summary),
        win_rate=shown.percent(None if found is None or is_opponent else found.counts.win_rate),
        unflipped=shown.percent(None if judged is None else judged.consistent_win_rate),
        flips=shown.NONE if judged is None else "not tried" if flips is None else shown.percent(100 * flips),
        verdicts=shown.NONE if found is None or is_opponent else f"{found.counts.n_total:,}",
        missing=shown.NONE if judged is None else shown.share(judged.missing, judged.n),
        usd=shown.cost(None if money is None else money.cost),
        seconds=shown.middle_and_tail(None if money is None else money.total),
        first_token=shown.middle_and_tail(None if money is None else money.first_token),
        length=f"{system.avg_length:,.0f}",
        cut_off=f"{shown.share(cut_off, clean.n)}{'*' if clean.cut_off is None else ''}",
        empty=shown.share(clean.empty, clean.n),
        refusals=shown.share(clean.refusals, clean.n),
        leaks=shown.share(clean.leaks, clean.n),
    )
