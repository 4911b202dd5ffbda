"""Judging again what another judge has judged: drawn pairs, figures, and what may be read by them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench.calibrate import judged_again

from moa.errors import EvaluationDataError
from moa.evaluation._analysis.calibration import (
    Calibration,
    calibrate,
    official_annotations,
    on_official_scale,
    opponent_digest,
    read_calibration,
    sample,
    why_unreadable,
    write_calibration,
)
from moa.evaluation._analysis.summary import summarize
from moa.evaluation._data.annotations import Annotation
from moa.evaluation._metrics.metrics import metrics
from moa.evaluation._metrics.verdicts import verdicts_of
from tests.evaluation.analysis.test_summary import collected, system
from tests.evaluation.conftest import Reference

PROMPTS = 120


def rows_of(name: str, share: float, seed: int, *, prompts: int = PROMPTS) -> list[Annotation]:
    """Verdicts on one system that wins about so often."""
    rng = np.random.default_rng(seed)
    return [
        Annotation(
            instruction=f"question {n}",
            output_1=f"base {n} " * 20,
            output_2=f"{name} {n} " * 20,
            generator_1="base",
            generator_2=name,
            preference=float(1.0 + min(max(share + rng.normal(0.0, 0.3), 0.0), 1.0)),
            annotator="official",
        )
        for n in range(prompts)
    ]


@pytest.fixture(scope="module")
def official() -> dict[str, list[Annotation]]:
    return {f"m{n}": rows_of(f"m{n}", 0.1 * n + 0.15, n) for n in range(7)}


@pytest.fixture(scope="module")
def again(official: dict[str, list[Annotation]]) -> dict[str, list[Annotation]]:
    rng = np.random.default_rng(5)
    return {name: judged_again(rows, 1.0, 0.0, 0.0, rng) for name, rows in official.items()}


def against(rows: list[Annotation]) -> list[str]:
    return [opponent_digest(row.instruction, row.output_1) for row in rows]


@pytest.fixture(scope="module")
def calibration(official: dict[str, list[Annotation]], again: dict[str, list[Annotation]]) -> Calibration:
    pairs = {(pair.instruction, pair.generator_2) for pair in sample(official, pairs=60, seed=0)}
    drawn = [row for rows in again.values() for row in rows if (row.instruction, row.generator_2) in pairs]
    return calibrate(official, drawn)


def test_pairs_are_drawn_for_each_system_on_its_own_and_more_hold_the_fewer(
    official: dict[str, list[Annotation]],
) -> None:
    few, many = (sample(official, pairs=pairs, seed=3) for pairs in (20, 50))
    other = sample(official, pairs=20, seed=4)

    by_system = [{pair.instruction for pair in few if pair.generator_2 == name} for name in official]
    assert all(len(found) == 20 for found in by_system)
    assert by_system[0] != by_system[1]
    assert {(p.instruction, p.generator_2) for p in few} < {(p.instruction, p.generator_2) for p in many}
    assert {(p.instruction, p.generator_2) for p in few} != {(p.instruction, p.generator_2) for p in other}
    assert [pair.index for pair in many] == list(range(350))


def test_figures_of_both_judges_agreement_and_a_file_that_holds_them(calibration: Calibration, tmp_path: Path) -> None:
    write_calibration(tmp_path / "calibration.json", calibration)

    assert [one.n for one in calibration.rated] == [60] * 7
    assert [one.of for one in calibration.rated] == [PROMPTS] * 7
    assert calibration.ranks("raw") == pytest.approx(1.0)
    assert 0.4 < calibration.same_side < 1.0
    # Half of the prompts were judged again: of their variance, half is left.
    assert calibration.rated[3].error < 100 * 0.5 / 60**0.5
    assert read_calibration(tmp_path) == calibration


def test_a_figure_of_another_system_is_read_and_its_official_one_lies_in_the_interval(
    calibration: Calibration, again: dict[str, list[Annotation]]
) -> None:
    left = calibration.rated[3]
    others = replace(calibration, rated=tuple(one for one in calibration.rated if one is not left))
    rows = again[left.name]

    raw, controlled = on_official_scale(others, left.name, "planted", against(rows), metrics(verdicts_of(rows)))

    assert raw.reading.interval.low <= left.official <= raw.reading.interval.high
    assert left.official_controlled is not None
    assert controlled.reading.interval.low <= left.official_controlled <= controlled.reading.interval.high
    assert raw.sentence.startswith("m3: win rate ")
    assert "on the official scale (95% interval " in raw.sentence


def test_other_judges_prompts_and_opponents_are_not_read(
    calibration: Calibration, again: dict[str, list[Annotation]]
) -> None:
    rows = again["m3"]
    elsewhere = [replace(row, output_1="another base") for row in rows]
    other_prompts = [replace(row, instruction="mine") for row in rows[:2]]

    assert why_unreadable(calibration, "planted", against(rows)) is None
    assert "another@x gave these verdicts" in str(why_unreadable(calibration, "another@x", against(rows)))
    assert "120 of 120 verdicts are on other prompts" in str(why_unreadable(calibration, "planted", against(elsewhere)))
    assert "2 of 2" in str(why_unreadable(calibration, "planted", against(other_prompts)))
    assert on_official_scale(calibration, "m3", "planted", against(elsewhere), metrics(verdicts_of(elsewhere))) == ()


def test_a_summary_says_why_a_calibration_of_other_verdicts_says_nothing(calibration: Calibration) -> None:
    run = collected(system("mix", "mixture", [1.0, 2.0, 1.9, 1.8] * 10, opponent="base"), opponent="base")

    found = summarize(run, calibration=calibration)

    assert found.readings == ()
    (said,) = set(found.warnings) - set(summarize(run).warnings)
    assert said.startswith("The calibration can't be used here: ")


def test_a_folder_of_results_holds_the_official_judges_files_only(
    official: dict[str, list[Annotation]], tmp_path: Path
) -> None:
    def write(folder: str, rows: list[Annotation], **changes: str) -> None:
        (tmp_path / folder).mkdir(parents=True)
        found = [{k: getattr(row, k) for k in Annotation.__slots__ if k != "orders"} | changes for row in rows]
        (tmp_path / folder / "annotations.json").write_text(json.dumps(found))

    for name in ("m1", "m2"):
        write(f"{name}/weighted_alpaca_eval_gpt4_turbo", official[name])
    write("m1/chatgpt_fn", official["m1"], annotator="chatgpt_fn")
    write("base/weighted_alpaca_eval_gpt4_turbo", official["m1"], generator_2="base")

    assert list(official_annotations([tmp_path])) == ["m1", "m2"]
    write("m5/weighted_alpaca_eval_gpt4_turbo", official["m5"])
    assert list(official_annotations([tmp_path], most=2)) == ["m1", "m5"], "spread over win rates"
    with pytest.raises(EvaluationDataError, match="one annotator"):
        official_annotations([tmp_path, tmp_path / "m1/chatgpt_fn/annotations.json"])
    with pytest.raises(EvaluationDataError, match="has no weighted_alpaca_eval_gpt4_turbo"):
        official_annotations([tmp_path / "m1" / "chatgpt_fn"])
    write("m3/weighted_alpaca_eval_gpt4_turbo", official["m3"], output_1="another answer of base")
    with pytest.raises(EvaluationDataError, match="two outputs of base"):
        official_annotations([tmp_path])


def test_what_is_no_calibration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "calibration.json").write_text('{"format": "something else"}')

    with pytest.raises(EvaluationDataError, match="is no calibration"):
        read_calibration(tmp_path)
    with pytest.raises(EvaluationDataError, match="can't be read"):
        read_calibration(tmp_path / "none.json")


@pytest.mark.slow
def test_on_real_verdicts_a_judge_who_prefers_length_is_read_back(reference: Reference, tmp_path: Path) -> None:
    names = list(reference.rows)[::3]
    official = official_annotations([reference.annotation_file(name, tmp_path) for name in names])
    rng = np.random.default_rng(2)
    again = {name: judged_again(rows, 1.0, 0.5, 0.0, rng) for name, rows in official.items()}

    whole = calibrate(official, [row for rows in again.values() for row in rows], reference.data)

    held = 0
    for left in whole.rated:
        others = replace(whole, rated=tuple(one for one in whole.rated if one is not left))
        rows = again[left.name]
        found = on_official_scale(
            others, left.name, "planted", against(rows), metrics(verdicts_of(rows), reference.data)
        )
        truths = {"raw": left.official, "controlled": left.official_controlled}
        held += sum(
            one.reading.interval.low <= float(truths[one.scale] or 0) <= one.reading.interval.high for one in found
        )
    # 20 readings, of which on average one is missed.
    assert held >= 17
    assert whole.length_model == "length_controlled_v1"
