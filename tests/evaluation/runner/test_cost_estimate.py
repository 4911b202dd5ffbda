import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from moa._config.settings import Settings
from moa._engine.forecast import CHOICE_TOKENS, FROM_SERVICE
from moa._mixture.schema import Mixture
from moa.errors import UsageError
from moa.evaluation._pipeline import aevaluate
from moa.evaluation._runner.cost_estimate import JUDGE_PROMPT_TOKENS, Need, plan, plan_rest
from moa.evaluation._runner.preparing import prepare
from moa.evaluation._runner.spec import Spec
from tests.support.engines import mixture_of
from tests.support.evaluations import evaluated, judged, models, trio

PRICE = {"input": 1, "output": 10}


def prepared(mixture: Mixture | None, prompts: list[Any], **options: object) -> Spec:
    return prepare(
        prompts,
        mixture,
        settings=Settings(endpoints={}),
        providers={"fake": models()},
        **options,  # type: ignore[arg-type]
    )


def needs(found: list[Need] | tuple[Need, ...]) -> dict[str, Need]:
    return {need.name: need for need in found}


def test_plan_counts_calls_tokens_and_dollars_by_system() -> None:
    one = {"model": "one", "max_tokens": 100, "price": PRICE, "samples": 2}
    mixture = mixture_of([one], aggregator={"model": "agg", "max_tokens": 50, "price": PRICE})

    found = plan(prepared(mixture, ["x" * 396, "y" * 396]))

    # 396 bytes are 99 tokens, a message has 4 more; the aggregator is shown two proposals of 100, each
    # in delimiters of 16, and a prompt of 250.
    own, alone = needs(found.needs)["test"], needs(found.needs)["test.aggregator"]
    assert (own.calls, own.output_tokens) == (2 * 3, 2 * (2 * 100 + 50))
    assert own.input_tokens == 2 * (2 * 103 + 103 + 250 + 2 * 116)
    assert own.priced_usd == Decimal(own.input_tokens + 10 * own.output_tokens) / 1_000_000
    assert (alone.calls, alone.input_tokens) == (2, 2 * 103)
    assert found.total.calls == 8
    # All is under way at once: the longest run is that of the mixture, a proposal and then the answer.
    seconds = 2 * FROM_SERVICE.first_token_s + (100 + 50) / FROM_SERVICE.output_per_s
    mean_of_runs = (seconds + FROM_SERVICE.first_token_s + 50 / FROM_SERVICE.output_per_s) / 2
    assert mean_of_runs < seconds
    assert abs(found.minutes - seconds / 60) < 1e-9


def test_plan_says_which_prices_nobody_knows_and_adds_none_for_them() -> None:
    mixture = mixture_of([{"model": "one", "price": PRICE}], aggregator="agg")

    found = plan(prepared(mixture, ["hi"]))

    assert found.total.unpriced == ("fake/agg",)
    assert found.total.as_dict()["cost_usd"] is None
    assert found.total.priced_usd > 0


def test_plan_assumes_an_output_where_none_is_bounded_and_says_so() -> None:
    found = plan(prepared(mixture_of(aggregator="agg"), ["hi"]))

    assert found.total.output_tokens == FROM_SERVICE.output_tokens
    assert any(str(FROM_SERVICE.output_tokens) in sentence for sentence in found.assumptions)


def test_plan_has_the_judging_of_every_system_in_both_orders() -> None:
    options = {"baseline": "fake/big", "judge": "pairwise", "judge_model": "fake/judge"}

    found = plan(prepared(trio(), ["a", "b"], **options))

    assert needs(found.needs)["judging"].calls == 2 * 4 * 2


async def test_the_plan_of_a_run_that_has_begun_is_what_is_left(tmp_path: Path) -> None:
    options = {"baseline": "fake/big", "judge": "pairwise", "judge_model": "fake/judge"}
    await evaluated(tmp_path, prompts=["a", "b"], baseline="fake/big")

    rest = plan_rest(prepared(trio(), ["a", "b"], **options), tmp_path)

    assert {need.name: need.calls for need in rest.needs} == {
        "test": 0,
        "test.aggregator": 0,
        "test.member.one": 0,
        "test.member.two": 0,
        "fake/big": 0,
        "judging": 16,
        "judge checks": 16,
    }


