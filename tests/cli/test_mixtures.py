import json
import os
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from yaml import safe_load

from moa._mixture.loading import load, preset_names
from tests.cli.moa_command import PAIR, moa


def test_mixtures_list_names_every_preset() -> None:
    ended = moa("mixtures", "list")

    assert ended.code == 0
    assert [name for name in preset_names() if name not in ended.out] == []


def test_mixtures_alone_lists_them() -> None:
    assert moa("mixtures") == moa("mixtures", "list")


def test_mixtures_show_draws_a_preset_with_overrides() -> None:
    ended = moa("mixtures", "show", "bedrock-haiku", "--set", "aggregator.temperature=0.9")

    assert ended.code == 0
    assert "layer 1" in ended.out
    assert "temperature 0.9" in ended.out


@pytest.mark.usefixtures("folder")
def test_mixtures_check_looks_at_every_file_and_exits_with_2_if_one_is_wrong(folder: Path) -> None:
    (folder / "wrong.yaml").write_text("layers: []\nagregator: {model: demo/one}\n")

    good = moa("mixtures", "check", "pair.yaml")
    mixed = moa("mixtures", "check", "wrong.yaml", "pair.yaml")

    assert (good.code, good.out) == (0, "pair.yaml: 2 proposers, then synthesis by demo/writer\n")
    assert (mixed.code, mixed.out) == (2, good.out)
    assert "wrong.yaml:2: agregator" in mixed.err


def test_mixtures_check_lists_every_fault_of_a_file(folder: Path) -> None:
    (folder / "wrong.yaml").write_text(
        "layers:\n  - proposers: [{model: demo/one, temperatur: 3}]\n  - proposers: []\naggregator: {modl: demo/one}\n"
    )

    ended = moa("mixtures", "check", "wrong.yaml")

    assert ended.code == 2
    assert [line.split(": ")[1:3] for line in ended.err.splitlines()] == [
        ["wrong.yaml:2", "layers.0.proposers.0.temperatur"],
        ["wrong.yaml:3", "layers.1.proposers"],
        ["wrong.yaml:4", "aggregator.model"],
        ["wrong.yaml:4", "aggregator.modl"],
    ]


def test_mixtures_check_looks_at_the_prompts_template_too(folder: Path) -> None:
    (folder / "blind.txt").write_text("no proposals here")
    (folder / "blind.yaml").write_text(f"prompt: blind.txt\n{PAIR}")

    ended = moa("mixtures", "check", "blind.yaml")

    assert ended.code == 2
    assert "blind.txt" in ended.err


@pytest.mark.usefixtures("folder")
def test_mixtures_check_says_so_when_there_is_no_such_file() -> None:
    ended = moa("mixtures", "check", "absent.yaml")

    assert ended.code == 2
    assert "absent.yaml" in ended.err


def test_mixtures_schema_is_a_json_schema_that_takes_the_mixture_file() -> None:
    schema = json.loads(moa("mixtures", "schema").out)

    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert validator.is_valid({"layers": [], "aggregator": {"model": "lab/a"}})
    assert not validator.is_valid({"layers": [], "agregator": {"model": "lab/a"}})


@pytest.mark.usefixtures("folder")
def test_mixtures_init_writes_a_file_that_passes_the_check_and_never_overwrites(folder: Path) -> None:
    first = moa("mixtures", "init", "new.yaml")
    text = (folder / "new.yaml").read_text(encoding="utf-8")
    second = moa("mixtures", "init", "new.yaml")

    assert (first.code, second.code) == (0, 2)
    assert (folder / "new.yaml").read_text(encoding="utf-8") == text
    assert load("new.yaml").layers[0].size == 3
    assert "new.yaml exists already" in second.err


@pytest.mark.usefixtures("folder")
def test_mixtures_init_writes_a_file_whose_comments_can_be_switched_on(folder: Path) -> None:
    moa("mixtures", "init", "new.yaml")
    lines = (folder / "new.yaml").read_text(encoding="utf-8").splitlines()
    options = ("# aggregation:", "# wait:", "# on_aggregator_failure:", "# deadline_s:", "# role:", "# timeout_s:")
    switched = [
        line.replace("# ", "", 1) if line.strip().startswith((*options, "# fallback:")) else line for line in lines
    ]

    mixture = load(safe_load("\n".join(switched)))

    assert mixture.wait is not None
    assert (mixture.deadline_s, mixture.aggregator.fallback) == (120, ("openai/gpt-6-luna",))


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="the system has no /dev/fd")
def test_mixtures_check_reads_a_file_that_a_shell_passes_as_a_pipe() -> None:
    reader, writer = os.pipe()
    with open(reader):
        with open(writer, "w") as pipe:
            pipe.write(PAIR)
        ended = moa("mixtures", "check", f"/dev/fd/{reader}")

    assert (ended.code, ended.out) == (0, f"/dev/fd/{reader}: 2 proposers, then synthesis by demo/writer\n")
