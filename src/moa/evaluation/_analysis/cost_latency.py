"""What a system's answers cost and how long they took, out of the books of its real calls. Unknown stays unknown."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from moa._ledger import Call
from moa._usage import Spend, TokenUsage
from moa.evaluation._runner.records import AnswerColumns, AnswerTrace, Record
from moa.evaluation._statistics.array_types import Floats

Place = tuple[int, str, str]
"""Layer, agent and model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """US dollars per 1,000 prompts.

    Attributes:
        usd: Of all calls; None if any has no known price.
        priced_usd: Of those whose price is known, whatever `usd` is.
        estimated_usd: Of usage that had to be estimated (calls cut off, files without token counts); not part of the
            others.
        about_usd: Of all calls, with what had to be estimated; None if any has no known price.
        input_tokens: Tokens per prompt, mean; None if unknown.
        cached_input_tokens: Those of them that services read from their prompt caches; None if unknown.
        output_tokens: Tokens per prompt, mean; None if unknown.
        saved_usd: What these caches saved of `priced_usd`, below 0 if only writing to them was paid; None if unknown.
    """

    usd: float | None
    priced_usd: float
    estimated_usd: float
    about_usd: float | None
    input_tokens: float | None
    cached_input_tokens: float | None
    output_tokens: float | None
    saved_usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Seconds.

    Attributes:
        n: How many answers they come from.
    """

    p50: float
    p95: float
    p99: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLatency:
    """Cost and latency of one system.

    Attributes:
        prompts: How many it was asked.
        cost: Of all calls.
        by_place: Of each agent in its layer, dearest first.
        by_layer: Of each layer, the first one first; the aggregator is the last.
        total: Time to the whole answer; None if unknown.
        first_token: Time to the first token; None if unknown.
        critical_share: Of the critical path's time, 0-1, by agent, longest first; empty if unknown.
    """

    prompts: int
    cost: Cost
    by_place: Mapping[Place, Cost]
    by_layer: Mapping[int, Cost]
    total: Percentiles | None
    first_token: Percentiles | None
    critical_share: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        places = self.by_place.items()
        return {
            "prompts": self.prompts,
            "per_1000_prompts": asdict(self.cost),
            "by_agent": [
                {"layer": layer, "agent": agent, "model": model, **asdict(cost)}
                for (layer, agent, model), cost in places
            ],
            "by_layer": [{"layer": layer, **asdict(cost)} for layer, cost in self.by_layer.items()],
            "total_s": None if self.total is None else asdict(self.total),
            "first_token_s": None if self.first_token is None else asdict(self.first_token),
            "critical_path_share": dict(self.critical_share),
        }


class CallSums:
    """Sums up the calls of a system's answers, which come one after another."""

    def __init__(self) -> None:
        self.by_place: defaultdict[Place, _Sum] = defaultdict(_Sum)
        self.by_layer: defaultdict[int, _Sum] = defaultdict(_Sum)
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def add(self, record: Record, trace: AnswerTrace) -> None:
        """Take an answer in, given how it came about."""
        for call in trace.calls:
            self.by_place[call.layer, call.agent, call.model].add(call)
            self.by_layer[call.layer].add(call)
        for layer in trace.layers if record.has_output else ():
            if layer.roster:
                slowest = max(layer.roster, key=lambda proposal: proposal.duration_s)
                self._seconds[slowest.agent] += layer.duration_s
        if record.has_output and record.aggregation_s:
            self._seconds["aggregator" if trace.layers else record.agent or "model"] += record.aggregation_s

    def critical_share(self) -> dict[str, float]:
        """Return which part of the critical path's time each agent is to blame for, longest first.

        In each layer it is the proposer that was still running when the layer closed, or the last one to end.
        """
        total, longest_first = sum(self._seconds.values()), sorted(self._seconds.items(), key=lambda entry: -entry[1])
        return {agent: time / total for agent, time in longest_first} if total else {}


def economics(answers: AnswerColumns, calls: CallSums | None = None) -> CostLatency | None:
    """Return what a system's answers cost and how long they took.

    Args:
        answers: What is known of them; those that failed were paid for and count.
        calls: Of all of them; without, nothing is said of agents and layers.

    Returns:
        The figures, or None without any answer.
    """
    prompts, calls = answers.asked, calls or CallSums()
    if not prompts:
        return None
    timed, by_place = (
        answers.at(answers.has_output),
        {place: one.cost(prompts) for place, one in calls.by_place.items()},
    )
    return CostLatency(
        prompts=prompts,
        cost=_system_cost(answers.at(answers.is_there)),
        by_place=dict(sorted(by_place.items(), key=lambda entry: -entry[1].priced_usd)),
        by_layer={layer: one.cost(prompts) for layer, one in sorted(calls.by_layer.items())},
        total=percentiles(timed.seconds),
        first_token=percentiles(timed.first_token_s),
        critical_share=calls.critical_share(),
    )


def percentiles(seconds: Floats) -> Percentiles | None:
    """Return the percentiles of the times that are known, None if none is."""
    known = seconds[~np.isnan(seconds)]
    if not len(known):
        return None
    p50, p95, p99 = (float(value) for value in np.percentile(known, [50, 95, 99]))
    return Percentiles(p50=p50, p95=p95, p99=p99, n=len(known))


def _system_cost(answers: AnswerColumns) -> Cost:
    n = len(answers.cost_usd)

    def mean(column: Floats) -> float | None:
        return None if np.isnan(column).any() else sum(column.tolist()) / n

    def per_1000(column: Floats) -> float | None:
        return None if np.isnan(column).any() else 1000 * sum(column.tolist()) / n

    # Of a given output that has no token counts, all of the cost is an estimate; of an asked one, part of it may be.
    is_estimate = np.isnan(answers.output_tokens) & (answers.estimated_usd != 0)
    about = np.where(np.isnan(answers.cost_usd) & ~is_estimate, np.nan, answers.priced_usd + answers.estimated_usd)
    return Cost(
        usd=per_1000(answers.cost_usd),
        priced_usd=per_1000(answers.priced_usd) or 0.0,
        estimated_usd=per_1000(answers.estimated_usd) or 0.0,
        about_usd=per_1000(about),
        input_tokens=mean(answers.input_tokens),
        cached_input_tokens=mean(answers.cached_input_tokens),
        output_tokens=mean(answers.output_tokens),
        saved_usd=per_1000(answers.saved_usd),
    )


class _Sum:
    """What some calls cost."""

    def __init__(self) -> None:
        self._spend, self._usage = Spend(), TokenUsage()

    def add(self, call: Call) -> None:
        self._spend, self._usage = self._spend + call.spend, self._usage + call.usage

    def cost(self, prompts: int) -> Cost:
        spend, usage = self._spend, self._usage
        return Cost(
            usd=None if spend.cost_usd is None else 1000 * float(spend.cost_usd) / prompts,
            priced_usd=1000 * float(spend.priced_usd) / prompts,
            estimated_usd=1000 * float(spend.estimated_usd) / prompts,
            about_usd=None if spend.cost_usd is None else 1000 * float(spend.cost_usd + spend.estimated_usd) / prompts,
            input_tokens=usage.input_tokens / prompts,
            cached_input_tokens=usage.cached_input_tokens / prompts,
            output_tokens=usage.output_tokens / prompts,
            saved_usd=1000 * float(spend.saved_usd) / prompts,
        )
