import csv
import json
import os
import sqlite3
from collections import Counter
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from moa._cli.eval_progress import money_parts
from moa._cli.handlers.eval_output import compare_runs
from moa._config.settings import Settings
from moa._mixture.loading import load, single
from moa._pricing.price import Price
from moa._usage import TokenUsage
from moa.errors import AuthenticationFailed, EngineError, ServiceFailed, UsageError
from moa.evaluation._analysis.load_run import collect
from moa.evaluation._data.annotations import read_annotations
from moa.evaluation._data.outputs import Output, read_outputs, write_outputs
from moa.evaluation._judges.pairwise import PairwiseJudge
from moa.evaluation._pipeline import aevaluate, evaluate
from moa.evaluation._reporting import write_report
from moa.evaluation._runner.manifest import PromptsEntry, Protocol, Session
from moa.evaluation._runner.progress import Progress
from moa.evaluation._runner.run_directory import RunDirectory
from moa.providers._base import ModelRequest
from moa.providers._scripted import Pause, Script
from moa.providers._token_estimates import estimated_tokens
from tests.support.engines import mixture_of, proposals_text, user_text
from tests.support.evaluations import PROMPTS, VERDICT, asked, evaluated, judged, models, records, rows, traces, trio

PICKS_SECOND = '{"best": 2}'


def selecting(request: ModelRequest) -> Script:
    """An aggregator that picks when it is asked to and writes otherwise."""
    return PICKS_SECOND if request.options.response_format else "answer of agg"


@pytest.mark.slow
async def test_members_are_the_mixtures_proposals_and_cost_no_call(tmp_path: Path) -> None:
    provider = models()

    await evaluated(tmp_path, provider)

    assert asked(provider) == {"one": 6, "two": 6, "agg": 12}
    assert [row["output"] for row in rows(tmp_path / "outputs" / "test.member.one.json")] == ["answer of one"] * 6
    member = records(tmp_path, "test.member.one")[0]
    mixture, alone = traces(tmp_path, "test")[0], traces(tmp_path, "test.member.one")[0]
    proposal = next(one for one in mixture.layers[0].roster if one.agent == "one")
    call = next(one for one in mixture.calls if one.agent == "one")
    assert (member.output, member.usage) == (proposal.text, call.usage)
    assert alone.calls[0].usage == call.usage


async def test_outputs_are_rows_that_the_official_command_reads(tmp_path: Path) -> None:
    await evaluated(tmp_path)

    (first, *_) = rows(tmp_path / "outputs" / "test.json")
    assert {"instruction", "output", "generator", "dataset"} <= first.keys()
    assert (first["instruction"], first["generator"], first["dataset"]) == ("question 0", "test", "a")
    assert [output.instruction for output in read_outputs(tmp_path / "outputs" / "test.json")] == [
        prompt["prompt"] for prompt in PROMPTS
    ]


async def test_samples_of_one_agent_are_one_member_whose_output_is_the_first_sample(tmp_path: Path) -> None:
    texts = {0: "first", 1: "second"}
    provider = models(one=lambda request: texts[request.context.sample])

    await evaluated(tmp_path, provider, mixture_of([{"model": "one", "samples": 2}]))

    names = sorted(path.stem for path in (tmp_path / "outputs").iterdir())
    assert names == ["test", "test.aggregator", "test.member.one"]
    assert {row["output"] for row in rows(tmp_path / "outputs" / "test.member.one.json")} == {"first"}


async def test_a_member_that_the_mixture_did_not_wait_for_is_asked_alone(tmp_path: Path) -> None:
    slow = ("answer of two", Pause(0.05))
    provider = models(two=lambda request: "alone" if not _is_layered(request) else (Pause(60), *slow))

    await evaluated(tmp_path, provider, trio(wait={"min_proposals": 1, "grace_s": 0}))

    record = records(tmp_path, "test.member.two")[0]
    assert record.output == "alone"


def _is_layered(request: ModelRequest) -> bool:
    """Whether a request of `two` is a proposal: those are asked whole, answers are streamed."""
    return not request.deltas


