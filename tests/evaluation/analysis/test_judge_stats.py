"""How a judge did: what its verdicts cost and took."""

from typing import Any

from moa.evaluation._analysis.judge_stats import judge_record
from moa.evaluation._data.annotations import Judgement
from moa.evaluation._metrics.verdicts import verdicts_of


def _row(**facts: Any) -> Judgement:
    texts = dict.fromkeys(("instruction", "output_1", "output_2", "generator_1", "generator_2"), "x")
    return Judgement(**{"preference": 2.0, **texts, **facts})


def test_money_and_time_of_all_verdicts_are_added_up() -> None:
    record = judge_record(verdicts_of([_row(price_per_example=0.5, time_per_example=2.0)] * 3))

    assert (record.usd, record.seconds) == (1.5, 6.0)
    assert (record.as_dict()["usd"], record.as_dict()["seconds"]) == (1.5, 6.0)


def test_what_one_verdict_lacks_is_unknown_for_all() -> None:
    record = judge_record(verdicts_of([_row(price_per_example=0.5), _row(time_per_example=2.0)]))

    assert (record.usd, record.seconds) == (None, None)


def test_what_was_left_out_of_what_a_judge_was_asked_is_told() -> None:
    record = judge_record(verdicts_of([_row(), _row(dropped=("temperature",)), _row(dropped=("temperature", "top_p"))]))

    assert record.as_dict()["dropped"] == ["temperature", "top_p"]
    assert "dropped" not in judge_record(verdicts_of([_row()])).as_dict()
