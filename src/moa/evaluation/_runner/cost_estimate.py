"""What an evaluation would take before anything is bought: calls, tokens, dollars, minutes, and what they rest on."""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from functools import cache, partial
from itertools import chain
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Any

import numpy as np

from moa._config.settings import Settings
from moa._engine.forecast import (
    FROM_SERVICE,
    CallForecast,
    Expectations,
    Workload,
    reply_assumptions,
)
from moa._engine.plan import Model, Planner, RunOptions, RunPlan
from moa._messages import conversation
from moa._mixture.loading import single
from moa._mixture.schema import Mixture
from moa._policies.profile_store import ProfileStore
from moa._pricing.lookup import in_tier
from moa._pricing.price import Price
from moa.evaluation._judges.base import Judge
from moa.evaluation._judges.checks import CONTROL_PAIRS, ORDER_PAIRS
from moa.evaluation._measures.base import Measure
from moa.evaluation._runner.generation import given_record
from moa.evaluation._runner.pricing import pricer_of
from moa.evaluation._runner.run_directory import RunDirectory
from moa.evaluation._runner.spec import Spec
from moa.evaluation._runner.store import CellStore
from moa.evaluation._runner.systems import System
from moa.evaluation._runner.table import table_of
from moa.providers._batch_jobs.service import TIER
from moa.providers._scripted import ScriptedProvider
from moa.providers._token_estimates import estimated_conversation_tokens, estimated_tokens