async def test_selection_picks_among_the_proposals_and_buys_only_the_picking(tmp_path: Path) -> None:
    provider = models(agg=selecting)

    await evaluated(tmp_path, provider, selection=True)

    assert asked(provider) == {"one": 6, "two": 6, "agg": 18}
    record = records(tmp_path, "test.selection")[3]
    assert (record.output, record.selected, record.agent) == ("answer of two", 1, "two")
    assert [call.agent for call in traces(tmp_path, "test.selection")[3].calls] == ["one", "two", "aggregator"]


async def test_a_selection_that_names_no_proposal_is_a_failed_prompt_and_not_the_end(tmp_path: Path) -> None:
    done = await evaluated(tmp_path, models(agg="I like both"), selection=True)

    found = records(tmp_path, "test.selection")
    assert (done.ended, done.progress.failed) == ("complete", 6)
    assert {record.error["code"] for record in found.values() if record.error} == {"aggregation_failed"}


async def test_the_categories_of_a_file_of_prompts_reach_outputs_and_annotations(tmp_path: Path) -> None:
    prompts = tmp_path / "mine.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in PROMPTS))

    done = await evaluated(tmp_path / "run", prompts=prompts, **judged())

    for kind in ("outputs", "annotations"):
        assert [row["dataset"] for row in rows(done.folder / kind / "test.json")] == ["a", "b"] * 3


ODD_PROMPTS = (
    "a line\u2028and a paragraph\u2029and a\x85next line",
    '[{"id": 1}, {"id": 2}] sort these by id, descending',
    '[{"id": 1}]',
    '[{"role": "x"}, {"role": "y"}]',
)
"""Line separators that end no row, and texts that look like conversations and are none."""


