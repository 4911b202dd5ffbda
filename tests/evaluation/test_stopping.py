"""What stops an evaluation before its end: a budget, a key, enough verdicts."""

import json
from pathlib import Path

import pytest

from moa._mixture.loading import load
from moa.errors import AuthenticationFailed, EngineError, UsageError
from moa.providers._scripted import Pause
from tests.support.engines import mixture_of, proposals_text
from tests.support.evaluations import VERDICT, asked, evaluated, judged, models, paid


async def test_a_budget_stops_cleanly_with_whole_answers_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    mixture = mixture_of([paid("one"), paid("two")], aggregator=paid("agg"))
    provider = models(one="answer", two="answer", agg="answer")

    done = await evaluated(tmp_path, provider, mixture, budget_usd=30, concurrency=2)
    calls = sum(asked(provider).values())

    assert done.ended == "budget"
    assert done.progress.spent_usd == calls * 2 <= 30
    assert done.progress.failed == 0
    again = models(one="answer", two="answer", agg="answer")
    rest = await evaluated(tmp_path, again, mixture, budget_usd=100)
    assert rest.ended == "complete"
    # Three calls for the mixture and one for the aggregator alone, for each prompt: none was bought twice.
    assert calls + sum(asked(again).values()) == 4 * 6
    assert rest.progress.spent_usd == 2 * 4 * 6


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "there is none for fake/agg, fake/big, fake/judge, fake/one, fake/two"),
        ({"baseline": "fake/big"}, "fake/big sets no `max_tokens`: set it"),
    ],
)
async def test_a_budget_needs_prices_and_max_tokens_and_says_so_before_anything_is_bought(
    options: dict[str, object], told: str, tmp_path: Path
) -> None:
    provider = models()
    short = {"max_tokens": 8}
    mixture = mixture_of([{"model": "one", **short}, {"model": "two", **short}], aggregator={"model": "agg", **short})
    baseline = load({"name": "big", "layers": [], "aggregator": {"model": "fake/big", **short}})

    with pytest.raises(UsageError, match="a budget needs") as caught:
        await evaluated(
            tmp_path / "run", provider, mixture, **judged(**{"baseline": baseline, **options}), budget_usd=1
        )

    assert told in str(caught.value)
    assert asked(provider) == {}
    assert not (tmp_path / "run").exists()


async def test_a_wrong_key_stops_the_evaluation_at_once(tmp_path: Path) -> None:
    provider = models(two=[AuthenticationFailed("no such key", model="fake/two")])

    with pytest.raises(EngineError, match=r"without two.*no such key"):
        await evaluated(tmp_path, provider, concurrency=1)

    assert sum(asked(provider).values()) <= 6


@pytest.mark.slow
async def test_until_decided_stops_answering_and_judging_once_the_answer_is_known(tmp_path: Path) -> None:
    prompts = [f"question {number}" for number in range(200)]
    # The judge is shown both orders and always prefers the answer of the mixture, which the aggregator alone lacks.
    # Models take a moment: if they took none, all would be judged before the first look.
    provider = models(
        agg=lambda request: [Pause(0.001), "answer of agg" if proposals_text(request) else "agg alone"],
        big=[Pause(0.001), "answer of big"],
        judge=lambda request: [Pause(0.001), VERDICT if "_A>\nanswer of agg" in request.messages[-1].text else _B],
    )

    done = await evaluated(tmp_path, provider, prompts=prompts, until="decided", concurrency=4, **judged())

    assert done.ended == "decided"
    assert done.settlement is not None
    assert done.settlement.decided
    assert len(done.settlement.prompts) <= 120
    assert asked(provider)["big"] < 150
    assert asked(provider)["judge"] < 150 * 4 * 2


_B = json.dumps({"reason": "r", "verdict": "B"})
