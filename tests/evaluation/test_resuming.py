"""What failed, was damaged, is missing or has been added: kept, told, and bought once when it is resumed."""

import json
import sqlite3
from pathlib import Path

import pytest

from moa._cli.eval_progress import money_parts
from moa._cli.handlers.eval_output import compare_runs
from moa._mixture.loading import load
from moa.errors import ServiceFailed, UsageError
from moa.evaluation._analysis.load_run import collect
from moa.evaluation._data.annotations import read_annotations
from moa.evaluation._data.outputs import Output, read_outputs, write_outputs
from moa.evaluation._runner.manifest import PromptsEntry, Protocol, Session
from moa.evaluation._runner.run_directory import RunDirectory
from moa.providers._base import ModelRequest
from moa.providers._scripted import Script
from tests.support.engines import mixture_of, user_text
from tests.support.evaluations import (
    PROMPTS,
    VERDICT,
    asked,
    evaluated,
    judged,
    models,
    paid,
    records,
    rows,
    traces,
    trio,
)


async def test_a_failed_answer_is_kept_with_its_error_and_loses_without_asking_the_judge(tmp_path: Path) -> None:
    def fails_once(request: ModelRequest) -> Script:
        if user_text(request) == "question 2":
            return [ServiceFailed("down", model="fake/agg")]
        return "answer of agg"

    provider = models(agg=fails_once)

    done = await evaluated(tmp_path, provider, **judged())

    assert done.progress.failed == 2
    output = rows(tmp_path / "outputs" / "test.json")[2]
    assert output["output"] == ""
    assert "down" in output["error"]
    annotation = rows(tmp_path / "annotations" / "test.json")[2]
    assert (annotation["preference"], annotation["verdict"], annotation["output_2"]) == (1.0, "no_output", "")
    # The members' proposals were there before the aggregator failed.
    assert rows(tmp_path / "outputs" / "test.member.one.json")[2]["output"] == "answer of one"


async def test_resuming_asks_again_only_what_failed(tmp_path: Path) -> None:
    down = {"now": True}
    provider = models(agg=lambda request: [ServiceFailed("down", model="fake/agg")] if down["now"] else "answer of agg")
    await evaluated(tmp_path, provider, **judged())
    down["now"] = False
    again = models()

    done = await evaluated(tmp_path, again, **judged())

    assert done.progress.failed == 0
    # Proposals of the failed runs had been kept: only the aggregator is asked, and the judge about its answers, which
    # are the same with and without proposals.
    assert asked(again) == {"agg": 12, "judge": 6 * 2}
    assert {row["preference"] for row in rows(tmp_path / "annotations" / "test.json")} == {1.5}


async def test_a_judge_that_fails_is_told_of_and_asked_again_when_it_is_resumed(tmp_path: Path) -> None:
    # It fails on the second of the two orders only: what it said to the first one is not bought again.
    first = models(judge=lambda request: VERDICT if "_A>\nanswer of big" in request.messages[-1].text else [_down()])

    done = await evaluated(tmp_path, first, **judged())
    again = models()
    rest = await evaluated(tmp_path, again, **judged())

    assert (done.ended, done.is_fruitless) == ("complete", True)
    assert "down" in (done.cause or "")
    assert (done.progress.verdicts, done.progress.unjudged) == (24, 24)
    assert asked(again) == {"judge": 3 * 6}
    assert (rest.is_fruitless, rest.cause, rest.progress.unjudged) == (False, None, 0)
    assert rest.progress.spent_usd == 0


async def test_where_everything_fails_no_verdict_is_wanted_and_the_cause_is_told(tmp_path: Path) -> None:
    scripts = {name: [_down()] for name in ("one", "two", "agg", "big")}

    done = await evaluated(tmp_path, models(**scripts), **judged())

    assert (done.progress.verdicts_total, done.is_fruitless) == (0, True)
    assert "down" in (done.cause or "")


async def test_a_member_whose_proposal_failed_is_asked_alone_when_it_is_resumed(tmp_path: Path) -> None:
    await evaluated(tmp_path, models(two=[_down()]))
    again = models()

    done = await evaluated(tmp_path, again)

    assert asked(again) == {"two": 6}
    assert done.progress.failed == 0
    assert {row["output"] for row in rows(tmp_path / "outputs" / "test.member.two.json")} == {"answer of two"}


async def test_a_member_whose_proposal_failed_fails_alone_too_and_is_not_asked_a_second_time(tmp_path: Path) -> None:
    provider = models(two=[_down()])

    done = await evaluated(tmp_path, provider)

    assert asked(provider) == {"one": 6, "two": 6, "agg": 12}
    assert done.progress.failed == 6
    alone = records(tmp_path, "test.member.two")[0]
    assert (alone.status, alone.error and alone.error["code"]) == ("failed", _down().code)
    assert [call.model for call in traces(tmp_path, "test.member.two")[0].calls] == ["fake/two"]


