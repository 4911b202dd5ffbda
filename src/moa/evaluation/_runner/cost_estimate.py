"""What an evaluation would take before anything is bought: calls, tokens, dollars, minutes, and what they rest on."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from moa._engine.forecast import prompt_tokens
from moa._ledger import Pricer
from moa._messages import conversation
from moa._mixture.loading import single
from moa._mixture.schema import Agent
from moa._pricing.price import Price
from moa._usage import TokenUsage
from moa.evaluation._judges.checks import CONTROL_PAIRS, ORDER_PAIRS
from moa.evaluation._runner.preparing import Prepared
from moa.evaluation._runner.pricing import pricer_of
from moa.evaluation._runner.run_directory import RunDirectory
from moa.evaluation._runner.store import CellStore
from moa.evaluation._runner.systems import System
from moa.evaluation._runner.table import Table, table_of
from moa.providers._token_estimates import estimated_conversation_tokens, estimated_tokens

OUTPUT_TOKENS = 400
"""What an answer is assumed to have, or max_tokens if that is less.

Source: outputs of the 223 models on AlpacaEval's leaderboard have 1,552 characters on average.
"""

CHOICE_TOKENS = 10
"""What an aggregator writes that only picks a proposal: its number, as JSON."""

VERDICT_TOKENS = 60
JUDGE_PROMPT_TOKENS = 400
"""What a judge's prompt has besides the instruction and both outputs: the official template has 1,655 bytes."""

TOKENS_PER_S = 60.0
"""How fast a model is assumed to write."""

FIRST_TOKEN_S = 0.6
"""What a call is assumed to take until the first token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one system, or the judging, takes.

    Attributes:
        name: The system's name, or `judging`.
        calls: How many.
        input_tokens: Of all prompts, by estimate.
        output_tokens: Of all replies, by assumption.
        priced_usd: US dollars of the calls whose price is known.
        unpriced: References of the models whose price is not.
        seconds: Of all prompts one after another, the calls of a layer side by side.
    """

    name: str
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    priced_usd: Decimal = Decimal(0)
    unpriced: tuple[str, ...] = ()
    seconds: float = 0.0

    def __add__(self, other: "Need") -> "Need":
        """Add all but the name."""
        return Need(
            name=self.name,
            calls=self.calls + other.calls,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            priced_usd=self.priced_usd + other.priced_usd,
            unpriced=tuple(sorted({*self.unpriced, *other.unpriced})),
            seconds=self.seconds + other.seconds,
        )

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; `cost_usd` is null if any price is unknown."""
        return {
            "name": self.name,
            "calls": self.calls,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": None if self.unpriced else float(self.priced_usd),
            "priced_usd": float(self.priced_usd),
            "unpriced": list(self.unpriced),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an evaluation would take, by system.

    Attributes:
        needs: Of each system that has calls, and of the judging.
        prompts: How many prompts.
        concurrency: Answers and verdicts under way at once.
    """

    needs: tuple[Need, ...]
    prompts: int
    concurrency: int

    @property
    def total(self) -> Need:
        """All of it."""
        return sum(self.needs, Need(name="total"))

    @property
    def minutes(self) -> float:
        """Of wall time, if nobody limits the rate."""
        return self.total.seconds / self.concurrency / 60.0

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
        return (
            f"An answer has {OUTPUT_TOKENS} tokens, or max_tokens if that is less; a prompt has one for every 4 bytes.",
            f"A model takes {FIRST_TOKEN_S:g} s to its first token and writes {TOKENS_PER_S:g} tokens a second.",
            f"{self.concurrency} answers and verdicts are under way at once; nobody limits the rate, no call fails.",
            "What two systems ask alike is bought once: members alone cost nothing beside their mixture.",
            f"A judge's prompt has both outputs and {JUDGE_PROMPT_TOKENS} tokens more.",
            "All outputs differ: systems with the same one share a verdict, which costs less.",
        )


def plan(prepared: Prepared, table: Table | None = None) -> Plan:
    """Return what is still to be bought; looks up prices, which takes a second.

    Args:
        prepared: The evaluation.
        table: What is there already.
    """
    spec, calls = prepared.setup, _Calls(prepared)
    there = {
        system.name: {one.index for one in spec.instructions if table and table.has_output(system.name, one.index)}
        for system in spec.asked
    }
    for system in spec.asked:
        calls.answers(system, there[system.name])
    everything = {one.index for one in spec.instructions}
    needs = [calls.answers(system, everything - there[system.name]) for system in spec.asked]
    if spec.judge is not None:
        judged = {system.name: table.verdicts[system.name].keys() if table else () for system in spec.judged}
        open_pairs = [everything.difference(one) for one in judged.values()]
        needs.append(sum(map(calls.verdicts, open_pairs), Need(name="judging")))
        if spec.checks_judge:
            needs.append(sum(map(calls.checks, open_pairs), Need(name="judge checks")))
    return Plan(needs=tuple(needs), prompts=len(spec.instructions), concurrency=spec.concurrency)