async def test_the_plan_has_the_grades_of_a_measure_that_asks_a_model_and_what_is_left_of_them(tmp_path: Path) -> None:
    prompts = [{"prompt": text, "rubric": "is it kind?"} for text in "ab"]
    options = {"measures": ["rubric:fake/grader", "regex:a"]}

    whole = plan(prepared(trio(), prompts, **options))
    await evaluated(tmp_path, models(grader='{"reason": "r", "grade": 5}'), prompts=prompts[:1], **options)
    rest = plan_rest(prepared(trio(), prompts, **options), tmp_path)

    assert needs(whole.needs)["rubric:fake/grader"].calls == 2 * 4
    assert needs(whole.needs)["rubric:fake/grader"].unpriced == ("fake/grader",)
    assert needs(rest.needs)["rubric:fake/grader"].calls == 4
    assert "regex:a" not in needs(whole.needs)


async def test_given_outputs_cost_nothing_and_tell_how_long_answers_are(tmp_path: Path) -> None:
    for name, texts in (("given", ["w" * 400, ""]), ("base", ["x" * 800, "x" * 800])):
        rows = [{"instruction": text, "output": output} for text, output in zip("ab", texts, strict=True)]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    files = {"outputs": {"mine": tmp_path / "given.json"}, "baseline": tmp_path / "base.json", "judge_checks": False}
    options = {**files, "judge": "pairwise", "judge_model": "fake/judge"}

    whole = plan(prepared(None, ["a", "b"], **options))
    await aevaluate(
        ["a", "b"], None, out=tmp_path / "run", settings=Settings(endpoints={}), providers={"fake": models()}, **options
    )
    rest = plan_rest(prepared(None, ["a", "b"], **options), tmp_path / "run")

    # Four bytes are a token: the outputs that there are have 100 and 200, and a judge is shown two of the mean length.
    judging = needs(whole.needs)["judging"]
    assert list(needs(whole.needs)) == ["judging"]
    # The empty output can't be judged.
    assert (judging.calls, judging.input_tokens) == (2, 2 * (JUDGE_PROMPT_TOKENS + 2 * 150) + 2 * 5)
    assert needs(rest.needs)["judging"].calls == 0


async def test_outputs_of_an_earlier_session_that_are_missing_are_not_planned_to_be_judged(tmp_path: Path) -> None:
    (tmp_path / "given.json").write_text(json.dumps([{"instruction": "a", "output": "w"}]))
    await evaluated(tmp_path / "run", prompts=["a", "b"], outputs={"mine": tmp_path / "given.json"}, **judged())

    rest = plan_rest(prepared(trio(), ["a", "b"], judge_checks=False, **judged()), tmp_path / "run")

    assert rest.total.calls == 0


def test_a_budget_needs_the_price_of_a_model_that_grades() -> None:
    single_model = mixture_of(aggregator="agg").model_copy(update={"allow_unpriced": True})
    agent = single_model.aggregator.model_copy(update={"max_tokens": 9})
    mixture = single_model.model_copy(update={"aggregator": agent})

    with pytest.raises(UsageError, match="there is none for fake/grader"):
        prepared(mixture, [{"prompt": "a", "reference": "b"}], measures=["rubric:fake/grader"], budget_usd=1.0)


def test_plan_knows_that_an_aggregator_that_picks_writes_only_a_number() -> None:
    synthesis, selection = trio(), trio(aggregation="selection")

    best_of_n = needs(plan(prepared(synthesis, ["hi"], selection=True)).needs)["test.selection"]
    mixture = needs(plan(prepared(selection, ["hi"])).needs)["test"]

    assert best_of_n.output_tokens == CHOICE_TOKENS
    assert mixture.output_tokens == 2 * FROM_SERVICE.output_tokens + CHOICE_TOKENS
