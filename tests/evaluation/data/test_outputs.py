import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa._usage import TokenUsage
from moa.errors import EvaluationDataError
from moa.evaluation._data.outputs import Output, file_name, read_outputs, write_json, write_outputs


def test_outputs_come_back_as_they_were_written(tmp_path: Path) -> None:
    whole = Output(
        instruction="i",
        output="o é",
        generator="g",
        dataset="d",
        usage=TokenUsage(input_tokens=3, output_tokens=4),
        seconds=1.5,
        finish_reason="length",
    )
    failed = Output(instruction="j", output="", generator="g", error="run_failed: no")

    write_outputs(tmp_path / "deep" / "o.json", [whole, failed])

    assert read_outputs(tmp_path / "deep" / "o.json") == (whole, failed)
    rows = json.loads((tmp_path / "deep" / "o.json").read_text())
    assert rows[0] | {"finish_reason": None} == {
        "instruction": "i",
        "output": "o é",
        "generator": "g",
        "dataset": "d",
        "input_token_usage": 3,
        "output_token_usage": 4,
        "total_time": 1.5,
        "finish_reason": None,
    }
    assert rows[1] == {"instruction": "j", "output": "", "generator": "g", "error": "run_failed: no"}


@pytest.mark.parametrize("name", ["sonnet.json.gz", "sonnet.json"])
def test_read_outputs_unpacks_and_names_rows_without_a_generator_after_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(json.dumps([{"instruction": "i", "output": "o", "total_time": 2}]).encode()))

    (output,) = read_outputs(path)

    assert (output.generator, output.seconds, output.usage) == ("sonnet", 2.0, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "holds dict where a list"),
        ("[]", "holds no output"),
        ("[1]", "row 1: is int where an object"),
        ('[{"instruction": "i", "output": "o"}, {"instruction": "i"}]', "output: row 2: is missing where text"),
        ('[{"instruction": "i", "output": null}]', 'output: row 1: is null where text is expected: write ""'),
        ('[{"instruction": "i", "output": "o", "total_time": -1}]', "total_time: row 1: expected a number from 0"),
        ("[", "is not JSON"),
    ],
)
def test_read_outputs_names_what_is_wrong(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "o.json"
    path.write_text(text)

    with pytest.raises(EvaluationDataError, match=message):
        read_outputs(path)


def test_read_outputs_of_no_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(EvaluationDataError, match="can't be read: there is no such file"):
        read_outputs(tmp_path / "o.json")


@given(st.text(min_size=1), st.text(min_size=1))
def test_file_names_are_harmless_and_different_for_different_systems(one: str, other: str) -> None:
    assert (file_name(one) == file_name(other)) == (one == other)
    assert set(file_name(one)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
    assert not file_name(one).startswith(".")


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_a_file_may_be_read_by_whom_other_new_files_may_be_read(tmp_path: Path) -> None:
    (tmp_path / "other").touch()

    write_outputs(tmp_path / "o.json", [Output(instruction="i", output="o", generator="g")])

    assert (tmp_path / "o.json").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("value", [["half of an emoji: \ud83d"], [{"a": [1.5, None, "\u2028\u00e9"]}], []])
def test_what_is_written_as_json_is_read_again(value: list[object], tmp_path: Path) -> None:
    write_json(tmp_path / "o.json", value)

    assert json.loads((tmp_path / "o.json").read_bytes()) == value
    assert (tmp_path / "o.json").read_bytes().endswith(b"]\n")
