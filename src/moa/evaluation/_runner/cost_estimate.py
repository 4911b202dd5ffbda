"""What an evaluation would take before anything is bought: calls, tokens, dollars, minutes, and what they rest on."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache, partial
from pathlib import Path
from statistics import fmean
from typing import Any

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
from moa.evaluation._judges.checks import CONTROL_PAIRS, ORDER_PAIRS
from moa.evaluation._measures.base import Measure
from moa.evaluation._runner.generation import given_record
from moa.evaluation._runner.pricing import pricer_of
from moa.evaluation._runner.run_directory import RunDirectory
from moa.evaluation._runner.spec import Spec
from moa.evaluation._runner.store import CellStore, outputs_key, row_text
from moa.evaluation._runner.systems import System
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
            "name": self.name,
            "calls": self.calls,
            "input_tokens": self.input_tokens,
            "cached_input_tokens": self.cached_input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": None if self.unpriced else float(self.priced_usd),
            "priced_usd": float(self.priced_usd),
            "saved_usd": float(self.saved_usd),
            "unpriced": list(self.unpriced),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What a run has already: by system, the indices of the prompts on which it has an output and a verdict.

    `scored`: by measure, of those that ask models, and system.
    """

    answered: Mapping[str, set[int]] = field(default_factory=dict)
    judged: Mapping[str, set[int]] = field(default_factory=dict)
    scored: Mapping[tuple[str, str], set[int]] = field(default_factory=dict)


def plan(spec: Spec, filled: Filled = Filled()) -> Plan:
    """Return what is still to be bought; looks up prices, which takes a second.

    Args:
        spec: What is evaluated.
        filled: What is there already.
    """
    calls = _Calls(spec)
    everything = {one.index for one in spec.instructions}
    there = {system.name: filled.answered.get(system.name, set()) for system in spec.asked}
    for system in spec.asked:
        calls.skip(system, there[system.name])
    needs = [calls.answers(system, everything - there[system.name]) for system in spec.asked]
    if spec.judge is not None:
        open_pairs = [everything - filled.judged.get(system.name, set()) for system in spec.judged]
        needs.append(sum(map(calls.verdicts, open_pairs), Need(name="judging")))
        if spec.checks_judge:
            needs.append(sum(map(calls.checks, open_pairs), Need(name="judge checks")))
    for measure in (one for one in spec.measures if one.models):
        scored = [filled.scored.get((measure.name, system.name), set()) for system in spec.systems]
        unscored = (calls.scores(measure, everything - one) for one in scored)
        needs.append(sum(unscored, Need(name=measure.name)))
    return Plan(
        needs=tuple(needs),
        prompts=len(spec.instructions),
        concurrency=spec.concurrency,
        minutes=calls.workload.seconds(spec.concurrency) / 60.0,
        measured=calls.measured,
        by_jobs=spec.half_price,
    )


def plan_rest(spec: Spec, out: Path | None) -> Plan:
    """Return what is still to be bought for a run directory; all of it if there is none.

    Raises:
        EvaluationDataError: The directory can't be read.
    """
    folder = None if out is None else RunDirectory(out)
    if folder is None or not folder.cells.exists():
        return plan(spec)
    spec, store = spec.with_earlier(folder.manifest()), CellStore(folder.cells, read_only=True)
    try:
        return plan(spec, _filled(spec, store))
    finally:
        store.close()


def _filled(spec: Spec, store: CellStore) -> Filled:
    """What a store has; the outputs of two systems at a time are in memory."""
    keys = defaultdict[str, list[int]](list)
    for one in spec.instructions:
        keys[one.key].append(one.index)

    def outputs(system: System) -> dict[str, str]:
        given = [] if system.outputs is None else [(one, given_record(system, one)) for one in spec.instructions]
        stored = {key: output for key, output in store.outputs(system.name) if key in keys}
        return stored | {one.key: record.output for one, record in given if record.has_output}

    theirs = {} if spec.opponent is None else outputs(spec.opponent)
    rows = {one.key: row_text(one) for one in spec.instructions} if spec.measures else {}
    verdicts = set() if spec.judge is None else store.final_keys(spec.judge.name)
    scores = {one.name: store.final_keys(one.name) for one in spec.measures if one.models}
    answered, judged, scored = dict[str, set[int]](), dict[str, set[int]](), dict[tuple[str, str], set[int]]()

    def indices(found: Iterable[str]) -> set[int]:
        return {index for key in found for index in keys[key]}

    for system in spec.systems:
        name, own = system.name, theirs if system is spec.opponent else outputs(system)
        answered[name] = indices(own)
        pairs = ((key, outputs_key(theirs[key], own[key])) for key in own if key in theirs)
        judged[name] = indices(key for key, outputs in pairs if (key, outputs) in verdicts)
        for measure, final in scores.items():
            scored[measure, name] = indices(key for key in own if (key, outputs_key(own[key], rows[key])) in final)
    return Filled(answered=answered, judged=judged, scored=scored)


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


