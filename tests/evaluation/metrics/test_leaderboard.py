import json
from pathlib import Path

import pytest

from moa.errors import EvaluationDataError, MissingDependency
from moa.evaluation._metrics.leaderboard import correlate, published, rank, read_ratings

BOARD = {"best": 80.0, "good": 60.0, "poor": 20.0}


@pytest.mark.parametrize(("rate", "place"), [(90, 1), (60, 2), (10, 4)])
def test_a_rank_is_one_more_than_the_number_of_better_models(rate: float, place: int) -> None:
    found = rank(rate, BOARD)

    assert (found.place, found.of) == (place, 3)


def test_the_published_leaderboard_is_read_from_the_package() -> None:
    try:
        board = published()
    except MissingDependency as error:
        pytest.skip(str(error))

    assert len(board) > 200
    assert board["gpt4_1106_preview"] == 50.0


def test_ratings_are_read_from_csv_and_json(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("model,elo\nx,1200\ny,\nz,1100\n")
    (tmp_path / "b.json").write_text(json.dumps({"x": 1200, "y": None, "z": 1100}))
    (tmp_path / "c.json").write_text(json.dumps([{"model": "x", "rating": "1200"}, {"model": "z", "rating": 1100}]))

    assert all(read_ratings(path) == {"x": 1200.0, "z": 1100.0} for path in sorted(tmp_path.iterdir()))


def test_a_mapping_of_several_ratings_is_read_by_its_key(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"text": {"x": 1200, "z": 1100}, "vision": {"x": 1000}, "date": "now"}))

    assert read_ratings(tmp_path / "a.json", "text") == {"x": 1200.0, "z": 1100.0}
    with pytest.raises(EvaluationDataError, match="no ratings under 'date'; it has 'text', 'vision', 'date'"):
        read_ratings(tmp_path / "a.json", "date")


def test_a_column_of_row_numbers_is_not_taken_for_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",model,elo\n0,x,1200\n1,z,1100\n")

    assert read_ratings(tmp_path / "a.csv") == {"x": 1200.0, "z": 1100.0}


@pytest.mark.parametrize(
    ("text", "row", "said"),
    [
        ('[{"model": "x", "elo": 1}, {"elo": 2}]', 2, "rates no model"),
        ('[{"model": "x", "elo": 1}, {"model": "x", "elo": 2}]', 2, "rates x again"),
        ("[" * 100_000, None, "can't be read"),
    ],
)
def test_ratings_that_name_no_model_or_one_twice_are_refused(
    tmp_path: Path, text: str, row: int | None, said: str
) -> None:
    (tmp_path / "a.json").write_text(text)

    with pytest.raises(EvaluationDataError, match=said) as caught:
        read_ratings(tmp_path / "a.json")

    assert caught.value.row == row


@pytest.mark.slow
def test_a_few_models_in_the_same_order_are_no_proof_of_agreement() -> None:
    scores = {f"model {number}": float(number) for number in range(9)}

    found = correlate(scores, scores)

    assert found.coefficient == pytest.approx(1.0)
    assert found.interval is None


def test_a_file_without_ratings_is_refused_with_its_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("model,colour\nx,red\n")

    with pytest.raises(EvaluationDataError, match="it has 'model', 'colour'"):
        read_ratings(tmp_path / "a.csv")


def test_a_correlation_matches_names_but_for_case_and_punctuation() -> None:
    first = {f"Model-{number}": float(number) for number in range(12)}
    second = {f"model {number}": 1000.0 - number for number in range(12)}

    found = correlate(first, second)

    assert len(found.models) == 12
    assert found.coefficient == pytest.approx(-1.0)
    assert found.interval is not None
    assert correlate(first, {"model 1": 3.0}).coefficient is None
    assert correlate(first, {"other": 3.0}, names={"Model-1": "other"}).models == ("Model-1",)
