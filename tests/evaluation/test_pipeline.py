"""Evaluations from end to end: what is asked, judged, written and told."""

import csv
import json
import os
from collections import Counter
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from moa._config.settings import Settings
from moa._mixture.loading import single
from moa._pricing.price import Price
from moa._usage import TokenUsage
from moa.errors import UsageError
from moa.evaluation._analysis.load_run import collect
from moa.evaluation._data.annotations import read_annotations
from moa.evaluation._data.outputs import Output, read_outputs, write_outputs
from moa.evaluation._judges.model_judge import model_judge
from moa.evaluation._judges.pairwise import PAIRWISE
from moa.evaluation._pipeline import aevaluate, evaluate
from moa.evaluation._reporting import write_report
from moa.evaluation._runner.progress import Progress
from moa.evaluation._runner.run_directory import RunDirectory
from moa.providers._base import ModelRequest
from moa.providers._scripted import Pause, Script
from moa.providers._token_estimates import estimated_tokens
from tests.support.engines import mixture_of, user_text
from tests.support.evaluations import (
    PRICE,
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


@pytest.mark.slow
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
    judge = model_judge("pairwise@fake/judge", single("fake/judge", price=PRICE), PAIRWISE)
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

    assert {one.name: one.answers.asked for one in before.systems} == {one.name: 3 for one in before.systems}
