import json
from pathlib import Path

import pytest

from moa.errors import EvaluationDataError, MixtureError, UsageError
from moa.evaluation._data.datasets import Instruction
from moa.evaluation._runner.systems import baseline_of, check_names, matched, parts_of
from tests.support.engines import mixture_of


def test_parts_are_the_mixture_its_aggregator_and_every_agent_of_layer_1() -> None:
    mixture = mixture_of(["one", {"model": "two", "samples": 3}], ["three"])

    assert [system.name for system in parts_of(mixture)] == [
        "test",
        "test.aggregator",
        "test.member.one",
        "test.member.two",
    ]


def test_a_single_model_has_no_parts() -> None:
    assert [system.role for system in parts_of(mixture_of(aggregator="agg"))] == ["mixture"]


def test_self_moa_has_as_many_samples_in_every_layer_as_the_mixture_has_calls() -> None:
    mixture = mixture_of(["one", "two"], [{"model": "three", "samples": 3}])

    made = parts_of(mixture, self_moa="one")[-1].mixture

    assert made is not None
    assert [(layer.proposers[0].model, layer.size) for layer in made.layers] == [("fake/one", 2), ("fake/one", 3)]
    assert made.aggregator == mixture.aggregator


def test_self_moa_never_samples_at_temperature_0() -> None:
    mixture = mixture_of([{"model": "one", "temperature": 0}, {"model": "two", "temperature": 0.3}])

    cold, warm = (parts_of(mixture, self_moa=name)[-1].mixture for name in ("one", "two"))

    assert cold is not None
    assert warm is not None
    assert cold.layers[0].proposers[0].temperature == 0.7
    assert warm.layers[0].proposers[0].temperature == 0.3


@pytest.mark.parametrize("name", ["aggregator", "fake/other"])
def test_self_moa_may_be_of_the_aggregator_or_of_another_model(name: str) -> None:
    made = parts_of(mixture_of(["one"]), self_moa=name)[-1].mixture

    assert made is not None
    assert made.layers[0].proposers[0].model in ("fake/agg", "fake/other")


def test_self_moa_of_nobody_is_refused_with_the_members_names() -> None:
    with pytest.raises(UsageError, match=r"member of layer 1 \(one, two\)"):
        parts_of(mixture_of(["one", "two"]), self_moa="three")


def test_selection_of_a_mixture_that_selects_is_refused() -> None:
    with pytest.raises(UsageError, match="selects already"):
        parts_of(mixture_of(["one"], aggregation="selection"), selection=True)


def test_a_baseline_is_recognised_by_what_it_looks_like(tmp_path: Path) -> None:
    (tmp_path / "o.json").write_text(json.dumps([{"instruction": "i", "output": "o", "generator": "g"}]))
    (tmp_path / "m.yaml").write_text("layers: []\naggregator: {model: fake/agg}")

    from_file = baseline_of(str(tmp_path / "o.json"))
    assert (from_file.name, list(from_file.outputs or ())) == ("g", ["i"])
    assert baseline_of(str(tmp_path / "m.yaml")).name == "m"
    assert baseline_of("together-moa").name == "together-moa"
    assert baseline_of("openai/gpt-4o").mixture.references == ("openai/gpt-4o",)  # type: ignore[union-attr]


def test_a_baseline_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationDataError, match="can't be read"):
        baseline_of(str(tmp_path / "none.json"))
    with pytest.raises(MixtureError, match="no preset and no file"):
        baseline_of("gpt")


@pytest.mark.parametrize(("name", "message"), [("o.json.zst", "is not JSON"), ("o.parquet", "must end with PAR1")])
def test_a_file_that_is_no_outputs_file_is_not_taken_for_a_mixture(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("instruction,output\ni,o\n")

    with pytest.raises(EvaluationDataError, match=message):
        baseline_of(tmp_path / name)


def test_a_file_of_several_generators_is_refused(tmp_path: Path) -> None:
    rows = [{"instruction": "i", "output": "o", "generator": name} for name in ("g", "h")]
    (tmp_path / "o.json").write_text(json.dumps(rows))

    with pytest.raises(EvaluationDataError, match="outputs of 2 generators"):
        baseline_of(tmp_path / "o.json")


def test_two_outputs_to_one_instruction_are_refused_unless_they_are_the_same(tmp_path: Path) -> None:
    same, other = ({"instruction": "i", "output": text} for text in ("o", "another"))
    (tmp_path / "same.json").write_text(json.dumps([same, same]))
    (tmp_path / "other.json").write_text(json.dumps([same, other]))

    assert len(baseline_of(tmp_path / "same.json").outputs or ()) == 1
    with pytest.raises(EvaluationDataError, match="row 2: has another output to the instruction of row 1"):
        baseline_of(tmp_path / "other.json")


def test_given_outputs_are_matched_whatever_the_line_ends_and_the_white_space_around(tmp_path: Path) -> None:
    rows = [{"instruction": text, "output": text.upper()} for text in ("a\r\nb ", "c", "c\n", "of another prompt")]
    (tmp_path / "o.json").write_text(json.dumps(rows))
    prompts = [Instruction(index=number, prompt=text) for number, text in enumerate(["a\nb", "c"])]
    system = baseline_of(tmp_path / "o.json")

    found = matched(system, prompts)

    assert found.outputs is not None
    assert [found.outputs[one.text].output for one in prompts] == ["A\r\nB ", "C"]
    assert found.entry() == system.entry() == matched(system, prompts[:1]).entry(), "a run can grow"


def test_outputs_to_other_prompts_are_refused_before_they_count_as_losses(tmp_path: Path) -> None:
    (tmp_path / "o.json").write_text(json.dumps([{"instruction": "theirs", "output": "o"}]))

    with pytest.raises(EvaluationDataError, match=r"no output to any of these prompts: .*“theirs”.*“ours”"):
        matched(baseline_of(tmp_path / "o.json"), [Instruction(index=0, prompt="ours")])


def test_two_systems_of_one_name_are_refused() -> None:
    parts = parts_of(mixture_of(["one"]))

    with pytest.raises(UsageError, match="two systems are called test"):
        check_names((*parts, baseline_of(mixture_of(aggregator="agg"))))


def test_a_baseline_that_is_a_model_may_be_limited_in_what_it_writes_and_nothing_else_may() -> None:
    system = baseline_of("lab/large", max_tokens=300)

    assert system.mixture is not None
    assert system.mixture.aggregator.max_tokens == 300
    for other in ("local", "outputs.json"):
        with pytest.raises(UsageError, match="--baseline-max-tokens is for a model"):
            baseline_of(other, max_tokens=300)
