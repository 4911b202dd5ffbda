"""What is asked of a judge besides its verdicts (the other order, control pairs, a trial pair), and when it stops."""

import json
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import pytest

from moa._config.settings import CacheSettings, Settings
from moa._ledger import ErrorInfo
from moa._runtime.engine import Engine
from moa.errors import BudgetExceeded, EngineError, EvaluationDataError, ModelNotFound
from moa.evaluation._analysis.load_run import collect
from moa.evaluation._analysis.summary import summarize
from moa.evaluation._judges.base import Judge, Pair, Verdict, judgement_of
from moa.evaluation._judges.checks import UnreadableCounter, checked, scrambled
from moa.evaluation._judges.judge_calls import UNPARSEABLE
from moa.evaluation._judges.loading import Orders, load_judge
from moa.evaluation._runner.run_directory import RunDirectory
from moa.providers._base import ModelRequest
from moa.providers._scripted import Script
from tests.evaluation.judges.pairs import pair
from tests.support.engines import engine_of, scripted
from tests.support.evaluations import VERDICT, asked, evaluated, judged, models, rows
from tests.support.virtual_clock import virtual_time

LONG = "The river rises in the hills, runs past three towns, and reaches the sea near the old harbor."
FIRST, SECOND = VERDICT, VERDICT.replace("A", "B")


def honest(request: ModelRequest) -> Script:
    """A judge that prefers what begins like the answer."""
    text = request.messages[-1].text
    return FIRST if text.index("The river rises") < text.index("<Response_B>") else SECOND


def pairwise(orders: Orders = "one") -> Judge:
    return load_judge("pairwise", judge_model="fake/judge", orders=orders)


@virtual_time
async def test_a_judge_of_one_order_is_shown_the_other_one_too_and_keeps_its_verdict() -> None:
    judge = checked(pairwise(), prompts=1, systems=1, seed=0)
    provider = scripted({"judge": FIRST})
    async with engine_of(provider) as engine:
        verdicts = [await judge.judge(engine, pair(instruction=f"q{n}")) for n in range(20)]

    # It takes what is shown first: by lot that is the baseline's or the system's.
    assert {verdict.preference for verdict in verdicts} == {1.0, 2.0}
    assert {verdict.orders for verdict in verdicts} == {(1.0, 2.0)}
    assert all(judgement_of(pair(), verdict, "").flipped for verdict in verdicts)
    assert asked(provider) == {"judge": 40}


@virtual_time
async def test_control_pairs_have_a_known_loser_and_are_no_part_of_the_verdict() -> None:
    judge = checked(pairwise("both"), prompts=1, systems=1, seed=0)
    about = pair(output_1=LONG, output_2=f"I am the other one. {LONG.lower()}")
    async with engine_of(scripted({"judge": honest})) as engine:
        right = await judge.judge(engine, about)
    async with engine_of(scripted({"judge": FIRST})) as engine:
        wrong = await judge.judge(engine, about)
    async with engine_of(scripted({"judge": honest})) as engine:
        plain = await pairwise("both").judge(engine, about)

    assert (right.control, wrong.control, plain.control) == (True, False, None)
    assert (right.preference, right.orders, right.raw) == (plain.preference, plain.orders, plain.raw)
    assert len(right.ledger.calls) == 4


async def test_control_pairs_are_asked_anew_when_a_pair_is_judged_once_more(tmp_path: Path) -> None:
    judge = checked(pairwise("both"), prompts=1, systems=1, seed=0)
    about = pair(output_1=LONG, output_2=f"I am the other one. {LONG.lower()}")
    cache = CacheSettings(path=tmp_path / "replies.sqlite")
    first = {"fake": scripted({"judge": FIRST})}
    async with Engine(settings=Settings(endpoints={}), providers=first, cache=cache) as engine:
        misled = await judge.judge(engine, about)
    mended = scripted({"judge": honest})
    async with Engine(settings=Settings(endpoints={}), providers={"fake": mended}, cache=cache) as engine:
        again = await judge.judge(engine, about, again=1)

    assert (misled.control, again.control) == (False, True)
    assert asked(mended) == {"judge": 4}


@virtual_time
async def test_a_budget_that_ends_within_a_verdict_leaves_nothing_unbooked() -> None:
    no_more = (BudgetExceeded("no more", model="fake/judge"),)
    replies = chain([SECOND, SECOND, "Hard to say."], repeat(no_more))

    def script(request: ModelRequest) -> Script:
        return next(replies)

    judge = checked(pairwise(), prompts=1, systems=1, seed=0)
    async with engine_of(scripted({"judge": script})) as engine:
        with pytest.raises(EngineError) as caught:
            await judge.judge(engine, pair(output_1=LONG))

    # Both orders of the pair, and at least the control pair's reply that was no verdict.
    assert len([one for one in caught.value.ledger.attempts if one.status == "ok"]) >= 3
    assert {call.purpose for call in caught.value.ledger.calls} == {"judgement"}


def test_a_known_loser_has_the_same_words_in_disorder_and_short_answers_have_none() -> None:
    loser = scrambled(LONG, "seed")

    assert loser is not None
    assert loser != LONG
    assert sorted(loser.split()) == sorted(LONG.split())
    assert scrambled("Yes.", "seed") is None
    assert scrambled("no " * 20, "seed") is None


