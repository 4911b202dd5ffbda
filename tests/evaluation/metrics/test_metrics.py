import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moa.errors import EvaluationDataError
from moa.evaluation._data.annotations import Annotation, read_annotations
from moa.evaluation._metrics.metrics import Metrics
from moa.evaluation._metrics.metrics import metrics as metrics_of
from moa.evaluation._metrics.paired_difference import Comparison
from moa.evaluation._metrics.paired_difference import compare as compare_verdicts
from moa.evaluation._metrics.verdicts import common_rows, verdicts_of
from moa.evaluation._statistics.findings import Finding
from tests.evaluation.conftest import Reference


def metrics(rows: Sequence[Annotation], *args: Any, **options: Any) -> Metrics:
    return metrics_of(verdicts_of(rows), *args, **options)


def compare(first: Sequence[Annotation], second: Sequence[Annotation], *args: Any, **options: Any) -> Comparison:
    return compare_verdicts(verdicts_of(first), verdicts_of(second), *args, **options)


@pytest.mark.slow
def test_metrics_of_a_real_file_are_the_published_ones(reference: Reference, tmp_path: Path) -> None:
    model = "FuseChat-Qwen-2.5-7B-Instruct"
    row = reference.leaderboard[model]

    found = metrics(read_annotations(reference.annotation_file(model, tmp_path)), reference.data)
    values = found.as_dict()

    assert values["lc_model"] == "length_controlled_v1"
    assert values["length_controlled_win_rate"] == pytest.approx(float(row["length_controlled_winrate"]), abs=1e-5)
    assert values["official_lc_standard_error"] == pytest.approx(float(row["lc_standard_error"]), abs=1e-5)
    assert values["avg_length"] == int(row["avg_length"])
    assert values["n_total"] == 805
    low, high = values["lc_interval"]
    assert low < values["length_controlled_win_rate"] < high
    assert high - low == pytest.approx(2 * 1.96 * values["lc_standard_error"], rel=0.2)
    assert json.loads(json.dumps(values)) == values


@pytest.mark.slow
def test_alignment_by_row_is_what_was_published_of_a_file_with_a_row_missing(
    reference: Reference, tmp_path: Path
) -> None:
    annotations = read_annotations(reference.annotation_file("minotaur-13b", tmp_path))
    published = float(reference.leaderboard["minotaur-13b"]["length_controlled_winrate"])

    by_row = metrics(annotations, reference.data, align="row")
    by_instruction = metrics(annotations, reference.data)

    assert by_row.length_controlled_win_rate == pytest.approx(published, abs=1e-5)
    assert by_instruction.length_controlled_win_rate == pytest.approx(9.105, abs=1e-3)


def test_alignment_by_instruction_does_not_depend_on_the_order_of_the_file(
    reference: Reference, tmp_path: Path
) -> None:
    annotations = read_annotations(reference.annotation_file("claude-2", tmp_path))
    shuffled = [annotations[place] for place in np.random.default_rng(0).permutation(len(annotations))]

    one, other = (metrics(rows, reference.data) for rows in (annotations, shuffled))

    # Only the folds, which go by position, differ.
    assert one.length_controlled_win_rate == pytest.approx(other.length_controlled_win_rate, abs=0.35)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: replace(a, instruction=f"{a.instruction} my own"), "not all prompts are AlpacaEval's"),
        (lambda a: replace(a, generator_1="claude-3-5-sonnet"), "not against claude-3-5-sonnet"),
    ],
)
def test_other_prompts_and_baselines_get_the_equal_length_model_and_are_told_why(
    reference: Reference, tmp_path: Path, change: Callable[[Annotation], Annotation], reason: str
) -> None:
    path = reference.annotation_file("FuseChat-Llama-3.2-1B-Instruct", tmp_path)
    annotations = [change(a) for a in read_annotations(path)]

    found = metrics(annotations, reference.data)

    assert found.lc_model == "equal_length"
    assert reason in found.lc_reason
    assert found.length_controlled_win_rate == pytest.approx(26.139, abs=0.01)


def test_the_official_model_can_be_asked_for_against_another_baseline(reference: Reference, tmp_path: Path) -> None:
    path = reference.annotation_file("claude-2", tmp_path)
    annotations = [replace(a, generator_1="sonnet") for a in read_annotations(path)]

    found = metrics(annotations, reference.data, model="length_controlled_v1")

    assert found.length_controlled_win_rate == pytest.approx(28.155, abs=1e-3)
    assert found.lc_reason == (
        "as asked for, though difficulties were measured against gpt4_1106_preview, not against sonnet"
    )
    with pytest.raises(EvaluationDataError, match="use equal_length"):
        metrics(annotations, model="length_controlled_v1")


def test_the_baseline_against_itself_is_50_by_construction() -> None:
    found = metrics([_annotation(number, 1.5, system="base") for number in range(20)])

    assert found.length_controlled_win_rate == 50.0
    assert found.lc_standard_error is None
    assert "by construction" in found.lc_reason


def test_too_few_verdicts_give_counts_but_no_length_control() -> None:
    found = metrics([_annotation(number, 1.0 + number % 2) for number in range(6)])

    assert found.counts.win_rate == 50.0
    assert (found.length_controlled_win_rate, found.lc_standard_error, found.lc_interval) == (None, None, None)
    assert "fewer than 10 verdicts" in found.lc_reason


def test_equal_verdicts_have_an_interval_that_holds_for_them_but_no_standard_error() -> None:
    found: Metrics = metrics([_annotation(number, 2.0) for number in range(30)])

    assert found.length_controlled_win_rate is not None
    assert found.length_controlled_win_rate > 95
    assert found.lc_standard_error is None
    assert found.lc_interval is not None
    # Clopper and Pearson's for 30 of 30 begins at 88.4.
    assert 83.0 < found.lc_interval.low < 88.4
    assert found.lc_interval.high == 100.0