async def test_what_a_failed_proposal_cost_counts_for_the_member_and_is_paid_once(tmp_path: Path) -> None:
    half = ["half of an answer", _down()]
    mixture = mixture_of([paid("one"), paid("two")], aggregator=paid("agg"))

    first = await evaluated(tmp_path, models(two=half), mixture=mixture)

    alone = records(tmp_path, "test.member.two")[0]
    lost = sum(one.estimated_usd for one in records(tmp_path, "test.member.two").values())
    kept = sum(one.priced_usd for name in ("test.member.one", "test") for one in records(tmp_path, name).values())
    assert (alone.status, alone.estimated_usd > 0) == ("failed", True)
    assert first.progress.spent_usd > lost
    assert first.progress.lost_usd == pytest.approx(lost)
    assert kept > 0
    assert money_parts(first.progress)[1].endswith("for calls that broke off")


def damage(run: Path, table: str) -> None:
    """Change a byte of one row, as a bad disk would."""
    cells = sqlite3.connect(run / "cells.sqlite")
    with cells:
        (body,) = cells.execute(f"SELECT body FROM {table} LIMIT 1").fetchone()
        cells.execute(f"UPDATE {table} SET body = ? WHERE body = ?", (body.replace(b"a", b"e", 1), body))
    cells.close()


async def test_a_damaged_cell_is_named_and_filled_again_from_the_replies_that_are_there(tmp_path: Path) -> None:
    await evaluated(tmp_path, **judged())
    exported = rows(tmp_path / "annotations" / "test.json")
    again = models()
    for table in ("answers", "scores"):
        damage(tmp_path, table)

    told = collect(RunDirectory(tmp_path)).warnings
    done = await evaluated(tmp_path, again, **judged())

    assert asked(again) == {}
    assert sorted(one.split(" on ")[0] for one in done.damaged) == [
        "answer of fake/big",
        "score by pairwise@fake/judge",
    ]
    assert sum("was damaged on the disk" in one for one in told) == 2
    refilled = rows(tmp_path / "annotations" / "test.json")
    assert [row["preference"] for row in refilled] == [row["preference"] for row in exported]
    assert (await evaluated(tmp_path, models(), **judged())).damaged == ()


async def test_a_verdict_on_an_output_that_is_no_longer_there_is_not_used(tmp_path: Path) -> None:
    await evaluated(tmp_path, **judged())
    damage(tmp_path, "answers")
    (tmp_path / "replies.sqlite").unlink()
    again = models(big="another answer")

    await evaluated(tmp_path, again, **judged())

    # The mixture and its aggregator alone say the same.
    assert asked(again) == {"big": 1, "judge": 3 * 2}
    for kind in ("test", "test.member.one"):
        annotations = rows(tmp_path / "annotations" / f"{kind}.json")
        assert len({row["output_1"] for row in annotations}) == 2


async def test_files_that_a_killed_process_was_writing_are_removed(tmp_path: Path) -> None:
    await evaluated(tmp_path)
    (tmp_path / "outputs" / ".test.json.0a1b2c3d.unfinished").write_text("[")

    await evaluated(tmp_path)

    assert [path.name for path in (tmp_path / "outputs").iterdir() if path.name.startswith(".")] == []


def _down() -> ServiceFailed:
    return ServiceFailed("down", model="fake/any")


async def test_a_finished_evaluation_buys_nothing_when_it_is_resumed(tmp_path: Path) -> None:
    await evaluated(tmp_path, **judged(selection=False))
    again = models()

    done = await evaluated(tmp_path, again, **judged(selection=False))

    assert asked(again) == {}
    assert (done.progress.answers, done.progress.verdicts) == (30, 24)


async def test_prompts_systems_and_a_judge_that_are_added_buy_only_what_is_missing(tmp_path: Path) -> None:
    await evaluated(tmp_path, limit=4, **judged())
    more, another, judge = models(), models(), models(agg=VERDICT)
    numbered = trio(name="numbered", prompt="numbered")

    await evaluated(tmp_path, more, **judged())
    await evaluated(tmp_path, another, mixture=[numbered, trio()], **judged())
    await evaluated(tmp_path, judge, mixture=[numbered], **judged(judge_model="fake/agg"))

    assert asked(more) == {"one": 2, "two": 2, "agg": 4, "big": 2, "judge": 3 * 2 * 2}
    # The proposals are there, and so are the verdicts on answers that are the same.
    assert asked(another) == {"agg": 6}
    assert asked(judge) == {"agg": 3 * 6 * 2}
    names = {one.name for one in collect(RunDirectory(tmp_path)).systems}
    assert {"test", "numbered", "numbered.aggregator", "test.member.one", "fake/big"} <= names


