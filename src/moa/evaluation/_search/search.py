"""The search itself: what is asked when, and what follows from it.

Every decision is a pure function of the cells that are there and of the seed, so that the same command after an
interruption comes to the same ones and buys nothing again, and a further model buys only what is new.
"""

import math
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from moa._ledger import Pricer
from moa._messages import conversation
from moa._mixture.schema import Agent
from moa.errors import EvaluationDataError, UsageError
from moa.evaluation._data.datasets import Instruction
from moa.evaluation._pipeline import OnProgress, opened
from moa.evaluation._runner.fill import Ended, Fill
from moa.evaluation._runner.preparing import Options, Prompts, prepare
from moa.evaluation._runner.pricing import price_list, pricer_of, require_worst_cases
from moa.evaluation._runner.spec import Spec
from moa.evaluation._runner.systems import System
from moa.evaluation._runner.table import Table, keep_given, table_of
from moa.evaluation._search import race
from moa.evaluation._search.candidates import (
    Answers,
    Bounds,
    Candidate,
    affordable_samples,
    bounds_of,
    mixtures_of,
    single_model,
)
from moa.evaluation._statistics.array_types import Floats
from moa.providers._token_estimates import estimated_conversation_tokens

MOST_RACED = 160
"""How many mixtures enter the race at most: those that promise most for their price."""

UNPROMISING = "it promised less than those that were tried"

MIN_GOING_ON = 3
"""How many mixtures go on after a look at least, if as many may still be shown good enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A search that can begin.

    Attributes:
        spec: The evaluation of the baseline and of every model alone, which comes first.
        singles: Every model alone.
        models: References of the proposers.
        aggregators: References of those that may aggregate.
        race: The prompts of the race in their random order.
        holdout: Those that it does not see, likewise.
        max_cost_ratio: The most that a winner costs, in relation to the baseline.
        deadline_s: Seconds within which a winner answers 95% of the prompts.
    """

    spec: Spec
    singles: tuple[Candidate, ...]
    models: tuple[str, ...]
    aggregators: tuple[str, ...]
    race: tuple[Instruction, ...]
    holdout: tuple[Instruction, ...]
    max_cost_ratio: float
    deadline_s: float | None

    @property
    def everything(self) -> tuple[Instruction, ...]:
        """All prompts: those of the race, then those that it does not see."""
        return (*self.race, *self.holdout)

    @property
    def evidence(self) -> slice:
        """Where, in all prompts, those are that claims rest on."""
        return slice(len(self.race), None) if self.holdout else slice(0, len(self.race))

    @property
    def agents(self) -> dict[str, Agent]:
        """How each model is asked, by reference: as alone, so that its answers alone are its proposals."""
        return {one.aggregator: one.system.mixture.aggregator for one in self.singles if one.system.mixture}

    @property
    def baseline(self) -> System:
        """What all candidates are compared with."""
        baseline = self.spec.baseline
        assert baseline is not None  # `prepare_search` has refused a search without one
        return baseline

    def price(self, reference: str) -> Pricer:
        """What prices a model's tokens."""
        return pricer_of(self.spec.settings, reference)


