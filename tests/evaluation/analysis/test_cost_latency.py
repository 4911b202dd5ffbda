from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from moa._ledger import Attempt, Call, Ledger
from moa._results import LayerResult, Proposal
from moa._usage import TokenUsage
from moa.evaluation._analysis.cost_latency import CallSums, CostLatency, economics, percentiles
from moa.evaluation._runner.records import AnswerColumns, AnswerTrace, Record, sums_of


def call(agent: str, layer: int, usd: float | None, *, tokens: int = 10) -> Call:
    attempt = Attempt(
        status="ok",
        started_s=0.0,
        usage=TokenUsage(input_tokens=tokens, output_tokens=tokens),
        usage_source="reported",
        cost_usd=None if usd is None else Decimal(str(usd)),
    )
    return Call(id=1, agent=agent, model=f"lab/{agent}", purpose="proposal", layer=layer, attempts=(attempt,))


CALLS = (call("small", 1, 0.001), call("aggregator", 2, 0.003))


def figures(*answers: dict[str, Any]) -> CostLatency | None:
    """Cost and latency of answers, each given by its calls and the fields of its record that are of interest."""
    records, sums = list[Record](), CallSums()
    for index, answer in enumerate(answers):
        calls = answer.pop("calls", CALLS)
        records.append(record(index, calls, **answer))
        sums.add(records[-1], AnswerTrace(calls=calls))
    return economics(AnswerColumns.of(records), sums)


def record(index: int, calls: tuple[Call, ...] = CALLS, **fields: Any) -> Record:
    values = {"status": "complete", "seconds": 2.0 + index, "first_token_s": 1.0, **sums_of(Ledger(calls=calls))}
    return Record(system="mix", index=index, **{**values, **fields})


def test_costs_are_per_1000_prompts_and_by_agent_dearest_first() -> None:
    found = figures({}, {})

    assert found is not None
    assert found.cost.usd == pytest.approx(4.0)
    assert [(place[1], cost.usd) for place, cost in found.by_place.items()] == [
        ("aggregator", pytest.approx(3.0)),
        ("small", pytest.approx(1.0)),
    ]
    assert found.cost.input_tokens == 20


def test_one_unknown_price_makes_the_sum_unknown_and_not_smaller() -> None:
    found = figures({}, {"calls": (call("small", 1, None), CALLS[1])})

    assert found is not None
    assert found.cost.usd is None
    assert found.cost.priced_usd == pytest.approx(3.5)
    assert found.by_place[1, "small", "lab/small"].usd is None
    assert found.by_place[2, "aggregator", "lab/aggregator"].usd == pytest.approx(3.0)


def test_failed_answers_were_paid_for() -> None:
    found = figures({}, {"status": "failed"})

    assert found is not None
    assert (found.prompts, found.cost.usd) == (2, pytest.approx(4.0))
    assert found.total is not None
    assert (found.total.n, found.total.p50) == (1, 2.0)


def test_without_records_there_is_nothing_to_say() -> None:
    assert economics(AnswerColumns.empty(3)) is None
    assert percentiles(np.array([np.nan])) is None


def test_the_critical_path_is_charged_to_the_slowest_of_each_layer_and_the_aggregator() -> None:
    roster = tuple(
        Proposal(agent=agent, model="m", layer=1, index=index, status="used", duration_s=duration_s)
        for index, (agent, duration_s) in enumerate((("fast", 1.0), ("slow", 3.0)))
    )
    layer = LayerResult(number=1, roster=roster, closed_by="all", started_s=0.0, duration_s=3.0)

    sums = CallSums()
    sums.add(record(0, aggregation_s=1.0), AnswerTrace(layers=(layer,)))

    assert sums.critical_share() == {"slow": 0.75, "aggregator": 0.25}
