"""How often the verdict errs, and how often it says something: planted verdicts through the report's own statistics.

`cells`: one factor at a time from a base case, and two pairs of factors. `use` is the share of runs whose first
sentence says to use the mixture or a single model; where what it names is worse than the baseline by the margin or
more, that is an error, and `at least` is what the error rate is with a confidence of 99.9% (one-sided, Clopper &
Pearson 1934). `coverage`: how often intervals hold the truth. `stopping`: errors and savings of `--until` on real
verdicts, which are not part of this repository: `--data ../shared/alpaca_eval`.

`uv run python -m bench.verdict [--runs 300] [--seed 0] [cells coverage stopping]`.
"""

import argparse
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import betaincinv

from bench.planted import Taste, World, plant
from bench.reference import read_gamed, read_models
from bench.report import Row, Table, options, publish
from moa.evaluation._analysis.recommendation import (
    Alternative,
    JudgeChecks,
    Ratio,
    Recommendation,
    VerdictBasis,
    recommend,
)
from moa.evaluation._length_control.models import GamedBaselines, Judged, LengthModel, design_for, fit_length_model
from moa.evaluation._metrics.evidence import weigh
from moa.evaluation._metrics.single_model import weigh_all
from moa.evaluation._metrics.stopping import Until, look, look_sizes
from moa.evaluation._metrics.verdicts import Verdicts
from moa.evaluation._statistics.array_types import Floats, Ints
from moa.evaluation._statistics.findings import Finding
from moa.evaluation._statistics.sample_means import MARGIN, mean_with_interval