def test_several_systems_or_no_annotation_are_refused() -> None:
    with pytest.raises(EvaluationDataError, match="exactly one generator_2, found one, two"):
        metrics([_annotation(0, 2.0, system="one"), _annotation(1, 2.0, system="two")])
    with pytest.raises(EvaluationDataError, match="found none"):
        metrics([])


@pytest.mark.slow
def test_comparison_is_paired_on_the_common_prompts(reference: Reference, tmp_path: Path) -> None:
    strong, weak = (read_annotations(reference.annotation_file(model, tmp_path)) for model in ("claude-2", "phi-2"))

    found = compare(strong, weak, reference.data)

    assert found.n == 803
    assert found.lc_difference is not None
    assert found.lc_difference.interval.low < 28.155 - 3.815 < found.lc_difference.interval.high
    assert found.evidence is not None
    assert found.evidence.controlled.finding is Finding.BETTER
    assert found.predicted_win_rate is not None
    assert found.predicted_win_rate.value > 85
    assert found.win_rate_difference is not None
    assert found.win_rate_difference.value == pytest.approx(14.8, abs=0.5)


def test_comparison_of_other_prompts_has_no_prediction_and_of_few_no_figures() -> None:
    rng = np.random.default_rng(0)
    mine, theirs = (
        [_annotation(number, 1 + float(rng.random()), system=name) for number in range(40)] for name in "ab"
    )

    found, few = compare(mine, theirs), compare(mine[:4], theirs)

    assert found.lc_model == "equal_length"
    assert found.predicted_win_rate is None
    assert found.evidence is not None
    assert (few.n, few.lc_difference, few.win_rate_difference) == (4, None, None)


def test_white_space_does_not_make_another_instruction(reference: Reference, tmp_path: Path) -> None:
    annotations = read_annotations(reference.annotation_file("claude-2", tmp_path))
    padded = [replace(a, instruction=a.instruction.replace(" ", "\n ") + "\n") for a in annotations]

    found = metrics(padded, reference.data)

    assert found.lc_model == "length_controlled_v1"
    assert found.length_controlled_win_rate == pytest.approx(28.155196, abs=1e-5)


def test_missing_instructions_are_told_with_the_way_that_published_figures_take(
    reference: Reference, tmp_path: Path
) -> None:
    annotations = read_annotations(reference.annotation_file("minotaur-13b", tmp_path))

    by_instruction, by_row = (metrics(annotations, reference.data, align=a) for a in ("instruction", "row"))

    assert "1 of 805 missing: published figures of such files align by row" in by_instruction.lc_reason
    assert "missing" not in by_row.lc_reason


def test_alignment_by_row_is_for_alpacaevals_prompts_and_at_most_as_many(reference: Reference, tmp_path: Path) -> None:
    annotations = read_annotations(reference.annotation_file("claude-2", tmp_path))
    foreign = [replace(a, instruction=f"{a.instruction} my own") for a in annotations[:40]]

    assert metrics(foreign, reference.data, align="row").lc_model == "equal_length"
    with pytest.raises(EvaluationDataError, match="806 annotations can't be aligned by row with 805 instructions"):
        metrics([*annotations, annotations[0]], reference.data, align="row")


def test_judging_every_prompt_twice_alike_does_not_make_the_figure_more_certain() -> None:
    rng = np.random.default_rng(5)
    once = [_annotation(number, 1.0 + float(rng.random())) for number in range(60)]

    one, twice = metrics(once), metrics([*once, *once])

    assert one.lc_interval is not None
    assert twice.lc_interval is not None
    assert twice.counts.n_total == 120
    # Twice the rows at the same strength of penalty: not exactly the same weights.
    assert twice.lc_standard_error == pytest.approx(one.lc_standard_error, rel=0.1)
    width, wide = (found.high - found.low for found in (one.lc_interval, twice.lc_interval))
    assert wide == pytest.approx(width, rel=0.1)


def test_one_prompt_judged_often_says_nothing_about_other_prompts() -> None:
    rng = np.random.default_rng(5)

    found = metrics([replace(_annotation(n, 1.0 + float(rng.random())), instruction="same") for n in range(40)])

    assert found.length_controlled_win_rate is not None
    assert found.lc_standard_error is None
    assert found.lc_interval is not None
    assert found.lc_interval.high - found.lc_interval.low > 99.0


def test_comparison_pairs_a_repeated_prompt_row_by_row() -> None:
    mine = [_annotation(1, 2.0), _annotation(2, 2.0), _annotation(1, 1.0)]
    theirs = [_annotation(1, 1.1), _annotation(1, 1.2), _annotation(1, 1.3)]

    common = common_rows([verdicts_of(mine), verdicts_of(theirs)])

    assert common is not None
    found, others = common
    assert (1.0 + found.won).tolist() == [2.0, 1.0]
    assert (1.0 + others.won).tolist() == [1.1, 1.2]


def test_comparison_refuses_different_baselines_and_strangers() -> None:
    mine = [_annotation(1, 2.0)]

    with pytest.raises(EvaluationDataError, match="one baseline only, not against base, other"):
        compare(mine, [replace(mine[0], generator_1="other")])
    with pytest.raises(EvaluationDataError, match="no prompt in common"):
        compare(mine, [_annotation(2, 2.0)])


def _annotation(number: int, preference: float, system: str = "system") -> Annotation:
    return Annotation(
        instruction=f"prompt {number}",
        output_1="b" * (50 + number % 7),
        output_2="s" * (50 + number % 11),
        generator_1="base",
        generator_2=system,
        preference=preference,
    )
