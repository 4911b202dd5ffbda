"""How often `moa eval search` errs, and what it finds and saves: planted qualities, through its own decisions.

In each world the true quality of every candidate is known. A search gets 0 or 1 for each answer, right with that
probability; prompts have a difficulty that all systems share. `false winner`: what it names is worse than the baseline
by more than the margin. `false pays`: it says that a mixture pays where none is better than a model alone that costs no
more. `found`: it names the known best, or one that costs no more and is at most the margin worse; `found by all`: the
same if every candidate answers every prompt. `saved`: of the answers that this takes. Answers come from arrays; that
real runs come to the same decisions is tested in `tests/evaluation/search`.

`uv run python -m bench.search [--runs 200] [--prompts 400] [--seed 0] [--holdout 0.5]`.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from scipy.special import betaincinv, ndtr

from bench.report import Row, Table, options, publish
from moa._config.settings import Settings
from moa._pricing.price import Price
from moa.evaluation._runner.preparing import Options
from moa.evaluation._search.candidates import Answers, Candidate
from moa.evaluation._search.conclusion import Conclusion, conclude
from moa.evaluation._search.search import (
    Ask,
    Found,
    Raced,
    Search,
    candidates_of,
    critical_values,
    decide,
    prepare_search,
)
from moa.evaluation._statistics.array_types import Floats
from moa.providers._endpoint import Endpoint
from moa.providers._scripted import ScriptedProvider

MODELS = ("a", "b", "c", "d", "e")
AGGREGATORS = ("a", "b")
MARGIN = 3.0
TOKENS = 300.0
SHARED = 0.5
"""Share of an answer's luck that lies in the prompt."""

Quality = Callable[[Candidate], float]
"""The probability that a candidate's answer is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is true.

    Attributes:
        name: In words.
        baseline: Probability that the baseline's answer is right.
        quality: Of every candidate.
        best: Whether a candidate is the known best; None if there is none to be found.
        prices: US dollars per million tokens of the models, and of the baseline.
        pays: Whether a mixture really pays.
    """

    name: str
    baseline: float
    quality: Quality
    best: Callable[[Candidate], bool] | None = None
    prices: tuple[float, float] = (0.2, 10.0)
    pays: bool = True


def worlds(prompts: int) -> list[World]:
    """The worlds; where one leads, it leads the baseline by two, three or four standard errors of their difference."""
    base, error, margin = 0.6, _standard_error(0.6, prompts), MARGIN / 100

    def is_pair(one: Candidate) -> bool:
        return set(one.members) == {"lab/a", "lab/c"} and one.aggregator == "lab/b" and one.form == "synthesis"

    def leads(by: int, others: float) -> Quality:
        return lambda one: base + by * error if is_pair(one) else others - 0.05 * (one.form == "single")

    def is_tied(one: Candidate) -> bool:
        return {"lab/a", "lab/c"} <= set(one.members)

    def strong_single(one: Candidate) -> float:
        if one.form == "single":
            return base + 3 * error if one.aggregator == "lab/a" else base - 0.1
        return base + 3 * error - margin / 2

    return [
        *(
            World(
                name=f"a known best, {by} standard errors better, {where}",
                baseline=base,
                quality=leads(by, others),
                best=is_pair,
            )
            for where, others in (
                ("others far below", base - 3 * margin),
                ("decoys at the margin", base - margin - 0.005),
            )
            for by in (2, 3, 4)
        ),
        World(
            name="decoys alone",
            baseline=base,
            quality=lambda one: base - margin - 0.005 - 0.05 * (one.form == "single"),
            pays=False,
        ),
        World(
            name="all that hold two models are tied",
            baseline=base,
            quality=lambda one: base + 3 * error if is_tied(one) else base - 2 * margin - 0.05 * (one.form == "single"),
            best=is_tied,
        ),
        World(name="all equal, mixtures dearer", baseline=base, quality=lambda one: base, pays=False),
        World(name="all equal, all free", baseline=base, quality=lambda one: base, prices=(0.0, 0.0), pays=False),
        World(
            name="one strong model alone",
            baseline=base,
            quality=strong_single,
            best=lambda one: one.form == "single" and one.aggregator == "lab/a",
            pays=False,
        ),
    ]


