"""Verdicts out of files of annotations, in place of a judge or before one."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from moa.errors import EvaluationDataError
from moa.evaluation._analysis.load_run import collect
from moa.evaluation._judges.loading import load_judge
from moa.evaluation._judges.stored import StoredVerdicts, stored_judge, stored_verdicts
from moa.evaluation._pipeline import Evaluation, aevaluate
from moa.evaluation._reporting import write_report
from moa.evaluation._runner.run_directory import RunDirectory
from tests.evaluation.conftest import Reference
from tests.support.evaluations import asked, evaluated, models


def annotation(number: int, preference: float | None, **keys: Any) -> dict[str, Any]:
    return {
        "instruction": f"question {number}",
        "output_1": f"theirs {number}",
        "output_2": f"mine {number}",
        "generator_1": "them",
        "generator_2": "me",
        "annotator": "somebody",
        "preference": preference,
        **keys,
    }


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(rows))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, side in (("mine", "me"), ("theirs", "them")):
        rows = [{"instruction": f"question {n}", "output": f"{name} {n}", "generator": side} for n in range(4)]
        write(tmp_path / f"{name}.json", rows)
    return tmp_path


async def run(folder: Path, *, baseline: str = "theirs", mine: str = "mine", **options: Any) -> Evaluation:
    return await aevaluate(
        [f"question {n}" for n in range(4)],
        None,
        out=folder / "run",
        outputs={mine: folder / f"{mine}.json"},
        baseline=folder / f"{baseline}.json",
        judge_checks=False,
        **options,
    )


def preferences(folder: Path, system: str = "mine") -> list[float | None]:
    found = next(one for one in collect(RunDirectory(folder / "run")).systems if one.name == system)
    assert found.verdicts is not None
    return [None if math.isnan(won) else 1.0 + won for won in found.verdicts.won.tolist()]


async def test_given_outputs_are_judged_by_stored_verdicts_and_nobody_is_asked(folder: Path) -> None:
    path = write(folder / "a.json", [annotation(n, one) for n, one in enumerate((2.0, 1.0, 0, 1.75))])

    done = await run(folder, annotations=[path])

    assert (done.ended, done.is_fruitless, done.progress.spent_usd) == ("complete", False, 0)
    assert preferences(folder) == [2.0, 1.0, 1.5, 1.75]
    how = collect(RunDirectory(folder / "run")).how
    assert how["Judge"] == "somebody as files of annotations have it, asking nobody, against them"


async def test_the_original_command_compares_a_mixture_and_a_baseline_the_other_way_round_too(folder: Path) -> None:
    path = write(folder / "a.json", [annotation(n, one) for n, one in enumerate((2.0, 1.25, 1.5, 1.0))])

    await run(folder, mine="theirs", baseline="mine", annotations=[path])

    assert preferences(folder, "theirs") == [1.0, 1.75, 1.5, 2.0]


async def test_a_pair_without_a_stored_verdict_is_missing_and_says_why(folder: Path) -> None:
    path = write(folder / "a.json", [annotation(0, 2.0), annotation(1, None), annotation(2, 1.0, output_2="other")])

    done = await run(folder, annotations=[path])

    assert preferences(folder) == [2.0, None, None, None]
    assert done.cause == "the annotations have no verdict on this pair of outputs"
    assert done.progress.unjudged == 3


async def test_a_judge_is_asked_about_the_other_pairs_only(folder: Path) -> None:
    provider = models()
    path = write(folder / "a.json", [annotation(n, 2.0, annotator="pairwise@fake/judge") for n in (0, 2)])

    await run(folder, annotations=[path], judge="pairwise", judge_model="fake/judge", providers={"fake": provider})

    assert asked(provider) == {"judge": 4}
    assert preferences(folder) == [2.0, 1.5, 2.0, 1.5]  # the judge prefers what is shown first, in both orders


@pytest.mark.slow
async def test_given_outputs_with_times_have_a_place_in_the_reports_picture(folder: Path) -> None:
    timed = [{**row, "total_time": 3} for row in json.loads((folder / "mine.json").read_text())]
    write(folder / "mine.json", timed)
    path = write(folder / "a.json", [annotation(n, one) for n, one in enumerate((2.0, 1.0, 1.5, 1.75))])

    await run(folder, annotations=[path])
    written = write_report(folder / "run")

    assert (folder / "run" / "charts" / "tradeoff.svg").exists()
    assert written.summary.systems[0].role == "outputs"


async def test_verdicts_of_both_orders_are_kept_and_turned_with_the_pair(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", [annotation(0, 1.75, orders=[2.0, 1.5])])

    found = stored_verdicts([path]).verdicts

    assert found["question 0", "theirs 0", "mine 0"].orders == (2.0, 1.5)
    assert found["question 0", "mine 0", "theirs 0"].orders == (1.5, 1.0)


def test_the_leaderboards_judge_is_known_by_its_name(tmp_path: Path) -> None:
    official, other = (
        stored_judge(stored_verdicts([write(tmp_path / "a.json", [annotation(0, 2.0, annotator=name)])]))
        for name in ("weighted_alpaca_eval_gpt4_turbo", "somebody")
    )

    assert (official.comparable, other.comparable) == (True, False)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (annotation(1, 2.0, annotator="another"), "verdicts of another, another file or row those of somebody"),
        (annotation(1, None), None),
    ],
)
def test_files_of_two_judges_are_refused(tmp_path: Path, second: dict[str, Any], said: str | None) -> None:
    paths = [write(tmp_path / "a.json", [annotation(0, 2.0)]), write(tmp_path / "b.json", [second])]

    if said is None:
        assert isinstance(stored_verdicts(paths), StoredVerdicts)
        return
    with pytest.raises(EvaluationDataError, match=said):
        stored_verdicts(paths)


def test_a_file_without_a_verdict_and_one_of_another_judge_than_the_one_to_be_asked_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", [annotation(0, None)])
    with pytest.raises(EvaluationDataError, match="has no verdict"):
        stored_verdicts([path])

    path = write(tmp_path / "a.json", [annotation(0, 2.0)])
    judge = load_judge("pairwise", judge_model="fake/judge")
    with pytest.raises(
        EvaluationDataError, match="has verdicts of somebody, and the judge for other pairs would be pair"
    ):
        stored_judge(stored_verdicts([path]), judge)


async def test_a_mixture_that_is_asked_has_no_stored_verdict(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", [annotation(0, 2.0)])

    done = await evaluated(tmp_path / "run", annotations=[path], baseline="fake/big")

    assert done.is_fruitless
    assert done.progress.unjudged == 24


@pytest.mark.slow
async def test_real_verdicts_on_two_models_give_the_published_figures_and_a_verdict(
    reference: Reference, tmp_path: Path
) -> None:
    instructions, paths = list(reference.data.position), []
    for name, letter in (("claude-2.1", "s"), ("gpt-3.5-turbo-0301", "t")):
        rows = [
            {
                "instruction": instructions[int(row["index"])],
                "output_1": "b" * int(row["len_1"]),
                "generator_1": "gpt4_1106_preview",
                "output_2": letter * int(row["len_2"]),
                "generator_2": name,
                "annotator": "weighted_alpaca_eval_gpt4_turbo",
                "preference": float(row["preference"]),
            }
            for row in reference.rows[name]
        ]
        paths.append(write(tmp_path / f"{name}.annotations.json", rows))
        for side, number in (("gpt4_1106_preview", 1), (name, 2)):
            outputs = [
                {"instruction": row["instruction"], "output": row[f"output_{number}"], "generator": side}
                for row in rows
            ]
            write(tmp_path / f"{side}.json", outputs)

    await aevaluate(
        instructions,
        None,
        out=tmp_path / "run",
        outputs={"claude-2.1": tmp_path / "claude-2.1.json"},
        baseline=tmp_path / "gpt-3.5-turbo-0301.json",
        reference=tmp_path / "gpt4_1106_preview.json",
        annotations=paths,
    )
    summary = write_report(tmp_path / "run", reference.data).summary

    for system in summary.systems[:2]:
        assert system.metrics is not None
        published = float(reference.leaderboard[system.name]["length_controlled_winrate"])
        assert system.metrics.length_controlled_win_rate == pytest.approx(published, abs=0.4)
        assert system.rank is not None
    assert summary.conclusion.line == "your call", "better by about 7 points, at an unknown cost"
    assert summary.comparable


async def test_annotations_of_other_outputs_are_refused_before_they_are_a_judge_that_cannot_tell(folder: Path) -> None:
    others = [annotation(number, 2.0, output_1="another") for number in range(4)]
    spaced = [annotation(number, 2.0, instruction=f" question {number}\r\n") for number in range(4)]

    with pytest.raises(EvaluationDataError, match="no verdict on any output of mine beside them's"):
        await run(folder, annotations=[write(folder / "others.json", others)])
    await run(folder, annotations=[write(folder / "spaced.json", spaced)])

    assert preferences(folder) == [2.0] * 4