def plan_rest(prepared: Prepared, out: Path | None) -> Plan:
    """Return what is still to be bought for a run directory; all of it if there is none.

    Raises:
        EvaluationDataError: The directory can't be read.
    """
    folder = None if out is None else RunDirectory(out)
    if folder is None or not folder.cells.exists():
        return plan(prepared)
    prepared, store = prepared.with_earlier(folder.manifest()), CellStore(folder.cells, read_only=True)
    try:
        return plan(prepared, table_of(prepared.setup, store))
    finally:
        store.close()


class _Calls:
    """What answers and verdicts take. A call that two systems make alike about a prompt counts once."""

    def __init__(self, prepared: Prepared) -> None:
        self._settings, self._spec = prepared.settings, prepared.setup
        self._conversation_tokens = {
            one.index: estimated_conversation_tokens(conversation(one.prompt)) for one in prepared.setup.instructions
        }
        self._made: dict[object, set[int]] = {}
        self._pricers: dict[tuple[str, Price | None], Pricer] = {}

    def answers(self, system: System, indices: set[int]) -> Need:
        """Return what a system takes for some prompts, besides calls that were counted before."""
        total, mixture = Need(name=system.name), system.mixture
        if mixture is None:
            return total
        shown, before = list[int](), ""
        for layer in mixture.layers:
            total += self._calls(layer.proposers, indices, prompt_tokens(shown), before)
            shown = [_output_tokens(agent) for agent in layer.proposers for _ in range(agent.samples)]
            before += repr((layer.proposers, mixture.prompt, mixture.aggregation))
        picks = mixture.aggregation == "selection" and bool(mixture.layers)
        last = mixture.aggregator.model_copy(update={"max_tokens": CHOICE_TOKENS}) if picks else mixture.aggregator
        return total + self._calls((last,), indices, prompt_tokens(shown), before)

    def verdicts(self, indices: set[int]) -> Need:
        """Return what verdicts take: two replies of a judge that is shown both orders, one word of the others."""
        judge = self._spec.judge
        both = judge is not None and judge.shows_both
        models = () if judge is None else judge.models
        agents = [single(model, max_tokens=VERDICT_TOKENS if both else 1).aggregator for model in models]
        once = self._calls(agents, indices, JUDGE_PROMPT_TOKENS + 2 * OUTPUT_TOKENS, None)
        return replace(once + once, seconds=once.seconds) if both else once

    def checks(self, indices: set[int]) -> Need:
        """Return what checking the judge on one system's pairs takes: the other order of some, and control pairs."""
        judge, systems = self._spec.judge, max(1, len(self._spec.judged))
        controls = set(sorted(indices)[: math.ceil(CONTROL_PAIRS / systems)])
        if judge is None or judge.shows_both:
            return self.verdicts(controls)
        tried = self.verdicts(set(sorted(indices)[:ORDER_PAIRS]))
        return tried + self.verdicts(controls) + self.verdicts(controls)

    def _calls(self, agents: Sequence[Agent], indices: set[int], tokens: int, before: str | None) -> Need:
        """What agents take that are asked side by side; those before them tell their prompts apart."""
        total, slowest_s, numbers = Need(name=""), 0.0, Counter[object]()
        for agent in agents:
            content = (agent.model, agent.role, agent.sampling)
            for _ in range(agent.samples):
                new = indices
                if before is not None and self._spec.shares_replies:
                    made = self._made.setdefault((before, repr(content), numbers[repr(content)]), set())
                    numbers[repr(content)] += 1
                    new = indices - made
                    made |= new
                total += self._call(agent, new, tokens)
                slowest_s = max(slowest_s, len(new) * (FIRST_TOKEN_S + _output_tokens(agent) / TOKENS_PER_S))
        return replace(total, seconds=slowest_s)

    def _call(self, agent: Agent, indices: set[int], tokens: int) -> Need:
        if not indices:
            return Need(name="")
        n, each = len(indices), tokens + estimated_tokens(agent.role or "")
        input_tokens, output_tokens = (
            sum(self._conversation_tokens[index] for index in indices) + n * each,
            _output_tokens(agent),
        )
        key = (agent.model, agent.price)
        if key not in self._pricers:
            self._pricers[key] = pricer_of(self._settings, *key)
        # Of the mean prompt, as the price of a token may depend on how long its prompt is.
        price = self._pricers[key](TokenUsage(input_tokens=round(input_tokens / n), output_tokens=output_tokens))
        return Need(
            name="",
            calls=n,
            input_tokens=input_tokens,
            output_tokens=n * output_tokens,
            priced_usd=n * (price or Decimal(0)),
            unpriced=() if price is not None else (agent.model,),
        )


def _output_tokens(agent: Agent) -> int:
    return min(agent.max_tokens or OUTPUT_TOKENS, OUTPUT_TOKENS)
