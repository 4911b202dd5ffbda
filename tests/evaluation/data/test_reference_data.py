import json
from pathlib import Path

import numpy as np
import pytest

from moa.errors import EvaluationDataError
from moa.evaluation._data.reference_data import load_alpaca_eval_data

GAMED = "model,index,preference,std_delta_len,instruction_difficulty,not_gamed_baseline\ng,0,0.5,-1.5,0.25,False\n"


def _hub(folder: Path, **changed: str) -> Path:
    texts = {
        "alpaca_eval.json": json.dumps([{"instruction": "one"}, {"instruction": "two"}]),
        "instruction_difficulty.csv": ",instruction_difficulty\n1,-0.5\n0,0.25\n",
        "df_gamed.csv": GAMED,
    }
    for name, text in (texts | changed).items():
        (folder / name).write_text(text)
    return folder


def test_data_are_read_in_the_official_order(tmp_path: Path) -> None:
    data = load_alpaca_eval_data(_hub(tmp_path))

    assert data.position == {"one": 0, "two": 1}
    np.testing.assert_array_equal(data.difficulty, [0.25, -0.5])
    np.testing.assert_array_equal(
        [data.gamed.preference, data.gamed.std_delta_len, data.gamed.difficulty], [[0.5], [-1.5], [0.25]]
    )
    assert data.places([" two\n"]) == [1]
    assert data.places(["two", "three"]) is None


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("alpaca_eval.json", '[{"prompt": "x"}]', "instruction: row 1: .*required"),
        ("alpaca_eval.json", "no json", "is not JSON"),
        ("instruction_difficulty.csv", "index,d\n0,1\n", "no difficulty for each of the 2 instructions"),
        ("instruction_difficulty.csv", "index,d\n0,1\n5,1\n", "by position from 0"),
        ("instruction_difficulty.csv", "index,d\n0,hard\n", "difficulty: row 1: .*valid number"),
        ("df_gamed.csv", "preference\n", "holds no row"),
        ("df_gamed.csv", "preference,std_delta_len\n1,2\n", "instruction_difficulty: row 1: .*required"),
        ("df_gamed.csv", GAMED.replace("-1.5", "long"), "std_delta_len: row 1: .*valid number"),
        ("df_gamed.csv", GAMED.replace("-1.5", "nan"), "std_delta_len: row 1: .*finite number"),
        ("instruction_difficulty.csv", "index,d\n0,nan\n", "difficulty: row 1: .*finite number"),
        ("alpaca_eval.json", "[" * 100_000, "is not JSON"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path: Path, name: str, text: str, said: str) -> None:
    folder = _hub(tmp_path, **{name: text})

    with pytest.raises(EvaluationDataError, match=said) as caught:
        load_alpaca_eval_data(folder)

    assert caught.value.path == folder / name


def test_a_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(EvaluationDataError, match="tatsu-lab/alpaca_eval") as caught:
        load_alpaca_eval_data(tmp_path)

    assert caught.value.path == tmp_path / "alpaca_eval.json"