class _Calls:
    """What answers and verdicts take. A call that two systems make alike about a prompt counts once."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._conversation_tokens = {
            one.index: estimated_conversation_tokens(conversation(one.prompt)) for one in spec.instructions
        }
        self._made: dict[object, set[int]] = {}
        self._by_jobs = spec.half_price
        self._planner = Planner(_PricedModels(spec.settings))
        self._judging_planner = Planner(_PricedModels(spec.settings, by_jobs=spec.half_price))
        measured = ProfileStore(spec.settings.profiles).statistics()
        self._expectations = Expectations(endpoints=spec.settings.endpoints, measured=measured)
        self._longest_answer_s = 0.0
        self._answer_tokens = round(fmean(map(self._tokens_of_answer, spec.systems)))
        self.workload, self.measured = Workload(self._expectations), 0

    def skip(self, system: System, indices: set[int]) -> None:
        """Count a system's calls about some prompts as made."""
        for calls in self._layers(system.mixture):
            for call, before in calls:
                self._still_to_make(call, indices, before)

    def answers(self, system: System, indices: set[int]) -> Need:
        """Return what a system takes for some prompts, besides calls that were counted before."""
        layers = [
            [(call, self._still_to_make(call, indices, before)) for call, before in calls]
            for calls in self._layers(system.mixture)
        ]
        self._longest_answer_s = max(self._longest_answer_s, self._add(layers, len(indices)))
        return sum((self._need(call, new) for calls in layers for call, new in calls), Need(name=system.name))

    def verdicts(self, indices: set[int]) -> Need:
        """Return what verdicts take: two replies of a judge that is shown both orders, one word of the others."""
        judge = self._spec.judge
        both = judge is not None and judge.shows_both
        return self._judged(() if judge is None else judge.models, indices, outputs=2, replies=2 if both else None)

    def scores(self, measure: Measure, indices: set[int]) -> Need:
        """Return what a measure's scores take that asks models: one reply of each."""
        return self._judged(measure.models, indices, outputs=1, replies=1)

    def _judged(self, models: Iterable[str], indices: set[int], *, outputs: int, replies: int | None) -> Need:
        """What models take that are shown outputs; no number of replies stands for a single word."""
        calls = []
        for model in models:
            mixture = single(model, max_tokens=VERDICT_TOKENS if replies else 1)
            planned = self._judging_planner.plan(mixture, RunOptions())
            ((call,),) = self._expectations.calls(planned, JUDGE_PROMPT_TOKENS + outputs * self._answer_tokens)
            calls += [(self._expectations.as_verdict(call), indices)] * replies if replies else [(call, indices)]
        if not self._by_jobs:
            self._add([calls], len(indices), after_s=self._longest_answer_s)
        return sum((self._need(call, new) for call, new in calls), Need(name=""))

    def checks(self, indices: set[int]) -> Need:
        """Return what checking the judge on one system's pairs takes: the other order of some, and control pairs."""
        judge, systems = self._spec.judge, max(1, len(self._spec.judged))
        controls = set(sorted(indices)[: math.ceil(CONTROL_PAIRS / systems)])
        if judge is None or judge.shows_both:
            return self.verdicts(controls)
        tried = self.verdicts(set(sorted(indices)[:ORDER_PAIRS]))
        return tried + self.verdicts(controls) + self.verdicts(controls)

    def _tokens_of_answer(self, system: System) -> float:
        if system.mixture is None:
            outputs = [one for one in (system.outputs or {}).values() if one.output]
            return fmean(estimated_tokens(one.output) for one in outputs) if outputs else FROM_SERVICE.output_tokens
        *_, (last,) = self._expectations.calls(self._plan(system.mixture))
        return last.usage.output_tokens if system.mixture.aggregation == "synthesis" else FROM_SERVICE.output_tokens

    def _plan(self, mixture: Mixture) -> RunPlan:
        return self._planner.plan(mixture, RunOptions())

    def _layers(self, mixture: Mixture | None) -> Iterator[list[tuple[CallForecast, str]]]:
        """Each planned call, without the conversation, and what was asked before it, which tells prompts apart."""
        if mixture is None:
            return
        before = ""
        for number, calls in enumerate(self._expectations.calls(self._plan(mixture))):
            yield [(call, before) for call in calls]
            if number < len(mixture.layers):
                before += repr((mixture.layers[number].proposers, mixture.prompt, mixture.aggregation))

    def _still_to_make(self, call: CallForecast, indices: set[int], before: str) -> set[int]:
        """The prompts about which a call is still to be made; from now on it counts as made."""
        if not self._spec.shares_replies:
            return indices
        agent = call.slot.agent
        made = self._made.setdefault((before, repr((agent.model, agent.role, agent.sampling)), call.slot.sample), set())
        new = indices - made
        made |= new
        return new

    def _add(
        self, layers: Iterable[Iterable[tuple[CallForecast, set[int]]]], runs: int, *, after_s: float = 0.0
    ) -> float:
        return self.workload.add(
            [[(self._of_mean_prompt(call, new), len(new)) for call, new in calls] for calls in layers],
            runs,
            after_s=after_s,
        )

    def _of_mean_prompt(self, call: CallForecast, indices: set[int]) -> CallForecast:
        """The call with the mean prompt, as the price of a token may depend on how long its prompt is."""
        tokens = round(sum(self._conversation_tokens[index] for index in indices) / len(indices)) if indices else 0
        return self._expectations.with_prompt(call, tokens)

    def _need(self, call: CallForecast, indices: set[int]) -> Need:
        if not indices:
            return Need(name="")
        n, mean = len(indices), self._of_mean_prompt(call, indices)
        self.measured += n if self._expectations.is_measured(call) else 0
        cost, uncached = mean.cost_usd, mean.uncached_usd
        return Need(
            name="",
            calls=n,
            input_tokens=n * call.usage.input_tokens + sum(self._conversation_tokens[index] for index in indices),
            cached_input_tokens=n * mean.usage.cached_input_tokens,
            output_tokens=n * mean.usage.output_tokens,
            priced_usd=n * (cost or Decimal(0)),
            saved_usd=Decimal(0) if cost is None or uncached is None else n * (uncached - cost),
            unpriced=() if cost is not None else (call.slot.models[0].reference,),
        )