LIMIT = 2.5
POOL_LIMIT = 3.0
CONFIDENCE = 0.999


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One planted case.

    Attributes:
        factor: What is varied; the cells of a factor are pooled.
        level: How, in words.
        world: What is true of the mixture.
        cost: Of the mixture in relation to the baseline; None if unknown.
        members: Points by which each single model is better than the baseline.
        member_cost: Of a single model in relation to the mixture.
        until: Whether it stops early.
        least_use: Least share of runs, in percent, in which something should be used: for power; else None.
    """

    factor: str
    level: str
    world: World
    cost: float | None = 0.4
    members: tuple[float, ...] = ()
    member_cost: float | None = 0.3
    until: Until = "all"
    least_use: float | None = None


@dataclass(slots=True, kw_only=True)
class Found:
    """What the runs of a cell said."""

    runs: int = 0
    used: int = 0
    wrong: int = 0
    lines: Counter[str] = field(default_factory=Counter)


def cells() -> list[Cell]:
    """Return all cases: at most 120."""
    return [*_truths(), *_judges(), *_tastes(), *_trades(), *_sizes()]


def _truths() -> Iterator[Cell]:
    for truth in (-2.0, -3.0, -5.0, -8.0):
        yield Cell(factor="truth", level=f"{truth:+g}", world=World(truth=truth))
    yield Cell(factor="power", level="equal, 805 prompts", world=World(), least_use=45.0)
    yield Cell(factor="power", level="equal, 1,600 prompts", world=World(prompts=1600), least_use=75.0)
    yield Cell(factor="power", level="+3, 805 prompts", world=World(truth=3.0), least_use=90.0)


def _judges() -> Iterator[Cell]:
    shares = {"position": (0.2, 0.5, 0.7, 0.85, 1.0), "last": (0.3, 0.7), "coin": (0.3, 0.7), "shrugs": (0.3, 0.7)}
    for habit, share, truth in (
        (name, share, truth) for name, all_of in shares.items() for share, truth in product(all_of, (-3.0, -5.0))
    ):
        world = World(truth=truth, **{habit: share})  # type: ignore[arg-type]
        yield Cell(factor=habit, level=f"{share:.0%}, {truth:+g}", world=world)
    for share, truth in product((0.0, 0.5, 0.7), (-3.0, -5.0)):
        world = World(truth=truth, position=share, one_order=True)
        yield Cell(factor="one order", level=f"position {share:.0%}, {truth:+g}", world=world)


def _tastes() -> Iterator[Cell]:
    tastes: tuple[Taste, ...] = ("ratio", "bonus", "difference")
    for taste in tastes:
        for ratio, spread in product((1.0, 1.2, 1.5, 2.0, 3.0), (0.05, 0.6)):
            world = World(truth=-3.0, taste=taste, doublings=math.log2(ratio), doublings_sd=spread)
            level = f"{taste}, {ratio:g} times, lengths {'vary' if spread > 0.1 else 'alike'}"
            yield Cell(factor="taste x length", level=level, world=world)
        steep = World(truth=-3.0, taste=taste, slope=2.0, doublings=0.5, doublings_sd=0.6)
        yield Cell(factor="taste x length", level=f"{taste}, 1.4 times, twice as strong", world=steep)
        disliked = replace(steep, slope=-1.0, doublings=-0.5)
        yield Cell(factor="taste x length", level=f"{taste}, 0.7 times, brevity liked", world=disliked)


def _trades() -> Iterator[Cell]:
    members = {
        "equal": (-3.0, -3.0, -3.0),
        "one better": (2.0, -8.0, -8.0),
        "worse": (-8.0, -8.0, -8.0),
        "as bad": (-5.0, -4.0, -3.5),
    }
    for name, truth in product(members, (-3.0, 0.0)):
        yield Cell(factor="members", level=f"{name}, {truth:+g}", world=World(truth=truth), members=members[name])
    for (name, cost), truth in product({"unknown": None, "dearer": 1.4, "the same": 1.0}.items(), (-3.0, 3.0)):
        yield Cell(factor="cost", level=f"{name}, {truth:+g}", world=World(truth=truth), cost=cost)


def _sizes() -> Iterator[Cell]:
    for prompts in (40, 80, 200, 400, 1600):
        yield Cell(factor="prompts", level=f"{prompts}", world=World(truth=-3.0, prompts=prompts))
        for share, truth in product((0.5, 0.85), (-3.0, -5.0)):
            world = World(truth=truth, prompts=prompts, position=share)
            yield Cell(factor="position x prompts", level=f"{share:.0%}, {prompts}, {truth:+g}", world=world)
    untils: tuple[Until, ...] = ("good-enough", "decided")
    for until, truth in product(untils, (-3.0, -5.0)):
        yield Cell(factor="stopping", level=f"{until}, {truth:+g}", world=World(truth=truth), until=until)


def run(cell: Cell, seed: int) -> tuple[Recommendation, float | None]:
    """Return what one draw of a case leads to, and how good what is to be used is; None if nothing is."""
    rng = np.random.default_rng(seed)
    lengths = np.exp(rng.normal(7.0, 0.7, cell.world.prompts))
    mixture = plant(cell.world, rng, lengths)
    models = {str(n): plant(replace(cell.world, truth=points), rng, lengths) for n, points in enumerate(cell.members)}
    rows, looks = np.ones(cell.world.prompts, dtype=bool), None
    if cell.until != "all":
        looks = cell.world.prompts
        rows = np.arange(looks) < _stop(cell.until, [mixture], "equal_length", None, looks)
    evidence, single = weigh_all(
        [mixture.at(rows)], {name: one.at(rows) for name, one in models.items()}, "equal_length", looks=looks
    )
    alternative = None
    if single is not None:
        ratio = None if cell.cost is None or cell.member_cost is None else cell.cost * cell.member_cost
        cost, to_baseline = Ratio(value=cell.member_cost), Ratio(value=ratio)
        alternative = Alternative(name=single.name, found=single, cost=cost, cost_to_baseline=to_baseline)
    said = recommend(
        VerdictBasis(
            mixture="mixture",
            baseline="baseline",
            evidence=evidence,
            judge=JudgeChecks(),
            cost=Ratio(value=cell.cost, unknown=() if cell.cost is not None else ("baseline",)),
            latency=Ratio(value=1.2),
            alternative=alternative,
            planned=cell.world.prompts,
        )
    )
    if said.advice != "use":
        return said, None
    return said, cell.world.truth if said.system == "mixture" else cell.members[int(said.system or 0)]


def measure_cells(wanted: Sequence[Cell], runs: int, seed: int) -> Table:
    """Return the table of all cases and the pools of their factors."""
    rows: list[Row] = []
    pools: dict[str, Found] = defaultdict(Found)
    failed: list[str] = []
    for number, cell in enumerate(wanted):
        found = Found()
        for draw in range(runs if cell.least_use is None else 4 * runs):
            said, truth = run(cell, seed * 1_000_003 + number * 10_007 + draw)
            found.runs, found.used = found.runs + 1, found.used + (truth is not None)
            found.wrong += truth is not None and truth <= -MARGIN
            found.lines[said.line] += 1
        row = _row(cell, found)
        rows.append(row)
        failed += [f"{cell.factor}: {cell.level}"] if row["holds"] == "NO" else []
        if cell.world.truth <= -MARGIN or cell.members:
            pool = pools[cell.factor]
            pool.runs, pool.used, pool.wrong = pool.runs + found.runs, pool.used + found.used, pool.wrong + found.wrong
    for factor, pool in pools.items():
        holds = 100 * pool.wrong / pool.runs <= POOL_LIMIT
        failed += [] if holds else [f"pool of {factor}"]
        rows.append({"factor": f"pool: {factor}", "level": "", "runs": pool.runs, "use %": _share(pool.used, pool),
                     "wrong %": _share(pool.wrong, pool), "at least %": _at_least(pool),
                     "holds": "yes" if holds else "NO", "first sentences": ""})  # fmt: skip
    notes = [f"wrong: no cell at least {LIMIT}% (confidence {CONFIDENCE:.1%}), no pool above {POOL_LIMIT}%"]
    notes.append(f"{len(wanted)} cells; " + ("all hold" if not failed else "NOT HELD: " + "; ".join(failed)))
    return Table(title="verdicts on planted truths", rows=rows, notes=notes)


def _row(cell: Cell, found: Found) -> Row:
    holds = _at_least(found) <= LIMIT and (cell.least_use is None or 100 * found.used / found.runs >= cell.least_use)
    lines = ", ".join(f"{line} {100 * count / found.runs:.0f}%" for line, count in found.lines.most_common(3))
    return {
        "factor": cell.factor,
        "level": cell.level,
        "runs": found.runs,
        "use %": _share(found.used, found),
        "wrong %": _share(found.wrong, found),
        "at least %": _at_least(found),
        "holds": "yes" if holds else "NO",
        "first sentences": lines,
    }


def _share(count: int, found: Found) -> float:
    return round(100 * count / found.runs, 2)


def _at_least(found: Found) -> float:
    """The lower end of Clopper and Pearson's one-sided interval, in percent."""
    if found.wrong == 0:
        return 0.0
    return round(100 * float(betaincinv(found.wrong, found.runs - found.wrong + 1, 1 - CONFIDENCE)), 2)


