"""What a system's answers cost and how long they took, out of the books of its real calls. Unknown stays unknown."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from moa._ledger import Call, Ledger
from moa.evaluation._runner.records import AnswerTrace, Record

_NO_TRACES: Mapping[int, AnswerTrace] = {}

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

    def as_dict(self) -> dict[str, float | None]:
        """The figures by name."""
        return asdict(self)


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

    def as_dict(self) -> dict[str, float | int]:
        """The figures by name."""
        return asdict(self)


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
            "per_1000_prompts": self.cost.as_dict(),
            "by_agent": [
                {"layer": layer, "agent": agent, "model": model, **cost.as_dict()}
                for (layer, agent, model), cost in places
            ],
            "by_layer": [{"layer": layer, **cost.as_dict()} for layer, cost in self.by_layer.items()],
            "total_s": None if self.total is None else self.total.as_dict(),
            "first_token_s": None if self.first_token is None else self.first_token.as_dict(),
            "critical_path_share": dict(self.critical_share),
        }


def economics(records: Sequence[Record], traces: Mapping[int, AnswerTrace] = _NO_TRACES) -> CostLatency | None:
    """Return what a system's answers cost and how long they took.

    Args:
        records: Its records; those that failed were paid for and count.
        traces: How they came about, by the prompt's index; without any, nothing is said of agents and layers.

    Returns:
        The figures, or None without any record.
    """
    if not records:
        return None
    timed = [record for record in records if record.has_output]
    calls = [call for one in records if one.index in traces for call in traces[one.index].calls]
    return CostLatency(
        prompts=len(records),
        cost=_system_cost(records),
        by_place=_by_place(calls, len(records)),
        by_layer=_by_layer(calls, len(records)),
        total=percentiles([record.seconds for record in timed]),
        first_token=percentiles([record.first_token_s for record in timed]),
        critical_share=critical_share([(one, traces[one.index]) for one in timed if one.index in traces]),
    )


def percentiles(seconds: Sequence[float | None]) -> Percentiles | None:
    """Return the percentiles of the times that are known, None if none is."""
    known = [value for value in seconds if value is not None]
    if not known:
        return None
    p50, p95, p99 = (float(value) for value in np.percentile(known, [50, 95, 99]))
    return Percentiles(p50=p50, p95=p95, p99=p99, n=len(known))


def critical_share(runs: Sequence[tuple[Record, AnswerTrace]]) -> dict[str, float]:
    """Return which part of the critical path's time each agent is to blame for, longest first.

    In each layer it is the proposer that was still running when the layer closed, or the last one to end.

    Args:
        runs: With their layers and the aggregator's time.
    """
    seconds: defaultdict[str, float] = defaultdict(float)
    for record, trace in runs:
        for layer in trace.layers:
            if layer.roster:
                slowest = max(layer.roster, key=lambda proposal: proposal.duration_s)
                seconds[slowest.agent] += layer.duration_s
        if record.aggregation_s:
            seconds["aggregator" if trace.layers else record.agent or "model"] += record.aggregation_s
    total = sum(seconds.values())
    return (
        {agent: time / total for agent, time in sorted(seconds.items(), key=lambda entry: -entry[1])} if total else {}
    )


def _system_cost(records: Sequence[Record]) -> Cost:
    usages = [record.usage for record in records if record.usage is not None]
    known = len(usages) == len(records)
    costs = [record.cost_usd for record in records]
    # Of a given output that has no token counts, all of the cost is an estimate; of an asked one, part of it may be.
    abouts = [
        one.priced_usd + one.estimated_usd
        for one in records
        if one.cost_usd is not None or (one.usage is None and one.estimated_usd)
    ]
    priced = sum(record.priced_usd for record in records)
    n = len(records)
    saved = [record.saved_usd for record in records if record.saved_usd is not None]
    return Cost(
        usd=None if None in costs else 1000 * sum(cost for cost in costs if cost is not None) / n,
        priced_usd=1000 * priced / n,
        estimated_usd=1000 * sum(record.estimated_usd for record in records) / n,
        about_usd=1000 * sum(abouts) / n if len(abouts) == n else None,
        input_tokens=sum(usage.input_tokens for usage in usages) / n if known else None,
        cached_input_tokens=sum(usage.cached_input_tokens for usage in usages) / n if known else None,
        output_tokens=sum(usage.output_tokens for usage in usages) / n if known else None,
        saved_usd=1000 * sum(saved) / n if len(saved) == n else None,
    )


def _by_place(calls: Sequence[Call], prompts: int) -> dict[Place, Cost]:
    groups: defaultdict[Place, list[Call]] = defaultdict(list)
    for call in calls:
        groups[call.layer, call.agent, call.model].append(call)
    costs = {place: _cost_of_calls(found, prompts) for place, found in groups.items()}
    return dict(sorted(costs.items(), key=lambda entry: -entry[1].priced_usd))


def _by_layer(calls: Sequence[Call], prompts: int) -> dict[int, Cost]:
    groups: defaultdict[int, list[Call]] = defaultdict(list)
    for call in calls:
        groups[call.layer].append(call)
    return {layer: _cost_of_calls(found, prompts) for layer, found in sorted(groups.items())}


def _cost_of_calls(calls: Sequence[Call], prompts: int) -> Cost:
    ledger = Ledger(calls=tuple(calls))
    spend, usage = ledger.spend, ledger.usage
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