VERDICT_TOKENS = 60
JUDGE_PROMPT_TOKENS = 400
"""What a judge's prompt has besides the instruction and both outputs: the official template has 1,655 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one system, or the judging, takes.

    Attributes:
        name: The system's name, or `judging`.
        calls: How many.
        input_tokens: Of all prompts, by estimate.
        cached_input_tokens: Those of `input_tokens` that services are expected to read from their prompt caches.
        output_tokens: Of all replies, as expected.
        priced_usd: US dollars of the calls whose price is known.
        saved_usd: What the prompt caches save of it.
        unpriced: References of the models whose price is not.
    """

    name: str
    calls: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    priced_usd: Decimal = Decimal(0)
    saved_usd: Decimal = Decimal(0)
    unpriced: tuple[str, ...] = ()

    def __add__(self, other: "Need") -> "Need":
        """Add all but the name."""
        return Need(
            name=self.name,
            calls=self.calls + other.calls,
            input_tokens=self.input_tokens + other.input_tokens,
            cached_input_tokens=self.cached_input_tokens + other.cached_input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            priced_usd=self.priced_usd + other.priced_usd,
            saved_usd=self.saved_usd + other.saved_usd,
            unpriced=tuple(sorted({*self.unpriced, *other.unpriced})),
        )

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; `cost_usd` is null if any price is unknown."""
        return {
            **asdict(self),
            "cost_usd": None if self.unpriced else float(self.priced_usd),
            "priced_usd": float(self.priced_usd),
            "saved_usd": float(self.saved_usd),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an evaluation would take, by system.

    Attributes:
        needs: Of each system that has calls, and of the judging.
        prompts: How many prompts.
        concurrency: Answers and verdicts under way at once.
        minutes: Of wall time, if no call fails.
        measured: How many of the calls are of a kind whose earlier replies were measured.
        by_jobs: Whether judges and measures are asked by batch jobs, whose time `minutes` leaves out.
    """

    needs: tuple[Need, ...]
    prompts: int
    concurrency: int
    minutes: float
    measured: int
    by_jobs: bool = False

    @property
    def total(self) -> Need:
        """All of it."""
        return sum(self.needs, Need(name="total"))

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {
            "prompts": self.prompts,
            "systems": [need.as_dict() for need in self.needs],
            "total": self.total.as_dict(),
            "minutes": self.minutes,
            "assumptions": list(self.assumptions),
        }

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the figures rest on, in sentences."""
        measured = f"{self.measured:,} calls are taken to be like earlier calls of the same kind, and all others thus:"
        return (
            *((measured,) if self.measured else ()),
            *reply_assumptions(),
            f"{self.concurrency} answers and verdicts are under way at once, within each endpoint's limits; "
            "no call fails.",
            "What two systems ask alike is bought once: members alone cost nothing beside their mixture.",
            f"A judge's prompt has both outputs and {JUDGE_PROMPT_TOKENS} tokens more, a rubric's the one output.",
            "All outputs differ: systems with the same one share a verdict, which costs less.",
            *(("Batch jobs take minutes to a day, which is not counted.",) if self.by_jobs else ()),
        )


Filled = Mapping[tuple[str, str], set[int]]
"""What a run has already: the indices of prompts, by `ANSWERS` or the name of the judge or measure, and by system."""

ANSWERS = ""

Calls = list[list[tuple[CallForecast, int]]]
"""By layer: each call, with the mean prompt, and how often it is made."""


def plan(spec: Spec, filled: Filled = MappingProxyType({})) -> Plan:
    """Return what is still to be bought; looks up prices, which takes a second.

    Args:
        spec: What is evaluated.
        filled: What is there already.
    """
    planned = _Planned(spec)
    given = [system for system in spec.systems if system.outputs is not None]
    missing = {
        system.name: {one.index for one in spec.instructions if not given_record(system, one).has_output}
        for system in given
    }

    def left(what: str, systems: Iterable[System], opponent: System | None = None) -> list[set[int]]:
        asked = planned.prompts - (set() if opponent is None else missing.get(opponent.name, set()))
        return [asked - filled.get((what, one.name), set()) - missing.get(one.name, set()) for one in systems]

    unanswered = left(ANSWERS, spec.asked)
    for system, indices in zip(spec.asked, unanswered, strict=True):
        planned.calls(system, planned.prompts - indices)  # those are made
    needs = [planned.answers(system, indices) for system, indices in zip(spec.asked, unanswered, strict=True)]
    if spec.judge is not None:
        pairs = left(spec.judge.name, spec.judged, spec.opponent)
        needs.append(planned.verdicts("judging", spec.judge, pairs))
        if spec.checks_judge:
            needs.append(planned.verdicts("judge checks", spec.judge, _checked(spec.judge, pairs)))
    needs += [planned.scores(one, left(one.name, spec.systems)) for one in spec.measures if one.models]
    return Plan(
        needs=tuple(needs),
        prompts=len(spec.instructions),
        concurrency=spec.concurrency,
        minutes=planned.workload.seconds(spec.concurrency) / 60.0,
        measured=planned.measured,
        by_jobs=spec.half_price,
    )


def _checked(judge: Judge, pairs: Sequence[set[int]]) -> list[set[int]]:
    """The pairs on which a judge is checked, by system: shown the other order of some, and with control pairs."""
    most = math.ceil(CONTROL_PAIRS / max(1, len(pairs)))
    controls = [set(sorted(indices)[:most]) for indices in pairs]
    if judge.shows_both:
        return controls
    return [*(set(sorted(indices)[:ORDER_PAIRS]) for indices in pairs), *controls, *controls]


def plan_rest(spec: Spec, out: Path | None) -> Plan:
    """Return what is still to be bought for a run directory; all of it if there is none.

    Raises:
        EvaluationDataError: The directory can't be read.
    """
    folder = None if out is None else RunDirectory(out)
    if folder is None or not folder.cells.exists():
        return plan(spec)
    spec = spec.with_earlier(folder.manifest())
    with closing(CellStore(folder.cells, read_only=True)) as store:
        return plan(spec, _filled(spec, store))


def _filled(spec: Spec, store: CellStore) -> Filled:
    # What asks no model costs nothing, and isn't counted.
    spec = replace(spec, measures=tuple(one for one in spec.measures if one.models))
    table, indices = table_of(spec, store, has_figures=False), np.array([one.index for one in spec.instructions])
    filled = {(ANSWERS, name): set(indices[one.has_output].tolist()) for name, one in table.answers.items()}
    for column in table.columns:
        for name, is_known in column.is_known.items():
            is_final = is_known & np.array([failure is None for failure in column.found[name].failure])
            if name not in spec.mixtures:
                is_final |= ~table.answers[name].has_output  # of a file that has no more
            filled[column.name, name] = set(indices[is_final].tolist())
    return filled


class _PricedModels:
    """Models that have a price and are not asked.

    Args:
        settings: Their endpoints.
        by_jobs: Whether those whose endpoint has a batch API are priced as in its jobs.
    """

    def __init__(self, settings: Settings, *, by_jobs: bool = False) -> None:
        self._settings, self._by_jobs = settings, by_jobs
        self._provider = ScriptedProvider("")

    def model(self, reference: str, price: Price | None) -> Model:
        endpoint = self._settings.endpoints.get(reference.partition("/")[0])
        pricer, tier = pricer_of(self._settings, reference, price), endpoint.tier if endpoint else None
        if self._by_jobs and endpoint is not None and endpoint.batch is not None:
            pricer, tier = partial(in_tier, pricer, TIER), None
        pricer = cache(pricer)  # most calls of a system have the same tokens
        return Model(reference=reference, id=reference, provider=self._provider, price=pricer, tier=tier)

    async def prices_ready(self) -> None:
        """They are looked up when they are asked for."""


class _Planned:
    """What answers and verdicts take. A call that two systems make alike about a prompt counts once."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._tokens = {one.index: estimated_conversation_tokens(conversation(one.prompt)) for one in spec.instructions}
        self.prompts = self._tokens.keys()
        self._made: dict[object, set[int]] = {}
        self._planner = Planner(_PricedModels(spec.settings))
        self._judging_planner = Planner(_PricedModels(spec.settings, by_jobs=spec.half_price))
        measured = ProfileStore(spec.settings.profiles).statistics()
        self._expectations = Expectations(endpoints=spec.settings.endpoints, measured=measured)
        self._longest_answer_s = 0.0
        self._answer_tokens = round(fmean(map(self._tokens_of_answer, spec.systems)))
        self.workload, self.measured = Workload(self._expectations), 0

    def calls(self, system: System, indices: set[int]) -> Calls:
        """Return the calls about some prompts that no system has made before; from now on they count as made."""
        if system.mixture is None:
            return []
        found: Calls = []
        before = ""  # what was asked before a call tells prompts apart
        for number, calls in enumerate(self._expectations.calls(self._plan(system.mixture))):
            found.append([self._about(call, self._still_to_make(call, indices, before)) for call in calls])
            if number < len(system.mixture.layers):
                layer = system.mixture.layers[number]
                before += repr((layer.proposers, system.mixture.prompt, system.mixture.aggregation))
        return found

    def answers(self, system: System, indices: set[int]) -> Need:
        """Return what a system takes for some prompts, besides calls that were counted before."""
        calls = self.calls(system, indices)
        self._longest_answer_s = max(self._longest_answer_s, self.workload.add(calls, len(indices)))
        return self._need(system.name, calls)

    def verdicts(self, name: str, judge: Judge, pairs: Iterable[set[int]]) -> Need:
        """Return what verdicts take: two replies of a judge that is shown both orders, one word of the others."""
        replies, most_tokens = (2, VERDICT_TOKENS) if judge.shows_both else (1, 1)
        return self._judged(name, judge.models, pairs, outputs=2, replies=replies, most_tokens=most_tokens)

    def scores(self, measure: Measure, outputs: Iterable[set[int]]) -> Need:
        """Return what a measure's scores take that asks models: one reply of each."""
        return self._judged(measure.name, measure.models, outputs, outputs=1, replies=1, most_tokens=VERDICT_TOKENS)

    def _judged(
        self,
        name: str,
        models: Iterable[str],
        asked: Iterable[set[int]],
        *,
        outputs: int,
        replies: int,
        most_tokens: int,
    ) -> Need:
        """What models take that are shown so many outputs, by system; they reply with a single word, or a verdict."""
        shown, need = JUDGE_PROMPT_TOKENS + outputs * self._answer_tokens, Need(name=name)
        plans = [self._judging_planner.plan(single(one, max_tokens=most_tokens), RunOptions()) for one in models]
        replying = [self._expectations.calls(one, shown)[0][0] for one in plans]
        if most_tokens > 1:
            replying = [self._expectations.as_verdict(call) for call in replying]
        for indices in asked:
            calls = [[self._about(call, indices) for call in replying * replies]]
            if not self._spec.half_price:
                self.workload.add(calls, len(indices), after_s=self._longest_answer_s)
            need += self._need(name, calls)
        return need

    def _tokens_of_answer(self, system: System) -> float:
        if system.mixture is None:
            outputs = [one for one in (system.outputs or {}).values() if one.output]
            return fmean(estimated_tokens(one.output) for one in outputs) if outputs else FROM_SERVICE.output_tokens
        *_, (last,) = self._expectations.calls(self._plan(system.mixture))
        return last.usage.output_tokens if system.mixture.aggregation == "synthesis" else FROM_SERVICE.output_tokens

    def _plan(self, mixture: Mixture) -> RunPlan:
        return self._planner.plan(mixture, RunOptions())

    def _still_to_make(self, call: CallForecast, indices: set[int], before: str) -> set[int]:
        """The prompts about which a call is still to be made; from now on it counts as made."""
        if not self._spec.shares_replies:
            return indices
        agent = call.slot.agent
        made = self._made.setdefault((before, repr((agent.model, agent.role, agent.sampling)), call.slot.sample), set())
        new = indices - made
        made |= new
        return new

    def _about(self, call: CallForecast, indices: set[int]) -> tuple[CallForecast, int]:
        """A call with the mean prompt of some, as a token's price may depend on its length; and their number."""
        tokens = round(fmean(self._tokens[index] for index in indices)) if indices else 0
        return self._expectations.with_prompt(call, tokens), len(indices)

    def _need(self, name: str, calls: Calls) -> Need:
        need = Need(name=name)
        for call, n in chain.from_iterable(calls):
            if not n:
                continue
            self.measured += n if self._expectations.is_measured(call) else 0
            cost, uncached = call.cost_usd, call.uncached_usd
            need += Need(
                name=name,
                calls=n,
                input_tokens=n * call.usage.input_tokens,
                cached_input_tokens=n * call.usage.cached_input_tokens,
                output_tokens=n * call.usage.output_tokens,
                priced_usd=n * (cost or Decimal(0)),
                saved_usd=Decimal(0) if cost is None or uncached is None else n * (uncached - cost),
                unpriced=() if cost is not None else (call.slot.models[0].reference,),
            )
        return need
