import json
from pathlib import Path

import pytest

from moa.errors import EvaluationDataError
from moa.evaluation._analysis.judge_stats import judge_record
from moa.evaluation._data.annotations import Judgement, judgements_of, read_annotations
from moa.evaluation._data.outputs import Output
from moa.evaluation._judge_files import judge_into, left_out, pairs_of, replies_beside
from moa.evaluation._judges.loading import load_judge
from moa.evaluation._metrics.verdicts import verdicts_of
from tests.support.engines import engine_of, scripted


def outputs(generator: str, *texts: str) -> list[Output]:
    return [Output(instruction=f"q{n}", output=text, generator=generator) for n, text in enumerate(texts)]


def test_pairs_are_matched_by_instruction_in_the_references_order() -> None:
    pairs = pairs_of(outputs("base", "a", "b", "c"), outputs("sys", "x", "y")[::-1])

    assert [(pair.instruction, pair.output_1, pair.output_2) for pair in pairs] == [("q0", "a", "x"), ("q1", "b", "y")]
    assert [pair.index for pair in pairs] == [0, 1]
    with pytest.raises(EvaluationDataError, match="in common"):
        pairs_of(outputs("base", "a"), [Output(instruction="other", output="x", generator="s")])


def test_an_instruction_with_several_outputs_has_a_pair_for_each_and_equal_pairs_are_one() -> None:
    pairs = pairs_of(outputs("base", "a", "b"), [*outputs("sys", "x", "y"), *outputs("sys", "x"), *outputs("sys", "z")])

    assert [(pair.output_1, pair.output_2, pair.index) for pair in pairs] == [
        ("a", "x", 0),
        ("a", "z", 1),
        ("b", "y", 2),
    ]


def test_instructions_that_only_one_file_has_are_told_of() -> None:
    sentences = left_out(outputs("base", "a", "b", "c"), outputs("sys", "x", "y"))

    assert sentences == ("1 of 3 instructions of the reference have no counterpart and are left out",)
    assert left_out(outputs("base", "a"), outputs("sys", "x")) == ()


async def test_verdicts_that_the_file_has_are_kept_and_only_the_others_are_asked_for(tmp_path: Path) -> None:
    path, provider = tmp_path / "annotations.json", scripted({"judge": '{"verdict": "A"}'})
    judge = load_judge("pairwise", judge_model="fake/judge")
    pairs = pairs_of(outputs("base", "a", "b", "c"), outputs("sys", "x", "y", "z"))

    async with engine_of(provider) as engine:
        for some in (pairs[:2], pairs):
            await judge_into(path, judge, some, engine, concurrency=2, on_verdict=lambda pair, verdict: None)

    assert len(provider.requests) == 6
    found = read_annotations(path)
    assert [annotation.preference for annotation in found] == [1.5, 1.5, 1.5]
    record = judge_record(verdicts_of(judgements_of(json.loads(path.read_text()))))
    assert (record.n, record.missing, record.flips, record.ties, record.usd) == (3, 0, 1.0, 1.0, None)


@pytest.mark.slow
async def test_what_a_killed_process_had_bought_is_not_asked_for_again(tmp_path: Path) -> None:
    path, provider = tmp_path / "annotations.json", scripted({"judge": '{"verdict": "A"}'})
    judge = load_judge("pairwise", judge_model="fake/judge")
    pairs = pairs_of(outputs("base", "a", "b", "c"), outputs("sys", "x", "y", "z"))
    for some in (pairs[:2], pairs):
        async with engine_of(provider, cache=replies_beside(path)) as engine:
            await judge_into(path, judge, some, engine, concurrency=2, on_verdict=lambda pair, verdict: None)
        path.unlink()  # as if it had been killed before it could write

    assert len(provider.requests) == 6


async def test_verdicts_beyond_the_limit_stay_in_the_file(tmp_path: Path) -> None:
    path, provider = tmp_path / "annotations.json", scripted({"judge": '{"verdict": "A"}'})
    judge = load_judge("pairwise", judge_model="fake/judge")
    pairs = pairs_of(outputs("base", "a", "b", "c"), outputs("sys", "x", "y", "z"))

    async with engine_of(provider) as engine:
        for limit in (2, None, 1):
            rows = await judge_into(
                path, judge, pairs, engine, concurrency=2, on_verdict=lambda pair, verdict: None, limit=limit
            )

    assert (len(rows), len(read_annotations(path)), len(provider.requests)) == (1, 3, 6)


@pytest.mark.parametrize(
    "name", ["annotations.json.gz", "annotations.jsonl", "annotations.CSV", "taken/annotations.json"]
)
def test_a_place_for_annotations_that_can_not_be_is_refused_before_anybody_is_asked(name: str, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()

    with pytest.raises(EvaluationDataError, match=r"ends with .json|can't be"):
        replies_beside(tmp_path / name)


async def test_a_file_of_another_judge_or_of_other_outputs_is_refused(tmp_path: Path) -> None:
    path, judge = tmp_path / "annotations.json", load_judge("pairwise", judge_model="fake/judge")
    pairs = pairs_of(outputs("base", "a"), outputs("sys", "x"))
    row = {"instruction": "q0", "output_1": "a", "output_2": "x", "annotator": "other", "preference": 1}

    async with engine_of(scripted({})) as engine:
        for changed, words in (
            ({}, "annotations of other"),
            ({"annotator": judge.name, "output_2": "?"}, "other outputs"),
        ):
            path.write_text(json.dumps([{**row, **changed}]))
            with pytest.raises(EvaluationDataError, match=words):
                await judge_into(path, judge, pairs, engine, concurrency=1, on_verdict=lambda pair, verdict: None)


def test_annotations_of_other_programs_have_unknown_prices_and_orders() -> None:
    rows = [
        Judgement(instruction="q", output_1="a", output_2="b", generator_1="x", generator_2="y", preference=preference)
        for preference in (1.0, None)
    ]

    record = judge_record(verdicts_of(rows))

    assert (record.missing, record.usd, record.flips, record.agreement) == (1, None, None, None)