@virtual_time
async def test_about_a_hundred_pairs_of_each_system_and_two_dozen_in_all_are_checked() -> None:
    asked = list[tuple[str, bool]]()

    async def ask(engine: Engine, pair: Pair, *, again: int = 0, both: bool = False) -> Verdict:
        asked.append((pair.generator_2, both))
        return Verdict(preference=1.0, orders=(1.0, 1.0 if both else None))

    judge = checked(Judge(name="j", models=(), judge=ask), prompts=805, systems=5, seed=0)
    async with engine_of(scripted({})) as engine:
        for number in range(5):
            for n in range(805):
                await judge.judge(engine, pair(LONG, instruction=f"prompt {n}", generator_2=f"system {number}"))

    tried = [asked.count((f"system {number}", True)) for number in range(5)]
    assert all(75 <= n <= 125 for n in tried)
    assert 10 <= asked.count(("control", True)) <= 40
    assert len(asked) == 5 * 805 + asked.count(("control", True))


async def test_a_judge_whose_model_is_gone_is_found_before_anything_is_bought(tmp_path: Path) -> None:
    provider = models(judge=[ModelNotFound("marked by provider as Legacy", model="fake/judge", status=404)])

    with pytest.raises(EvaluationDataError, match=r"can't be asked: .*Legacy.*Take another judge: --judge pairwise"):
        await evaluated(tmp_path, provider, **judged(judge_checks=True))

    assert set(asked(provider)) == {"judge"}, "the trial pair"


async def test_a_judge_that_cannot_be_read_is_found_before_anything_is_bought(tmp_path: Path) -> None:
    provider = models(judge="I think that both have their merits.")

    with pytest.raises(EvaluationDataError, match=r"no verdict on a trial pair: .*both have their merits.*max-tokens"):
        await evaluated(tmp_path, provider, **judged(judge_checks=True))

    assert set(asked(provider)) == {"judge"}


@pytest.mark.parametrize(("share", "stops"), [(0.2, False), (0.4, False), (0.6, True), (1.0, True)])
def test_judging_stops_when_most_verdicts_are_unreadable_however_many_of_them_end_together(
    share: float, stops: bool
) -> None:
    unreadable = Verdict(preference=None, failure=ErrorInfo(code=UNPARSEABLE, message="Hard to say"))
    counter, at_once, read = UnreadableCounter(64), 64, 0
    stopped = False
    try:
        for _ in range(20):  # those that can't be read are asked for once more, and end last
            late = round(at_once * share)
            for verdict in [Verdict(preference=1.0)] * (at_once - late) + [unreadable] * late:
                counter.add(verdict)
                read += 1
    except EvaluationDataError:
        stopped = True

    assert stopped == stops
    assert share < 1 or read < 10


@pytest.mark.slow
async def test_ten_unreadable_verdicts_stop_the_run_and_are_asked_for_again(tmp_path: Path) -> None:
    provider, prompts = models(judge="Hard to say."), [f"question {n}" for n in range(40)]

    with pytest.raises(EvaluationDataError, match=r"10 more could not be read than could.*Hard to say"):
        await evaluated(tmp_path, provider, prompts=prompts, concurrency=1, **judged())
    mended = models()
    done = await evaluated(tmp_path, mended, prompts=prompts, **judged())

    assert asked(provider)["judge"] <= 4 * 14
    assert done.progress.unjudged == 0
    assert asked(mended)["judge"] == 3 * 40 * 2
    assert asked(mended)["big"] < 40, "answers that were there are not bought again"


async def test_rejudge_asks_about_every_pair_once_more_and_nothing_else(tmp_path: Path) -> None:
    await evaluated(tmp_path, models(), **judged())
    again, resumed = models(judge=SECOND), models()

    done = await evaluated(tmp_path, again, **judged(rejudge=True))
    await evaluated(tmp_path, resumed, **judged())

    assert asked(again) == {"judge": 3 * 6 * 2}
    assert done.progress.unjudged == 0
    assert {
        json.loads(row["raw_completion"][0])["verdict"] for row in rows(tmp_path / "annotations" / "test.json")
    } == {"B"}
    assert asked(resumed) == {}


@pytest.mark.slow
async def test_a_judge_that_fails_on_control_pairs_is_the_first_sentence(tmp_path: Path) -> None:
    def toss(request: ModelRequest) -> Script:
        return FIRST if len(request.messages[-1].text) % 2 else SECOND

    provider = models(agg=f"I am the mixture. {LONG}", big=LONG, one=f"One. {LONG}", two=f"Two. {LONG}", judge=toss)
    prompts = [f"question {n}" for n in range(30)]

    await evaluated(tmp_path, provider, prompts=prompts, **judged(judge_checks=True))
    collected = collect(RunDirectory(tmp_path))
    found = summarize(collected)

    verdicts = collected.deciding
    assert sum(np.count_nonzero(~np.isnan(one.control)) for one in verdicts.values()) >= 8
    assert found.conclusion.line == "judge cannot tell"
    assert all(len(one) == 30 for one in verdicts.values()), "control pairs are no annotations"


@virtual_time
async def test_temperature_tokens_and_orders_of_a_judge_are_options() -> None:
    provider = scripted({"judge": FIRST})
    judge = load_judge("pairwise", judge_model="fake/judge", temperature=0.3, max_tokens=9_000, orders="one")
    async with engine_of(provider) as engine:
        verdict = await judge.judge(engine, pair())

    (request,) = provider.requests
    assert (request.sampling.temperature, request.sampling.max_tokens) == (0.3, 9_000)
    assert verdict.preference in (1.0, 2.0)
    assert judge.name == "pairwise-one-order@fake/judge"
