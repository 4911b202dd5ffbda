from pathlib import Path

import pytest

from moa._config.settings import Settings
from moa._mixture.schema import Mixture
from moa.errors import ServiceFailed
from moa.evaluation._runner.cost_estimate import plan
from moa.evaluation._runner.preparing import prepare
from moa.providers._base import ModelRequest
from moa.providers._scripted import Pause, Script
from tests.support.engines import mixture_of
from tests.support.evaluations import asked, evaluated, judged, models, records, traces, trio

WISH = {"leave_one_out": True, "shuffled": True}
VARIANTS = ("test.without.one", "test.without.two", "test.shuffled")


def echoing(request: ModelRequest) -> Script:
    """An aggregator that says what it reads beside the prompt."""
    read = [message.text for message in request.messages if not message.text.startswith("question")]
    return " // ".join(read) or "alone"


def role_first(**keys: object) -> Mixture:
    return trio(aggregator={"model": "agg", "role": "Be brief."}, **keys)


async def test_only_the_aggregator_is_asked_anew_and_about_the_same_proposals(tmp_path: Path) -> None:
    provider = models(agg=echoing, one=lambda request: f"one on {request.messages[-1].text}")

    await evaluated(tmp_path, provider, role_first(), **WISH)

    assert asked(provider) == {"one": 6, "two": 6, "agg": 6 * (2 + 3)}
    whole, without_one, without_two, shuffled = (records(tmp_path, name)[3].output for name in ("test", *VARIANTS))
    assert "<Response_1>one on question 3</Response_1>\n<Response_2>answer of two</Response_2>" in whole
    assert "<Response_1>answer of two</Response_1>\n<Response_2>one on question 3</Response_2>" in shuffled
    assert "one on question 3" not in without_one
    assert "answer of two" not in without_two
    # But for the proposals, the aggregator reads what it read in the mixture, its role first.
    pair = "<Response_1>one on question 3</Response_1>\n<Response_2>answer of two</Response_2>"
    assert without_one == whole.replace(pair, "<Response_1>answer of two</Response_1>")
    assert whole.startswith("Be brief.")


async def test_the_books_hold_the_proposals_that_are_shown_and_only_the_aggregator_is_bought(tmp_path: Path) -> None:
    price = {"price": {"input": 1, "output": 1}}
    mixture = mixture_of([{"model": name, **price} for name in ("one", "two")], aggregator={"model": "agg", **price})

    await evaluated(tmp_path, mixture=mixture, **WISH)

    without, shuffled = (traces(tmp_path, name)[0] for name in VARIANTS[1:])
    assert [call.agent for call in without.calls] == ["one", "aggregator"]
    assert [call.agent for call in shuffled.calls] == ["two", "one", "aggregator"]
    assert [one.agent for one in shuffled.layers[0].roster] == ["two", "one"]
    assert [call.spend.charged_usd > 0 for call in without.calls] == [False, True]
    record = records(tmp_path, VARIANTS[1])[0]
    assert record.priced_usd > sum(float(call.spend.charged_usd) for call in without.calls)
    assert record.seconds is not None
    assert record.seconds >= without.layers[0].duration_s


async def test_a_selecting_aggregator_selects_from_what_is_left(tmp_path: Path) -> None:
    provider = models(agg=lambda request: '{"best": 1}' if request.options.response_format else "alone")

    await evaluated(tmp_path, provider, trio(aggregation="selection"), **WISH)

    outputs = {name: records(tmp_path, name)[0].output for name in ("test", *VARIANTS)}
    assert outputs == {
        "test": "answer of one",
        "test.without.one": "answer of two",
        "test.without.two": "answer of one",
        "test.shuffled": "answer of two",
    }
    assert asked(provider)["agg"] == 6 * (2 + 3)


@pytest.mark.slow
async def test_where_the_proposer_had_failed_the_answer_is_the_mixtures(tmp_path: Path) -> None:
    provider = models(two=[ServiceFailed("down", model="fake/two")])

    await evaluated(tmp_path, provider, trio(wait={"min_proposals": 1}), **WISH)

    without_one, without_two, shuffled = (records(tmp_path, name)[0] for name in VARIANTS)
    assert (without_one.status, (without_one.error or {})["code"]) == ("failed", "no_proposals")
    assert without_two.output == shuffled.output == "answer of agg"
    for name in VARIANTS[1:]:
        assert all(attempt.cached for call in traces(tmp_path, name)[0].calls for attempt in call.attempts)
    assert asked(provider)["agg"] == 6 * 2


@pytest.mark.slow
async def test_a_finished_evaluation_with_variants_buys_nothing_when_it_is_resumed(tmp_path: Path) -> None:
    await evaluated(tmp_path, **judged(**WISH))
    again = models()

    done = await evaluated(tmp_path, again, **judged(**WISH))

    assert asked(again) == {}
    assert done.progress.answers == done.progress.answers_total == 8 * 6


@pytest.mark.slow
async def test_the_parts_of_a_mixture_stand_on_the_proposals_that_arrived_in_time_there(tmp_path: Path) -> None:
    # Long, so that it is late on a busy machine, too.
    provider = models(two=[Pause(1.0), "answer of two"], agg=echoing)

    await evaluated(tmp_path, provider, trio(wait={"min_proposals": 1, "grace_s": 0}), selection=True, **WISH)

    assert records(tmp_path, "test.shuffled")[0].output == records(tmp_path, "test")[0].output
    assert records(tmp_path, "test.member.two")[0].output == "answer of two"
    assert records(tmp_path, "test.without.one")[0].status == "failed"


def test_plan_counts_one_call_of_the_aggregator_for_each_variant_and_prompt() -> None:
    big, small = {"model": "one", "max_tokens": 300}, {"model": "two", "max_tokens": 20}
    options = {"settings": Settings(endpoints={}), "providers": {"fake": models()}, **WISH}

    found = plan(prepare(["x", "y"], mixture_of([big, small]), **options))  # type: ignore[arg-type]

    needs = {need.name: need for need in found.needs}
    assert [needs[name].calls for name in VARIANTS] == [2, 2, 2]
    assert needs["test.without.two"].input_tokens - needs["test.without.one"].input_tokens == 2 * (300 - 20)
    assert found.total.calls == 2 * (3 + 1 + 3)
