"""How cost grows: with runs at once, with layers, with proposers."""

from collections.abc import Sequence

from bench.contender import Work
from bench.model_process import Behaviour, model_process
from bench.report import Row, Table, options, publish
from bench.rounds import HERE, measure

DELAY_S = 0.5
"""What the server takes for a call: long enough for the work of the largest case."""

CASES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "runs at once (4 proposers, 2 layers)": ((1, 2, 4), (4, 2, 4), (16, 2, 4), (64, 2, 4)),
    "layers, the aggregator's counted (4 proposers, 8 runs at once)": ((8, 2, 4), (8, 3, 4), (8, 5, 4)),
    "proposers (2 layers, 8 runs at once)": ((8, 2, 3), (8, 2, 8), (8, 2, 32)),
}
"""Runs at once, layers, proposers of each case."""


def grow(title: str, cases: Sequence[tuple[int, int, int]], *, delay_s: float, rounds: int) -> Table:
    """Return what the cases need."""
    rows = []
    for at_once, layers, proposers in cases:
        with model_process(Behaviour(delay_s=delay_s)) as url:
            work = Work(url=url, at_once=at_once, runs=at_once, layers=layers, proposers=proposers)
            rows.append(_row(work, delay_s, rounds))
    return Table(title=title, rows=rows)


def _row(work: Work, delay_s: float, rounds: int) -> Row:
    figures = measure({"moa": HERE}, work, rounds)["moa"]
    return {
        "at once": work.at_once,
        "layers": work.layers,
        "proposers": work.proposers,
        "calls/run": work.calls,
        "CPU ms/run": figures.cpu_ms,
        "CPU ms/call": figures.cpu_ms / work.calls,
        "overhead ms": (figures.wall_s - work.layers * delay_s) * 1000,
        "peak MB": figures.peak_mb,
        "kB per run at once": figures.extra_kb,
    }


def main() -> None:
    """Measure and publish."""
    chosen = options("growth", __doc__).parse_args()
    if chosen.quick:
        tables = [grow("a tiny one", [(1, 2, 1)], delay_s=0.001, rounds=1)]
    else:
        tables = [grow(title, cases, delay_s=DELAY_S, rounds=5) for title, cases in CASES.items()]
    publish("growth", chosen.json, tables)


if __name__ == "__main__":
    main()
