"""Measures of one output from end to end: what is scored, once for what outputs, and what a crash leaves."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from moa._mixture.loading import load
from moa.errors import ServiceFailed, UsageError
from moa.evaluation._analysis.load_run import collect
from moa.evaluation._measures.base import Case, graded
from moa.evaluation._reporting import write_report
from moa.evaluation._runner.run_directory import RunDirectory
from moa.providers._base import ModelRequest
from moa.providers._scripted import Script
from tests.support.engines import mixture_of
from tests.support.evaluations import asked, evaluated, judged, models

pytestmark = pytest.mark.slow

ROWS = [{"prompt": f"question {n}", "reference": "right" if n % 3 else "left"} for n in range(9)]


async def test_every_system_is_scored_and_compared_with_the_baseline(tmp_path: Path) -> None:
    provider = models(agg="right", one="left", two="neither", big="right")

    done = await evaluated(tmp_path, provider, prompts=ROWS, baseline="fake/big", measures=["exact", "contains"])

    assert (done.ended, done.progress.verdicts, done.progress.verdicts_total) == ("complete", 2 * 5 * 9, 2 * 5 * 9)
    assert "judge" not in asked(provider)
    found = {(one.measure, one.system): one for one in collect(RunDirectory(tmp_path)).measured}
    assert found["exact", "test"].score == pytest.approx(100 * 6 / 9)
    assert found["exact", "test.member.one"].score == pytest.approx(100 * 3 / 9)
    assert found["contains", "test.member.two"].score == 0
    difference = found["exact", "test.member.one"].difference
    assert difference is not None
    assert difference.value == pytest.approx(-100 * 3 / 9)


async def test_outputs_that_are_the_same_are_scored_once_and_a_finished_measure_never_again(tmp_path: Path) -> None:
    calls: list[str] = []

    def grade(case: Case) -> tuple[float, str]:
        calls.append(case.output)
        return 1.0, ""

    measure = graded("mine", "", grade)
    for _ in range(2):
        await evaluated(tmp_path, prompts=ROWS, measures=[measure])

    # The mixture and its aggregator alone say the same: three texts for each prompt.
    assert len(calls) == 3 * 9


async def test_a_measure_that_is_added_scores_old_answers_and_buys_none(tmp_path: Path) -> None:
    await evaluated(tmp_path, prompts=ROWS)
    again = models()

    done = await evaluated(tmp_path, again, prompts=ROWS, measures=["number:1", "regex:answer of"])

    assert asked(again) == {}
    # A reference without a number is a row of the report, and not the end.
    assert (done.ended, done.is_fruitless) == ("complete", False)
    numbers = [one for one in collect(RunDirectory(tmp_path)).measured if one.measure == "number:1"]
    assert {one.missing for one in numbers} == {9}
    assert all("holds no number" in one.why for one in numbers)


async def test_a_failed_answer_scores_nothing_and_counts(tmp_path: Path) -> None:
    down = [ServiceFailed("down", model="fake/agg")]
    provider = models(agg=lambda request: down if "question 4" in repr(request.messages) else "right")

    await evaluated(tmp_path, provider, prompts=ROWS, measures=["exact"])

    found = next(one for one in collect(RunDirectory(tmp_path)).measured if one.system == "test")
    assert (found.n, found.score) == (9, pytest.approx(100 * 5 / 9))


async def test_a_prompt_without_what_a_measure_needs_is_named_before_anything_is_bought(tmp_path: Path) -> None:
    provider, empty = models(), {"prompt": "no right answer", "reference": []}

    with pytest.raises(UsageError, match=r"exact needs `reference` .* 2 of 11 have none \(row 10, 11\): .* Leave"):
        await evaluated(tmp_path, provider, prompts=[*ROWS, "no row", empty], measures=["exact"])

    assert asked(provider) == {}


async def test_a_rubrics_model_that_is_a_part_of_what_it_grades_is_told_of(tmp_path: Path) -> None:
    provider = models(one='{"reason": "r", "grade": 5}')
    prompts = [{"prompt": "q", "rubric": "is it kind?"}]

    await evaluated(tmp_path, provider, prompts=prompts, measures=["rubric:fake/one"])

    warnings = collect(RunDirectory(tmp_path)).warnings
    assert any("the judge fake/one is a part of test:" in warning for warning in warnings)


async def test_a_rubric_that_could_not_be_asked_is_asked_again_and_only_that(tmp_path: Path) -> None:
    rows, down = ROWS[:2], [ServiceFailed("down", model="fake/grader")]
    first = models(grader=lambda r: down if "question 1" in repr(r.messages) else '{"reason": "r", "grade": 7}')
    again = models(grader='{"reason": "r", "grade": 7}')

    await evaluated(tmp_path, first, prompts=rows, measures=["rubric:fake/grader"])
    await evaluated(tmp_path, again, prompts=rows, measures=["rubric:fake/grader"])

    assert asked(again) == {"grader": 3}
    scores = [one.score for one in collect(RunDirectory(tmp_path)).measured]
    assert scores == pytest.approx([70.0] * len(scores))


async def test_the_verdict_rests_on_the_first_measure_and_the_report_shows_all(tmp_path: Path) -> None:
    # From 122 prompts on, answers that are all alike are known to differ by less than 3 points.
    rows = [{"prompt": f"question {n}", "reference": "right"} for n in range(160)]
    price = {"price": {"input": 1, "output": 1}}
    cheap = mixture_of([{"model": name, **price} for name in ("one", "two")], aggregator={"model": "agg", **price})
    dear = load(
        {"name": "big", "layers": [], "aggregator": {"model": "fake/big", "price": {"input": 99, "output": 99}}}
    )
    provider = models(agg="right", one="wrong", two="wrong", big=_right_on(80))

    await evaluated(tmp_path, provider, cheap, prompts=rows, baseline=dear, measures=["exact", "contains"])
    summary = write_report(tmp_path).summary

    # The aggregator alone is as good, and asks nobody else.
    assert summary.conclusion.sentence.startswith("Use fake/agg alone, not the mixture:")
    assert "exact +50.0 points against big's" in summary.conclusion.proof
    assert "equal is 0" in summary.conclusion.proof
    for name in ("report.html", "report.md"):
        text = (tmp_path / name).read_text()
        assert "By measures" in text
        assert "+50.0" in text
    told = json.loads((tmp_path / "summary.json").read_text())["measures"]
    assert {(one["measure"], one["system"]) for one in told} >= {("exact", "test"), ("contains", "big")}


def _right_on(first: int) -> Callable[[ModelRequest], Script]:
    def answer(request: ModelRequest) -> Script:
        number = int(request.messages[-1].text.split()[1])
        return "right" if number < first else "wrong"

    return answer


async def test_what_former_measures_and_judges_said_stands_beside_what_is_asked_for_now(tmp_path: Path) -> None:
    rows = [{"prompt": f"question {n}", "reference": "right"} for n in range(12)]
    provider = models(agg="right", one="wrong", two="wrong", big=_right_on(6))
    await evaluated(tmp_path, provider, prompts=rows, measures=["contains"], **judged())
    another, again = mixture_of(["one", "two"], name="another"), models(agg="right", big=_right_on(6))

    await evaluated(tmp_path, again, another, prompts=rows, baseline="fake/big", measures=["exact"])
    collected = collect(RunDirectory(tmp_path))
    found = {(one.measure, one.system): one for one in collected.measured}

    assert collected.rests_on == "exact"
    assert [one.score for one in collected.measured if one.system == "test"] == [100.0, 100.0, 50.0]
    judge = "pairwise@fake/judge against fake/big"
    assert {measure for measure, _ in found} == {"exact", "contains", judge}
    assert ("contains", "another") in found, "its output is the same as that of `test`, and so is the score"
    assert found[judge, "test"].n == 12
    assert "judge" not in asked(again)


async def test_a_worse_mixture_by_a_measure_is_not_to_be_used(tmp_path: Path) -> None:
    rows = [{"prompt": f"question {n}", "reference": "right"} for n in range(120)]
    provider = models(agg="wrong", one="wrong", two="wrong", big=_right_on(60))

    await evaluated(tmp_path, provider, prompts=rows, baseline="fake/big", measures=["exact"])

    assert write_report(tmp_path).summary.conclusion.advice == "do not use"