@dataclass(frozen=True, slots=True, kw_only=True)
class Raced:
    """What is known of one candidate in the end.

    Attributes:
        candidate: Which one.
        prompts: How many prompts of the race it has answered.
        advantages: Points above the baseline on the prompts of the evidence, as far as it has answered them.
        usd: US dollars per prompt; None if unknown.
        p95_s: Seconds, 95th percentile; None if unknown.
        bounds: What it was expected to take; None for a single model.
        left_out: Why it was not tried; None if it was.
    """

    candidate: Candidate
    prompts: int = 0
    advantages: Floats
    usd: float | None = None
    p95_s: float | None = None
    bounds: Bounds | None = None
    left_out: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search has come to, before it is judged.

    Attributes:
        search: What was looked for.
        ended: How it ended.
        raced: Every candidate, the single models first.
        critical: See `race.critical_value`; for claims that candidates are good enough.
        lead_critical: Likewise, for the claim that a mixture is better than models alone.
        baseline_usd: US dollars per prompt of the baseline.
        baseline_s: Its seconds, 95th percentile; None if unknown.
        spent_usd: What the search has cost, in all sessions, as far as prices are known.
        lost_usd: Of that, for calls that brought no whole reply: at most, where their service reported nothing.
        unpriced: Whether the price of something is unknown.
        calls: Answers that were made.
        brute_force: Answers that trying every candidate on every prompt takes.
    """

    search: Search
    ended: Ended
    raced: tuple[Raced, ...]
    critical: float
    lead_critical: float
    baseline_usd: float
    baseline_s: float | None
    spent_usd: float
    calls: int
    brute_force: int
    unpriced: bool = False
    lost_usd: float = 0.0


Ask = Callable[[Sequence[Candidate], int], Awaitable[Mapping[str, Answers]]]
"""Has mixtures, the models alone and the baseline answer the first so many prompts, and returns all that is there."""


class BudgetUsedUp(Exception):
    """Not all that was asked for could be bought."""


def prepare_search(
    prompts: Prompts,
    models: Sequence[str],
    options: Options,
    *,
    aggregators: Sequence[str] = (),
    max_tokens: int | None = None,
    max_cost_ratio: float = 1.0,
    deadline_s: float | None = None,
    holdout: float = 0.0,
) -> Search:
    """Return a search that can begin; nothing has been bought.

    Args:
        prompts: See `load_instructions`.
        models: References of the proposers, at least two.
        options: As of an evaluation: baseline, measures or judge, budget, margin, seed …
        aggregators: References of the models that may aggregate; the models themselves unless given.
        max_tokens: The most tokens that each model writes.
        max_cost_ratio: The most that a winner costs, in relation to the baseline.
        deadline_s: Seconds within which a winner answers 95% of the prompts.
        holdout: Share of the prompts, 0-1, that the race does not see and the evidence comes from; 0: the race is the
            evidence.

    Raises:
        MoaError: Something can't be used as it is; it says what and why.
    """
    models, aggregators = tuple(dict.fromkeys(models)), tuple(dict.fromkeys(aggregators or models))
    if len(models) < 2:
        raise UsageError("--models: give at least two, separated by commas")
    if options.get("baseline") is None:
        raise UsageError("a search compares with something: give --baseline (a model, a mixture or an outputs file)")
    if len(options.get("measures", ())) != 1 and options.get("judge") is None:
        raise UsageError("a search goes by one measure: give one --measure, or a judge (--judge, --judge-model)")
    if options["baseline"] in models:
        raise UsageError(f"--models: {options['baseline']} is the baseline already")
    if not max_cost_ratio > 0:
        raise UsageError(f"--max-cost-ratio is a number above 0, not {max_cost_ratio:g}")
    if not 0 <= holdout < 1:
        raise UsageError(f"--holdout is a share from 0 to below 1, not {holdout:g}")
    singles = tuple(
        single_model(one, max_tokens, options.get("tier"))
        for one in dict.fromkeys((*models, *aggregators))
        if one != options["baseline"]
    )
    if len(singles) < len({*models, *aggregators}):
        raise UsageError(f"--aggregators: {options['baseline']} is the baseline: a mixture with it costs more")
    mixtures = [one.system.mixture for one in singles if one.system.mixture is not None]
    spec = prepare(prompts, mixtures, **options)
    require_worst_cases(spec.settings, {mixture.name: mixture for mixture in mixtures}, ())
    _require_price(spec)
    order = list(spec.instructions)
    random.Random(f"race/{spec.seed}").shuffle(order)
    held_out = round(len(order) * holdout)
    if held_out and min(held_out, len(order) - held_out) < race.MIN_PROMPTS:
        raise UsageError(f"--holdout {holdout:g} of {len(order)} prompts leaves too few: {race.MIN_PROMPTS} are least")
    return Search(
        spec=spec,
        singles=singles,
        models=models,
        aggregators=aggregators,
        race=tuple(order[held_out:]),
        holdout=tuple(order[:held_out]),
        max_cost_ratio=max_cost_ratio,
        deadline_s=deadline_s,
    )


def _require_price(spec: Spec) -> None:
    """Make sure that it will be known what the baseline costs."""
    baseline, what = spec.baseline, "a search compares costs, and the baseline's"
    assert baseline is not None  # `prepare_search` has refused a search without one
    if baseline.outputs is not None:
        if baseline.price is None or any(output.usage is None for output in baseline.outputs.values()):
            raise UsageError(f"{what} is unknown: give --baseline-price, and a file whose rows have `usage`")
    elif baseline.mixture is not None:
        rates = price_list(spec.settings, [baseline.mixture], ())
        unpriced = [reference for reference, price in rates.items() if None in price.values()]
        if unpriced:
            raise UsageError(f"{what} is unknown: set `prices:` for the endpoint of {', '.join(unpriced)}")


def candidates_of(search: Search, affordable: Mapping[tuple[str, str], int] | None = None) -> list[Candidate]:
    """Return every mixture that could be tried; without measured tokens, Self-MoA at equal calls alone."""
    return list(mixtures_of(search.models, search.aggregators, search.agents, affordable or {}))


async def run_search(search: Search, out: Path, on_progress: OnProgress) -> Found:
    """Search, or go on with a search that was interrupted.

    Args:
        search: What is looked for.
        out: The run directory.
        on_progress: Hears after every step.

    Raises:
        MoaError: Asking on is of no use, or nothing can be written down.
    """
    async with opened(search.spec, out) as run:
        run.store.write_prompts(search.spec.instructions)
        await keep_given(search.spec, run.store)

        async def ask(pool: Sequence[Candidate], size: int) -> Mapping[str, Answers]:
            run.folder.add_systems(one.system.entry() for one in pool)
            systems = (*search.spec.systems, *(one.system for one in pool))
            spec = replace(search.spec, systems=systems, instructions=search.everything[:size])
            fill = Fill(spec, table_of(spec, run.store), on_progress)
            await fill.run(run.engine, run.spent())
            if fill.ended == "budget":
                raise BudgetUsedUp
            return _answers_of(search, table_of(replace(spec, instructions=search.spec.instructions), run.store))

        found = await decide(search, ask)
        spent = run.spent()
        total_usd = spent.cached_usd + spent.lost_usd
        return replace(found, spent_usd=total_usd, lost_usd=spent.lost_usd, unpriced=spent.unpriced)


def _answers_of(search: Search, table: Table) -> dict[str, Answers]:
    rows = np.array([table.rows[one.index] for one in search.everything])
    found = {system: known.at(rows) for system, known in table.answers.items()}
    return {
        system: Answers(
            advantages=_advantages(search, table, system)[rows],
            answered=known.is_there,
            usd=known.cost_usd,
            seconds=known.seconds,
            output_tokens=known.output_tokens,
        )
        for system, known in found.items()
    }


def _advantages(search: Search, table: Table, system: str) -> Floats:
    """Points above the baseline on each prompt; a system without an output scores nothing."""
    measure, baseline = search.spec.rests_on, search.baseline.name
    if system == baseline:
        return np.full(len(table.instructions), np.nan)
    column = table.judging if measure is None else table.measuring[measure]
    equal = 0.5 if measure is None else table.all_rows(column, baseline)[0].won
    is_known = table.answers[system].is_there & table.answers[baseline].has_output
    return np.where(is_known, 100.0 * (table.all_rows(column, system)[0].won - equal), np.nan)


async def decide(search: Search, ask: Ask) -> Found:
    """Return what a search comes to: the models alone, then races of mixtures, then what the race has not seen.

    Args:
        search: What is looked for.
        ask: Answers; it may raise `BudgetUsedUp`, which ends the search with what there is.
    """
    race_ = _Race(search, ask)
    ended: Ended = "complete"
    try:
        await race_.run()
    except BudgetUsedUp:
        ended = "budget"
    return race_.found(ended)


class _Race:
    """The candidates of one search, and what is known of them so far."""

    def __init__(self, search: Search, ask: Ask) -> None:
        self._search, self._ask = search, ask
        self._raced: dict[str, Raced] = {}
        self._answers: Mapping[str, Answers] = {}
        self._critical, self._lead_critical = critical_values(np.zeros((0, len(search.singles))))

    async def run(self) -> None:
        """Go as far as the budget lasts."""
        search = self._search
        await self._take((), len(search.everything))
        if not any(np.any(~np.isnan(self._answers[one.name].advantages)) for one in search.singles):
            raise EvaluationDataError(
                f"nothing can be compared with {search.baseline.name}: it has answered no prompt, or no answer could "
                "be scored"
            )
        pool = self._admitted()
        sizes = race.look_sizes(len(search.race))
        for size in sizes:
            if not pool:
                return
            await self._take(pool, size)
            if size == sizes[0]:
                self._critical, self._lead_critical = critical_values(self._columns(pool, size))
            if size < sizes[-1]:
                pool = self._going_on(pool, size, max(MIN_GOING_ON, math.ceil(len(pool) / 2)))
        if search.holdout and pool:
            # Only one is asked what the race has not seen, and only that counts as evidence.
            await self._take(self._going_on(pool, sizes[-1], 1), len(search.everything))

    async def _take(self, pool: Sequence[Candidate], size: int) -> None:
        search = self._search
        self._answers = await self._ask(pool, size)
        for one in (*search.singles, *pool):
            answers, before = self._answers[one.name], self._raced.get(one.name)
            last = int(np.max(np.nonzero(answers.answered[search.evidence])[0], initial=-1)) + 1
            self._raced[one.name] = Raced(
                candidate=one,
                prompts=size,
                advantages=answers.advantages[search.evidence][:last],
                usd=_mean(answers.usd),
                p95_s=_p95(answers.seconds),
                bounds=None if before is None else before.bounds,
            )

    def _admitted(self) -> list[Candidate]:
        """The mixtures that enter the race: those that may meet cost and deadline and promise most."""
        search = self._search
        prompt_tokens = np.array(
            [float(estimated_conversation_tokens(conversation(one.prompt))) for one in search.everything]
        )
        alone = {one.aggregator: self._answers[one.name] for one in search.singles}
        limit_usd = search.max_cost_ratio * self._baseline_usd
        affordable = {
            (model, aggregator): affordable_samples(alone[model], prompt_tokens, search.price(aggregator), limit_usd)
            for model in search.models
            for aggregator in search.aggregators
        }
        inside: list[tuple[Candidate, float, float]] = []  # each with what it promises, and the dollars it may save
        for one in candidates_of(search, affordable):
            agent = search.agents[one.aggregator]
            bounds = bounds_of(one, alone, prompt_tokens, search.price(one.aggregator), agent.max_tokens)
            scores = np.column_stack([self._answers[member].advantages for member in dict.fromkeys(one.members)])
            reason = self._out_of_bounds(one, bounds, scores)
            self._raced[one.name] = Raced(candidate=one, advantages=np.array([]), bounds=bounds, left_out=reason)
            if reason is None:
                inside.append((one, race.promise(scores), limit_usd - bounds.low_usd))
        least = min((promise for _, promise, _ in inside), default=0.0) - 1.0
        inside.sort(key=lambda entry: -(entry[1] - least) * entry[2])
        for one, _, _ in inside[MOST_RACED:]:
            self._raced[one.name] = replace(self._raced[one.name], left_out=UNPROMISING)
        return [one for one, _, _ in inside[:MOST_RACED]]

    def _out_of_bounds(self, one: Candidate, bounds: Bounds, scores: Floats) -> str | None:
        search = self._search
        if bounds.low_usd > search.max_cost_ratio * self._baseline_usd:
            return "it costs too much, whatever its aggregator writes"
        if search.deadline_s is not None and bounds.low_s > search.deadline_s:
            return "its members alone are too slow"
        best = race.shown(scores[search.evidence].max(axis=1), race.critical_value(np.zeros((0, 1))))
        if one.form == "selection" and best.low < -search.spec.margin:
            return "even the best proposal of every prompt is not shown to be good enough"
        return None

    def _columns(self, pool: Sequence[Candidate], size: int) -> Floats:
        """The candidates that claims may be made of; each of them, as far as all have answered."""
        if self._search.holdout:  # one mixture, chosen before its evidence is seen, and the models alone
            return np.zeros((0, 1 + len(self._search.singles)))
        return np.column_stack([self._answers[one.name].advantages[:size] for one in (*pool, *self._search.singles)])

    def _going_on(self, pool: Sequence[Candidate], size: int, keep: int) -> list[Candidate]:
        """Those that may still be shown good enough, cheap and quick enough, by the dollars that they may save."""
        search = self._search
        alone = np.column_stack([self._answers[one.name].advantages[: len(search.race)] for one in search.singles])
        expected: dict[str, float] = {}
        for one in pool:
            raced, advantages = self._raced[one.name], self._answers[one.name].advantages[:size]
            if is_eligible(raced, search, self._baseline_usd):
                chance = race.prospect(advantages, alone, margin=search.spec.margin, critical=self._critical)
                if chance >= race.HOPELESS:
                    expected[one.name] = chance * max(self._baseline_usd - (raced.usd or 0.0), 1e-12)
        best = sorted(expected, key=lambda name: -expected[name])[:keep]
        return [one for one in pool if one.name in best]

    @property
    def _baseline_usd(self) -> float:
        return _mean(self._answers[self._search.baseline.name].usd) or 0.0

    def found(self, ended: Ended) -> Found:
        """What there is by now."""
        search = self._search
        mixtures = [one for one in self._raced.values() if one.candidate.form != "single"]
        mixtures = [one for one in mixtures if one.left_out in (None, UNPROMISING)]
        seconds = self._answers[search.baseline.name].seconds if self._answers else np.array([])
        return Found(
            search=search,
            ended=ended,
            raced=tuple(self._raced.values()),
            critical=self._critical,
            lead_critical=self._lead_critical,
            baseline_usd=self._baseline_usd if self._answers else 0.0,
            baseline_s=_p95(seconds),
            spent_usd=0.0,
            calls=sum(one.prompts for one in mixtures),
            brute_force=len(mixtures) * len(search.everything),
        )


def critical_values(columns: Floats) -> tuple[float, float]:
    """Return how many standard errors away bounds are: to be good enough, and to be better than a model alone."""
    return race.critical_value(columns, race.LEVEL), race.critical_value(columns, race.LEAD_LEVEL)


def is_eligible(one: Raced, search: Search, baseline_usd: float) -> bool:
    """Return whether a candidate is as cheap and as quick as a winner has to be."""
    if one.usd is None or one.usd > search.max_cost_ratio * baseline_usd:
        return False
    return search.deadline_s is None or (one.p95_s is not None and one.p95_s <= search.deadline_s)


def _mean(values: Floats) -> float | None:
    """The mean of what is known, None if nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _p95(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(np.percentile(known, 95)) if len(known) else None