def _standard_error(quality: float, prompts: int) -> float:
    """Of a paired difference of two systems of this quality."""
    generator = np.random.default_rng(0)
    z = generator.standard_normal((200_000, 3))
    right = ndtr(math.sqrt(SHARED) * z[:, :1] + math.sqrt(1 - SHARED) * z[:, 1:]) < quality
    return float(np.std(right[:, 0].astype(float) - right[:, 1])) / math.sqrt(prompts)


def main() -> None:
    """Measure and publish."""
    parser = options("search", __doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--prompts", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--holdout", type=float, default=0.0)
    chosen = parser.parse_args()
    runs = 10 if chosen.quick else chosen.runs
    rows = [
        _measured(world, runs=runs, prompts=chosen.prompts, seed=chosen.seed, holdout=chosen.holdout)
        for world in worlds(chosen.prompts)
    ]
    title = (
        f"{runs} searches a world, {chosen.prompts} prompts, margin {MARGIN:g}, hold-out {chosen.holdout:g}; percent"
    )
    publish("search", chosen.json, [Table(title=title, rows=rows)])


def _measured(world: World, *, runs: int, prompts: int, seed: int, holdout: float) -> Row:
    search = planted_search(world, prompts, holdout)
    false_winner = false_pays = found = pays = 0
    by_all, saved = 0, list[float]()
    for number in range(runs):
        done, conclusion = run_planted(world, search, seed=seed * 1_000_003 + number)
        winner = conclusion.winner
        if winner is not None and world.quality(winner.raced.candidate) < world.baseline - MARGIN / 100 - 1e-12:
            false_winner += 1
        pays += conclusion.pays
        false_pays += conclusion.pays and not _really_pays(world, conclusion)
        found += _is_found(world, done, conclusion)
        if world.best is not None and number < runs // 4:
            done_by_all = everything(world, search, seed=seed * 1_000_003 + number)
            by_all += _is_found(world, done_by_all, conclude(done_by_all))
        saved.append(1.0 - done.calls / max(1, done.brute_force))
    return {
        "world": world.name,
        "false winner": 100 * false_winner / runs,
        "false pays": 100 * false_pays / runs,
        "errors at least": 100 * _least(max(false_winner, false_pays), runs),
        "found": None if world.best is None else 100 * found / runs,
        "found by all": None if world.best is None else 100 * by_all / max(1, runs // 4),
        "says that a mixture pays": 100 * pays / runs,
        "saved": 100 * float(np.mean(saved)),
    }


def _really_pays(world: World, conclusion: Conclusion) -> bool:
    winner = conclusion.winner
    if winner is None:
        return False
    cheaper = [one for one in conclusion.standings if one.is_single and one.usd <= winner.usd]
    return all(world.quality(winner.raced.candidate) > world.quality(one.raced.candidate) for one in cheaper)


def _is_found(world: World, done: Found, conclusion: Conclusion) -> bool:
    winner = conclusion.winner
    if world.best is None or winner is None:
        return False
    best = [one for one in conclusion.standings if world.best(one.raced.candidate)]
    if winner in best:
        return True
    quality = max(world.quality(one.raced.candidate) for one in best)
    dearest = max((one.usd for one in best if math.isfinite(one.usd)), default=0.0)
    return world.quality(winner.raced.candidate) >= quality - MARGIN / 100 and winner.usd <= dearest


def _least(errors: int, runs: int) -> float:
    """What the error rate is at least, with a confidence of 99.9% (Clopper & Pearson 1934)."""
    return 0.0 if not errors else float(betaincinv(errors, runs - errors + 1, 0.001))


def planted_search(world: World, prompts: int, holdout: float = 0.0) -> Search:
    """Return the search of a world."""
    cheap, dear = (Price(input=Decimal(str(price)), output=Decimal(str(price))) for price in world.prices)
    endpoint = Endpoint(name="lab", kind="openai", base_url="http://127.0.0.1:9/v1", prices={"big": dear, "*": cheap})
    options = Options(
        baseline="lab/big",
        measures=["exact"],
        margin=MARGIN,
        settings=Settings(endpoints={"lab": endpoint}),
        providers={"lab": ScriptedProvider("")},
    )
    given = [{"prompt": f"question {number}", "reference": "x"} for number in range(prompts)]
    models, aggregators = ([f"lab/{one}" for one in names] for names in (MODELS, AGGREGATORS))
    return prepare_search(given, models, options, aggregators=aggregators, max_tokens=1000, holdout=holdout)


def run_planted(world: World, search: Search, seed: int) -> tuple[Found, Conclusion]:
    """Return what a search finds among answers that are drawn from a world's truth."""
    done = asyncio.run(decide(search, asking(world, search, seed)))
    return done, conclude(done)


def everything(world: World, search: Search, seed: int) -> Found:
    """Return what there is if every candidate answers every prompt."""
    pool = candidates_of(search)
    answers = asyncio.run(_all(asking(world, search, seed), pool, len(search.everything)))
    raced = tuple(
        Raced(
            candidate=one,
            prompts=len(search.everything),
            advantages=answers[one.name].advantages[search.evidence],
            usd=float(answers[one.name].usd.mean()),
            p95_s=1.0,
        )
        for one in (*search.singles, *pool)
    )
    critical, lead_critical = critical_values(np.column_stack([one.advantages for one in raced]))
    return Found(
        search=search,
        ended="complete",
        raced=raced,
        critical=critical,
        lead_critical=lead_critical,
        baseline_usd=float(answers["lab/big"].usd.mean()),
        baseline_s=1.0,
        spent_usd=0.0,
        calls=len(pool) * len(search.everything),
        brute_force=len(pool) * len(search.everything),
    )


async def _all(ask: Ask, pool: Sequence[Candidate], size: int) -> Mapping[str, Answers]:
    return await ask(pool, size)


def asking(world: World, search: Search, seed: int) -> Ask:
    """Return what answers by a world's truth."""
    n = len(search.everything)
    difficulty = np.random.default_rng((seed, 0)).standard_normal(n)
    drawn: dict[str, Floats] = {}

    def right(name: str, quality: float) -> Floats:
        if name not in drawn:
            own = np.random.default_rng((seed, *name.encode())).standard_normal(n)
            luck = math.sqrt(SHARED) * difficulty + math.sqrt(1 - SHARED) * own
            drawn[name] = (ndtr(luck) < quality).astype(float)
        return drawn[name]

    baseline = right("lab/big", world.baseline)
    cheap, dear = (price * TOKENS / 1e6 for price in world.prices)

    async def ask(pool: Sequence[Candidate], size: int) -> Mapping[str, Answers]:
        answers = {"lab/big": _answers(np.full(n, math.nan), n, n, dear)}
        for one in search.singles:
            answers[one.name] = _answers(100 * (right(one.name, world.quality(one)) - baseline), n, n, cheap)
        for one in pool:
            advantages = 100 * (right(one.name, world.quality(one)) - baseline)
            # It pays for its members, and an aggregator that reads them and writes as much as each.
            usd = cheap * (2 * len(one.members) + 1)
            answers[one.name] = _answers(advantages, size, n, usd)
        return answers

    return ask


def _answers(advantages: Floats, size: int, n: int, usd: float) -> Answers:
    answered = np.arange(n) < size
    blank = np.where(answered, 1.0, math.nan)
    return Answers(
        advantages=np.where(answered, advantages, math.nan),
        answered=answered,
        usd=usd * blank,
        seconds=blank,
        output_tokens=TOKENS * blank,
    )


if __name__ == "__main__":
    main()
