"""From what a user asks for to what is evaluated: what goes together, and what doesn't."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from moa._config.settings import Settings
from moa.errors import UsageError
from moa.evaluation._runner.preparing import prepare
from moa.evaluation._runner.spec import Spec
from moa.providers import Price
from tests.support.evaluations import models, trio

PRICE = Price(input=Decimal(3), output=Decimal(15))


def prepared(prompts: Any = ("a",), **options: Any) -> Spec:
    return prepare(prompts, trio(), settings=Settings(endpoints={}), providers={"fake": models()}, **options)


def test_the_answers_of_a_dataset_have_the_price_of_the_baseline() -> None:
    spec = prepared([{"prompt": "a", "reference": "b"}], baseline="reference", baseline_price=PRICE)

    assert spec.baseline is not None
    assert spec.baseline.price == PRICE


def test_the_leaderboards_baseline_has_the_price_of_the_baseline(tmp_path: Path) -> None:
    rows = [{"instruction": "a", "output": "b", "generator": "gpt4_1106_preview", "dataset": "d"}]
    for name in ("alpaca_eval.json", "alpaca_eval_gpt4_baseline.json"):
        (tmp_path / name).write_text(json.dumps(rows))

    spec = prepared("alpaca_eval", data_dir=tmp_path, judge="pairwise", judge_model="fake/j", baseline_price=PRICE)

    assert spec.baseline is not None
    assert (spec.baseline.name, spec.baseline.price) == ("gpt4_1106_preview", PRICE)


@pytest.mark.parametrize("option", [{"baseline_price": PRICE}, {"baseline_max_tokens": 9}])
def test_what_is_of_a_baseline_that_is_not_there_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="are for a baseline: give --baseline, too"):
        prepared(**option)


def test_a_judge_without_a_baseline_is_refused_before_a_model_is_looked_for() -> None:
    with pytest.raises(UsageError, match="a judge compares with something: give --baseline"):
        prepared(judge="pairwise")