async def test_four_mixtures_over_three_members_buy_each_proposal_once(tmp_path: Path) -> None:
    provider = models(three="answer of three")
    members = ("one", "two", "three")
    mixtures = [mixture_of([name for name in members if name != out], name=f"without {out}") for out in members]

    await evaluated(tmp_path, provider, [mixture_of(members, name="all"), *mixtures], prompts=PROMPTS[:3])

    assert {name: asked(provider)[name] for name in members} == {"one": 3, "two": 3, "three": 3}
    assert asked(provider)["agg"] == 3 * (4 + 1)


@pytest.mark.parametrize("measures", [(), ("exact",)])
async def test_outputs_that_are_added_without_judging_hide_nothing_that_was_judged(
    measures: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = [{**one, "reference": "answer of agg"} for one in PROMPTS]
    await evaluated(tmp_path, prompts=prompts, **judged(measures=measures))
    before, files = collect(RunDirectory(tmp_path)), read_annotations(tmp_path / "annotations" / "test.json")

    await evaluated(tmp_path, prompts=prompts[:2], mixture=mixture_of(["two"], name="other"))

    after = collect(RunDirectory(tmp_path))
    assert (after.judge, after.opponent, after.baseline) == (before.judge, before.opponent, before.baseline)
    assert (after.candidate.name, after.rests_on, after.planned) == ("test", before.rests_on, 6)
    said = [one.candidate.verdicts for one in (before, after)]
    assert said[0] is not None
    assert said[1] is not None
    assert said[0].won.tolist() == said[1].won.tolist()
    assert len(after.measured) >= len(before.measured)
    assert read_annotations(tmp_path / "annotations" / "test.json") == files
    assert len(read_outputs(tmp_path / "outputs" / "other.json")) == 2
    compare_runs(tmp_path, tmp_path, margin=3.0, seed=0, data_dir=None, as_json=True)
    assert json.loads(capsys.readouterr().out)["n"] == 6


async def test_what_was_generated_can_be_judged_later(tmp_path: Path) -> None:
    await evaluated(tmp_path, baseline="fake/big")
    again = models()

    await evaluated(tmp_path, again, **judged())

    assert asked(again) == {"judge": 3 * 6 * 2}


async def test_the_same_prompts_and_baseline_in_other_files_go_on(tmp_path: Path) -> None:
    for folder in (tmp_path / "here", tmp_path / "there"):
        folder.mkdir()
        (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PROMPTS))
        outputs = [Output(instruction=prompt["prompt"], output="filed", generator="old") for prompt in PROMPTS]
        write_outputs(folder / "old.json", outputs)
    again = models()

    for folder, provider in (("here", models()), ("there", again)):
        baseline, prompts = str(tmp_path / folder / "old.json"), tmp_path / folder / "mine.jsonl"
        await evaluated(tmp_path / "run", provider, prompts=prompts, **judged(baseline=baseline))

    assert asked(again) == {}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"seed": 1}, "seed was 0, is 1"),
        ({"mixture": trio(prompt="numbered")}, 'systems.test.mixture.prompt was nothing, is "numbered"'),
        ({"baseline": load({"name": "test", "layers": [], "aggregator": {"model": "fake/big"}})}, "are called test"),
        ({"cached": False}, "shares_replies was true, is false"),
    ],
)
async def test_a_changed_evaluation_is_refused_and_what_changed_is_named(
    changed: dict[str, object], told: str, tmp_path: Path
) -> None:
    await evaluated(tmp_path, **judged())
    manifest = (tmp_path / "manifest.json").read_text()
    again = models()

    with pytest.raises(UsageError, match=r"was begun with other settings|two systems") as caught:
        await evaluated(tmp_path, again, **judged(**changed))

    assert told in str(caught.value)
    assert asked(again) == {}
    assert (tmp_path / "manifest.json").read_text() == manifest


async def test_a_run_directory_that_is_in_use_is_refused(tmp_path: Path) -> None:
    holder = RunDirectory(tmp_path)
    prompts = PromptsEntry(source="given", count=0, sha256="")
    protocol = Protocol(prompts=prompts, candidate="test", baseline=None, systems=(), seed=0)

    with holder.opened(protocol, Session()), pytest.raises(UsageError, match="another process is working"):
        await evaluated(tmp_path)
