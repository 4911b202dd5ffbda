"""How often the intervals of a win rate that people's labels have corrected hold the truth.

People's verdicts on 805 pairs are planted, and a judge that is biased and often guesses; some pairs are labelled, all
with the same probability or more often where the judge is unsure. What is measured is what `moa eval report` shows.

`uv run python -m bench.labels [--runs 2000] [--seed 0]`.
"""

from collections.abc import Iterator
from itertools import product

import numpy as np

from bench.report import Row, Table, options, publish
from moa.evaluation._analysis.human import human_check
from moa.evaluation._runner.labels import Label
from moa.evaluation._statistics.array_types import Bools, Floats

PAIRS = 805
TRUTH = 55.0


def cells(runs: int, seed: int) -> Iterator[Row]:
    """A row for each number of labels, bias of the judge in points, and share of the pairs on which it guesses."""
    for number, (labels, bias, guesses) in enumerate(product((50, 100, 200), (5.0, 10.0, 20.0), (0.3, 0.9))):
        row: dict[str, object] = {"labels": labels, "bias": bias, "guesses": f"{guesses:.0%}"}
        for unequal in (False, True):
            rng = np.random.default_rng([seed, number, unequal])
            held, width = zip(*(_run(labels, bias, guesses, rng, unequal=unequal) for _ in range(runs)), strict=True)
            kind = "unequal" if unequal else "equal"
            row |= {f"{kind}: held, %": 100.0 * float(np.mean(held)), f"{kind}: width": float(np.mean(width))}
        yield row


def _run(labels: int, bias: float, guesses: float, rng: np.random.Generator, *, unequal: bool) -> tuple[bool, float]:
    """Whether one interval holds the truth, and how wide it is."""
    people, judge = planted(bias, guesses, rng)
    chances = np.full(PAIRS, labels / PAIRS)
    if unequal:  # three times as often where the judge is unsure
        weights = np.where(np.abs(judge - 0.5) < 0.25, 3.0, 1.0)
        chances = np.minimum(1.0, labels * weights / weights.sum())
    drawn: Bools = rng.random(PAIRS) < chances
    if not unequal:
        drawn = np.isin(np.arange(PAIRS), rng.choice(PAIRS, labels, replace=False))
    found = human_check(
        "system",
        "baseline",
        dict(enumerate((1.0 + judge).tolist())),
        {
            index: Label(by_rater={"me": 1.0 + float(people[index])}, probability=chances[index] if unequal else None)
            for index in np.flatnonzero(drawn).tolist()
        },
    )
    assert found is not None
    interval = found.corrected.estimate.interval
    return interval.low <= TRUTH <= interval.high, interval.high - interval.low


def planted(bias: float, guesses: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return what people say of every pair, 0 or 1, and a judge's preference, 0-1."""
    people = (rng.random(PAIRS) < rng.uniform(0.15, 0.95, PAIRS)).astype(np.float64)
    judge = np.where(rng.random(PAIRS) < guesses, rng.random(PAIRS), 0.8 * people + 0.1 + bias / 100.0)
    return people, np.clip(judge, 0.0, 1.0)


def main() -> None:
    """Measure and publish."""
    parser = options("labels", __doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    rows = list(cells(20 if chosen.quick else chosen.runs, chosen.seed))
    publish("labels", chosen.json, [Table(title="win rates corrected by labels: 95% intervals", rows=rows)])


if __name__ == "__main__":
    main()