def measure_coverage(models: Mapping[str, Judged] | None, gamed: GamedBaselines | None, runs: int, seed: int) -> Table:
    """Return how often 95% intervals hold the truth: of planted win rates, and of real models as populations."""
    rows: list[Row] = []
    for prompts in (40, 100, 200, 805):
        row: dict[str, Any] = {"prompts": prompts}
        for rate in (0.1, 0.3, 0.5):
            rng = np.random.default_rng([seed, prompts])
            wins = 100.0 * (rng.random((4 * runs, prompts)) < rate)
            intervals = [mean_with_interval(values, center=50.0).interval for values in wins]
            row[f"win rate {rate:.0%}"] = _held([(one.low, one.high) for one in intervals], 100 * rate)
        for truth in (0.0, -3.0, -15.0):
            world = World(truth=truth, taste="ratio", doublings=0.2, prompts=prompts)
            ends = [_controlled(plant(world, np.random.default_rng([seed, prompts, n]))) for n in range(runs)]
            row[f"at equal length {50 + truth:g}%"] = _held(ends, truth)
        for name in ("equal_length", "length_controlled_v1") if models and gamed else ():
            row[f"real, {name}"] = _real_coverage(models or {}, gamed, name, prompts, max(1, runs // 30), seed)  # type: ignore[arg-type]
        rows.append(row)
    return Table(title="of 95% intervals, percent that hold the truth", rows=rows)


def _controlled(verdicts: Verdicts) -> tuple[float, float]:
    evidence = weigh([verdicts], "equal_length")
    assert evidence is not None
    return evidence.controlled.gap.interval.low, evidence.controlled.gap.interval.high


def _held(ends: Sequence[tuple[float, float]], truth: float) -> float:
    return round(100 * float(np.mean([low <= truth <= high for low, high in ends])), 1)


def _real_coverage(
    models: Mapping[str, Judged], gamed: GamedBaselines | None, name: LengthModel, prompts: int, draws: int, seed: int
) -> float:
    held = []
    for number, judged in enumerate(models.values()):
        fit = fit_length_model(design_for(name, judged, gamed))
        assert fit is not None
        for draw in range(draws):
            rng = np.random.default_rng([seed, number, draw, prompts])
            part = _verdicts(judged, rng.integers(len(judged), size=prompts))
            evidence = weigh([part], name, gamed, looks=None)
            assert evidence is not None
            gap = evidence.controlled.gap.interval
            held.append(gap.low <= fit.win_rate - 50.0 <= gap.high)
    return round(100 * float(np.mean(held)), 1)


def measure_stopping(models: Mapping[str, Judged], gamed: GamedBaselines, runs: int, seed: int) -> list[Table]:
    """Return what `--until decided` saves on real verdicts, beside what theory says, and how often it errs."""
    rows: list[Row] = []
    for name, judged in models.items():
        fit = fit_length_model(design_for("length_controlled_v1", judged, gamed))
        assert fit is not None
        evidence = weigh([_verdicts(judged, np.arange(len(judged)))], "length_controlled_v1", gamed)
        assert evidence is not None
        n, d = len(judged), fit.win_rate - 50.0
        sd = float(evidence.controlled_gaps.std())
        theory = max(0.0, 1.0 - 2.0 * math.log(40.0) * sd**2 / (d**2 * n))
        saved = []
        for draw in range(runs):
            rng = np.random.default_rng([seed, draw])
            order = rng.integers(n, size=n)
            saved.append(1.0 - _stop("decided", [_verdicts(judged, order)], "length_controlled_v1", gamed, n) / n)
        mean = float(np.mean(saved))
        holds = "yes" if abs(mean - theory) <= 0.15 else "NO"
        rows.append({"model": name[:30], "LC - 50": round(d, 1), "sd": round(sd, 1), "saved %": round(100 * mean, 1),
                     "theory %": round(100 * theory, 1), "within 15": holds})  # fmt: skip
    rows.sort(key=lambda row: abs(row["LC - 50"]))
    return [
        Table(
            title="judging saved by --until decided on real verdicts (LC win rate)",
            rows=rows,
            notes=["theory: 1 - 2 ln(40) sd^2 / (d^2 n)"],
        ),
        Table(title="--until decided, planted: two systems that are equal", rows=[_at_a_tie(20 * runs, seed)]),
    ]


def _at_a_tie(runs: int, seed: int) -> Row:
    """How often a stop decides falsely that one of two equal systems is better."""
    false, judged = 0, []
    for draw in range(runs):
        verdicts = plant(World(), np.random.default_rng([seed, 77, draw]))
        size = _stop("decided", [verdicts], "equal_length", None, 805)
        judged.append(size)
        evidence = weigh([verdicts.at(np.arange(805) < size)], "equal_length", looks=805)
        assert evidence is not None
        false += evidence.controlled.finding in (Finding.BETTER, Finding.SLIGHTLY_WORSE, Finding.WORSE)
    return {"runs": runs, "false %": round(100 * false / runs, 2), "prompts judged, mean": float(np.mean(judged))}


def _stop(
    until: Until, sides: Sequence[Verdicts], name: LengthModel, gamed: GamedBaselines | None, planned: int
) -> int:
    """Return after how many prompts it stops; all of them if nothing is decided."""
    for size in look_sizes(planned):
        rows = np.arange(planned) < size
        if look(until, [side.at(rows) for side in sides], {}, name, gamed, planned=planned):
            return size
    return planned


def _verdicts(judged: Judged, rows: Ints) -> Verdicts:
    """Real verdicts as a judge's that keeps its side: the other order was not tried."""
    doubled: Floats = np.zeros(len(judged)) if judged.doublings is None else judged.doublings
    opponent = np.full(len(judged), np.nan)
    # Lengths are known up to what the model takes: the difference and the ratio.
    ratio = 2.0**doubled
    with np.errstate(divide="ignore", invalid="ignore"):
        opponent = np.where(ratio != 1.0, judged.shorter_by * ratio / (ratio - 1.0), 1000.0)
    won = judged.preference[rows]
    return Verdicts(
        won=won,
        length=(opponent - judged.shorter_by)[rows],
        opponent_length=opponent[rows],
        baseline_first=won,
        system_first=won,
        same=np.zeros(len(rows), dtype=bool),
        difficulty=None if judged.difficulty is None else judged.difficulty[rows],
    )


def main() -> None:
    """Measure and publish."""
    parser = options("verdict", __doc__)
    parser.add_argument("what", nargs="*", default=["cells", "coverage", "stopping"])
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=Path("../shared/alpaca_eval"))
    publish("verdict", (chosen := parser.parse_args()).json, list(_tables(chosen)))


def _tables(chosen: argparse.Namespace) -> Iterator[Table]:
    runs, wanted = (2, cells()[::12]) if chosen.quick else (chosen.runs, cells())
    has_data = (chosen.data / "annotations.csv.gz").exists()
    models = read_models(chosen.data) if has_data else None
    gamed = read_gamed(chosen.data) if has_data else None
    if chosen.quick and models is not None:
        models = dict(list(models.items())[:1])
    if "cells" in chosen.what:
        yield measure_cells(wanted, runs, chosen.seed)
    if "coverage" in chosen.what:
        yield measure_coverage(models, gamed, runs, chosen.seed)
    if "stopping" in chosen.what and models is not None and gamed is not None:
        yield from measure_stopping(models, gamed, max(1, runs // 20), chosen.seed)
    elif "stopping" in chosen.what:
        yield Table(title="judging saved", rows=[], notes=[f"skipped: there is no reference data in {chosen.data}"])


if __name__ == "__main__":
    main()
