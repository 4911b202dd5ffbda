from typing import Any

import pytest

from moa._usage import TokenUsage
from moa.evaluation._analysis.cost_latency import critical_share, economics, percentiles
from moa.evaluation._runner.records import Record


def call(agent: str, layer: int, usd: float | None, *, tokens: int = 10) -> dict[str, Any]:
    usage = TokenUsage(input_tokens=tokens, output_tokens=tokens).as_dict()
    attempt = {"usage": usage, "usage_source": "reported", "cost_usd": usd, "cached": False}
    return {"agent": agent, "layer": layer, "model": f"lab/{agent}", "attempts": [attempt]}


def record(index: int, **fields: Any) -> Record:
    calls = fields.pop("calls", (call("small", 1, 0.001), call("aggregator", 2, 0.003)))
    costs = [attempt["cost_usd"] for one in calls for attempt in one["attempts"]]
    values = {
        "status": "complete",
        "seconds": 2.0 + index,
        "first_token_s": 1.0,
        "usage": TokenUsage(input_tokens=20, output_tokens=20),
        "cost_usd": None if None in costs else sum(costs),
        "priced_usd": sum(cost for cost in costs if cost is not None),
        "calls": tuple(calls),
    }
    return Record(system="mix", index=index, **{**values, **fields})


def test_costs_are_per_1000_prompts_and_by_agent_dearest_first() -> None:
    found = economics([record(0), record(1)])

    assert found is not None
    assert found.cost.usd == pytest.approx(4.0)
    assert [(place[1], cost.usd) for place, cost in found.by_place.items()] == [
        ("aggregator", pytest.approx(3.0)),
        ("small", pytest.approx(1.0)),
    ]
    assert found.cost.input_tokens == 20


def test_one_unknown_price_makes_the_sum_unknown_and_not_smaller() -> None:
    found = economics([record(0), record(1, calls=(call("small", 1, None), call("aggregator", 2, 0.003)))])

    assert found is not None
    assert found.cost.usd is None
    assert found.cost.priced_usd == pytest.approx(3.5)
    assert found.by_place[1, "small", "lab/small"].usd is None
    assert found.by_place[2, "aggregator", "lab/aggregator"].usd == pytest.approx(3.0)


def test_failed_answers_were_paid_for() -> None:
    found = economics([record(0), record(1, status="failed")])

    assert found is not None
    assert (found.prompts, found.cost.usd) == (2, pytest.approx(4.0))
    assert found.total is not None
    assert (found.total.n, found.total.p50) == (1, 2.0)


def test_without_records_there_is_nothing_to_say() -> None:
    assert economics([]) is None
    assert percentiles([None]) is None


def test_the_critical_path_is_charged_to_the_slowest_of_each_layer_and_the_aggregator() -> None:
    proposals = [{"agent": "fast", "duration_s": 1.0}, {"agent": "slow", "duration_s": 3.0}]
    layer = {"layer": 1, "duration_s": 3.0, "proposals": proposals}

    found = critical_share([record(0, layers=(layer,), aggregation_s=1.0)])

    assert found == {"slow": 0.75, "aggregator": 0.25}
