import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from moa.errors import EvaluationDataError
from moa.evaluation._data.annotations import count_wins, read_annotations
from moa.evaluation._metrics.verdicts import verdicts_of
from tests.evaluation.conftest import Reference

ROW = {
    "instruction": "Hi",
    "output_1": "a",
    "output_2": "bb",
    "generator_1": "base",
    "generator_2": "sys",
    "preference": 1.25,
}


def _write(folder: Path, rows: object) -> Path:
    path = folder / "annotations.json"
    path.write_text(json.dumps(rows))
    return path


def test_counts_equal_the_leaderboards(reference: Reference) -> None:
    for model in reference.rows:
        row = reference.leaderboard[model]
        found = count_wins(reference.judged(model).preference)

        counts = [found.n_wins, found.n_wins_base, found.n_draws, found.n_total]
        assert counts == [int(row[name]) for name in ("n_wins", "n_wins_base", "n_draws", "n_total")], model
        rates = [found.win_rate, found.standard_error, found.discrete_win_rate]
        published = [float(row[name]) for name in ("win_rate", "standard_error", "discrete_win_rate")]
        assert rates == pytest.approx(published, abs=1e-6), model


def test_missing_verdicts_are_not_counted_and_zero_is_a_draw(tmp_path: Path) -> None:
    rows = [ROW | {"preference": value} for value in (2, 1, 1.5, 0, None, float("nan"), 1.25)]

    found = verdicts_of(read_annotations(_write(tmp_path, rows))).won
    counts = count_wins(found)

    np.testing.assert_array_equal(found, [1, 0, 0.5, 0.5, np.nan, np.nan, 0.25])
    assert (counts.n_wins, counts.n_wins_base, counts.n_draws, counts.n_total) == (1, 2, 2, 5)
    assert counts.win_rate == pytest.approx(45)
    assert counts.discrete_win_rate == pytest.approx(40)


def test_no_verdicts_give_no_rates() -> None:
    none, one = count_wins(np.array([np.nan])), count_wins(np.array([1.0]))

    assert (none.win_rate, none.standard_error, none.discrete_win_rate, none.n_total) == (None, None, None, 0)
    assert (one.win_rate, one.standard_error) == (100.0, None)


@pytest.mark.parametrize(
    ("rows", "row", "key", "said"),
    [
        ([ROW, ROW | {"preference": 2.5}], 2, "preference", "2.5 is no preference"),
        ([ROW, ROW, {k: v for k, v in ROW.items() if k != "output_2"}], 3, "output_2", "required"),
        ([ROW | {"output_1": 5}], 1, "output_1", "string"),
        ({"not": "a list"}, None, None, "list"),
        ([], None, None, "holds no annotation"),
    ],
)
def test_reading_says_which_row_and_field_is_wrong(
    tmp_path: Path, rows: object, row: int | None, key: str | None, said: str
) -> None:
    path = _write(tmp_path, rows)

    with pytest.raises(EvaluationDataError, match=said) as caught:
        read_annotations(path)

    assert (caught.value.path, caught.value.row, caught.value.key) == (path, row, key)
    assert str(path) in str(caught.value)


def test_reading_says_that_a_file_is_absent_or_no_json(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("[{")

    with pytest.raises(EvaluationDataError, match="is not JSON"):
        read_annotations(broken)
    with pytest.raises(EvaluationDataError, match="can't be read"):
        read_annotations(tmp_path / "absent.json")


def _write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_annotations_are_read_from_every_format_alike(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [ROW, ROW | {"preference": None, "output_2": "two\nlines"}]
    plain, marked, zipped, lines, table = (
        tmp_path / name for name in ("a.json", "b.json", "c.json.gz", "d.jsonl", "e.csv")
    )
    plain.write_text(json.dumps(rows))
    marked.write_text(json.dumps(rows), encoding="utf-8-sig")
    zipped.write_bytes(gzip.compress(json.dumps(rows).encode()))
    lines.write_text("\n".join(map(json.dumps, rows)))
    _write_csv(table, rows)

    expected = read_annotations(plain)

    assert [row.preference for row in expected] == [1.25, None]
    for path in (marked, zipped, lines, table):
        assert read_annotations(path) == expected, path.name


def test_a_file_of_nothing_but_brackets_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000)

    with pytest.raises(EvaluationDataError, match="is not JSON"):
        read_annotations(path)