@pytest.mark.parametrize("ending", ["json", "jsonl", "csv"])
async def test_odd_texts_come_whole_through_files_the_run_and_its_exports(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"mine.{ending}"
    if ending == "csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["prompt"], *([text] for text in ODD_PROMPTS)])
    elif ending == "json":
        path.write_text(json.dumps([{"prompt": text} for text in ODD_PROMPTS], ensure_ascii=False))
    else:
        lines = (json.dumps({"prompt": text}, ensure_ascii=False) for text in ODD_PROMPTS)
        path.write_text("\n".join(lines))
    provider = models(one=user_text, two=user_text, agg=lambda request: user_text(request)[::-1])

    await evaluated(tmp_path / "run", provider, prompts=path, **judged())
    given = [Output(instruction=text, output=text, generator="x") for text in ODD_PROMPTS]
    write_outputs(tmp_path / "x.json", given)
    lines = (json.dumps(output.as_dict(), ensure_ascii=False) for output in given)
    (tmp_path / "x.jsonl").write_text("\n".join(lines))

    assert [row["output"] for row in rows(tmp_path / "run" / "outputs" / "test.member.one.json")] == list(ODD_PROMPTS)
    annotations = read_annotations(tmp_path / "run" / "annotations" / "test.json")
    assert [one.instruction for one in annotations] == list(ODD_PROMPTS)
    assert read_outputs(tmp_path / "x.json") == read_outputs(tmp_path / "x.jsonl") == tuple(given)


async def test_a_report_leaves_no_files_of_the_database_behind(tmp_path: Path) -> None:
    await evaluated(tmp_path, **judged())

    write_report(tmp_path)

    assert sorted(name for name in os.listdir(tmp_path) if "sqlite" in name) == ["cells.sqlite", "replies.sqlite"]


async def test_self_moa_has_the_mixtures_shape_and_one_model(tmp_path: Path) -> None:
    provider = models()

    await evaluated(tmp_path, provider, self_moa="two")

    # The first of its two samples is what the member alone says.
    assert asked(provider) == {"one": 6, "two": 6 + 6, "agg": 18}
    assert [call.agent for call in traces(tmp_path, "test.self-moa")[0].calls] == ["two", "two#2", "aggregator"]


async def test_every_system_is_judged_against_the_baseline(tmp_path: Path) -> None:
    provider = models()

    done = await evaluated(tmp_path, provider, **judged())

    assert done.ended == "complete"
    assert asked(provider) == {"one": 6, "two": 6, "agg": 12, "big": 6, "judge": 3 * 6 * 2}
    for name in ("test", "test.aggregator", "test.member.one", "test.member.two"):
        annotations = read_annotations(tmp_path / "annotations" / f"{name}.json")
        assert {(a.generator_1, a.generator_2, a.preference) for a in annotations} == {("fake/big", name, 1.5)}
        assert {a.output_1 for a in annotations} == {"answer of big"}


async def test_the_judge_is_asked_once_about_systems_with_the_same_output(tmp_path: Path) -> None:
    # It takes a moment, so that the picking ends while the verdict on what was picked is still to come.
    provider = models(agg=selecting, judge=[Pause(0.02), VERDICT])

    done = await evaluated(tmp_path, provider, **judged(selection=True))

    bodies = [repr(request.messages) for request in provider.requests if request.model == "judge"]
    assert len(bodies) == len(set(bodies)) == 3 * 6 * 2
    assert (done.progress.verdicts, done.progress.verdicts_total) == (5 * 6, 5 * 6)
    picked, member = (rows(tmp_path / "annotations" / f"test.{name}.json") for name in ("selection", "member.two"))
    assert [row["preference"] for row in picked] == [row["preference"] for row in member] == [1.5] * 6
    assert [row["orders"] for row in picked] == [row["orders"] for row in member]
    assert {row["generator_2"] for row in picked} == {"test.selection"}


async def test_a_verdict_for_two_systems_is_paid_once_and_found_again_for_both(tmp_path: Path) -> None:
    judge = PairwiseJudge(model=single("fake/judge", price=PRICE))
    options = {"mixture": mixture_of([paid("one"), paid("two")], aggregator=paid("agg")), "baseline": "fake/big"}
    provider, again = models(agg=selecting), models()

    first = await evaluated(tmp_path, provider, judge=judge, selection=True, **options)
    rest = await evaluated(tmp_path, again, judge=judge, selection=True, **options)

    assert asked(again) == {}
    texts = {"one": "answer of one", "two": "answer of two", "judge": VERDICT}
    written = [texts.get(request.model) or selecting(request) for request in provider.requests]
    spent = sum(
        estimated_tokens(str(text))
        for request, text in zip(provider.requests, written, strict=True)
        if request.model != "big"
    )
    assert rest.progress.spent_usd == first.progress.spent_usd == spent
    assert (rest.progress.verdicts, rest.progress.answers) == (first.progress.verdicts, first.progress.answers)


async def test_a_baseline_of_outputs_carries_usage_seconds_and_price(tmp_path: Path) -> None:
    usage = TokenUsage(input_tokens=1_000_000, output_tokens=2_000_000)
    outputs = [
        Output(instruction=prompt["prompt"], output="filed", generator="sonnet", usage=usage, seconds=2.5)
        for prompt in PROMPTS[1:]
    ]
    write_outputs(tmp_path / "sonnet.json", outputs)
    price = Price(input=Decimal(3), output=Decimal(15))

    await evaluated(tmp_path / "run", **judged(baseline=str(tmp_path / "sonnet.json"), baseline_price=price))

    found = records(tmp_path / "run", "sonnet")
    assert (found[1].output, found[1].seconds, found[1].cost_usd) == ("filed", 2.5, 33)
    assert (found[0].status, found[0].error and found[0].error["code"]) == ("failed", "missing_output")
    first, *rest = rows(tmp_path / "run" / "annotations" / "test.json")
    assert (first["preference"], first["verdict"]) == (None, "no_baseline")
    assert {row["preference"] for row in rest} == {1.5}


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
    assert after.candidate.annotations == before.candidate.annotations
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
    holder.open(Protocol(prompts=prompts, candidate="test", baseline=None, systems=(), seed=0), Session())

    with pytest.raises(UsageError, match="another process is working"):
        await evaluated(tmp_path)

    holder.close()


async def test_the_manifest_says_everything_that_is_needed_to_repeat_it(tmp_path: Path) -> None:
    await evaluated(tmp_path, mixture=trio(description="d"), **judged(sample=4, seed=7))

    manifest = json.loads((tmp_path / "manifest.json").read_text())
    protocol, (session,) = manifest["protocol"], manifest["sessions"]
    assert protocol["prompts"] | {"sha256": ""} == {
        "source": "given",
        "count": 4,
        "sha256": "",
        "limit": None,
        "sample": 4,
    }
    assert protocol["systems"][0]["mixture"] == trio(description="d").as_dict()
    assert (protocol["seed"], protocol["judge"]["models"]) == (7, ["fake/judge"])
    assert session["prices"]["models"]["fake/one"] == {"input": None, "output": None}
    assert session["versions"]["mixture-of-agents"]
    assert session["concurrency"] == 32


PRICE = {"input": 0, "output": 1_000_000}
"""A dollar for each token that is written; `answer` has two by the scripts' count."""


def paid(model: str) -> dict[str, object]:
    return {"model": model, "price": PRICE, "max_tokens": 4}


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
        ({"baseline": "fake/big"}, "fake/big sets no `max_tokens` for fake/big"),
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


async def test_systems_are_asked_interleaved_in_random_order(tmp_path: Path) -> None:
    provider = models()

    await evaluated(tmp_path, provider, prompts=[f"q{n}" for n in range(40)], baseline="fake/big", concurrency=1)

    order = [request.model for request in provider.requests if request.model in ("one", "big")]
    texts = [request.messages[-1].text for request in provider.requests if request.model == "big"]
    assert 10 < sum(one != other for one, other in pairwise(order)) < 79
    assert sorted(texts) != texts
    halves = Counter(order[:40])
    assert abs(halves["one"] - halves["big"]) <= 2


async def test_requests_have_seeds_of_their_own_that_repeat_with_the_evaluations(tmp_path: Path) -> None:
    first, second = models(), models()
    await evaluated(tmp_path / "a", first, baseline="fake/big")
    await evaluated(tmp_path / "b", second, baseline="fake/big")

    seeds = [[(r.model, r.messages[-1].text, r.sampling.seed) for r in one.requests] for one in (first, second)]
    assert sorted(seeds[0]) == sorted(seeds[1])
    # The aggregator alone is asked what it is asked in the mixture, but for the proposals: with the same seed.
    assert len({seed for _, _, seed in seeds[0]}) == 4 * 6


async def test_progress_is_told_after_every_step_and_ends_whole(tmp_path: Path) -> None:
    told: list[Progress] = []

    await evaluated(tmp_path, on_progress=told.append, **judged())

    steps = [progress.answers + progress.verdicts for progress in told]
    # Systems with the same output share a verdict: it counts for both.
    assert steps[:-1] == sorted(set(steps))
    assert (steps[0], len(steps), steps[-1]) == (0, 1 + 30 + 18 + 1, 30 + 24)
    assert (told[-1].answers_total, told[-1].verdicts_total) == (30, 24)


async def test_a_system_whose_outputs_were_judged_before_is_counted_as_judged(tmp_path: Path) -> None:
    told: list[Progress] = []
    await evaluated(tmp_path, **judged())

    twin = trio().model_copy(update={"name": "twin"})
    await evaluated(tmp_path, mixture=[trio(), twin], on_progress=told.append, **judged())

    assert told[-1].verdicts == told[-1].verdicts_total


async def test_both_sides_are_judged_against_a_reference_if_there_is_one(tmp_path: Path) -> None:
    outputs = [Output(instruction=prompt["prompt"], output="old", generator="gpt4") for prompt in PROMPTS]
    write_outputs(tmp_path / "gpt4.json", outputs)

    await evaluated(tmp_path / "run", **judged(reference=tmp_path / "gpt4.json"))

    files = {path.name.split("-")[0] for path in (tmp_path / "run" / "annotations").iterdir()}
    assert {"test.json", "fake_big"} <= files
    assert {row["generator_1"] for row in rows(tmp_path / "run" / "annotations" / "test.json")} == {"gpt4"}


def test_evaluate_works_from_synchronous_code(tmp_path: Path) -> None:
    done = evaluate(
        PROMPTS, trio(), out=tmp_path, settings=Settings(endpoints={}), providers={"fake": models()}, concurrency=2
    )

    assert done.progress.answers == 24


async def test_a_judge_without_anything_to_compare_with_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give --baseline"):
        await aevaluate(PROMPTS, trio(), out=tmp_path, judge="pairwise", judge_model="fake/judge")


async def test_a_report_is_written_while_answers_are_still_coming(tmp_path: Path) -> None:
    await evaluated(tmp_path, limit=3)
    before = collect(RunDirectory(tmp_path))

    await evaluated(tmp_path)

    assert {one.name: len(one.traces()) for one in before.systems} == {one.name: 3 for one in before.systems}
