import numpy as np
import pytest

from moa.evaluation._length_control.folds import FOLDS, fold_of_rows, introsort_of_equal_keys


def test_published_folds_equal_those_behind_the_leaderboard(fold_oracle: dict[str, str]) -> None:
    for n_rows, digits in fold_oracle.items():
        assert "".join(map(str, fold_of_rows(int(n_rows)))) == digits, n_rows


def test_stable_folds_go_round_from_the_last_row() -> None:
    assert fold_of_rows(7, "stable").tolist() == [1, 0, 4, 3, 2, 1, 0]


def test_published_folds_equal_stable_ones_while_insertion_sort_suffices() -> None:
    assert fold_of_rows(16).tolist() == fold_of_rows(16, "stable").tolist()
    assert fold_of_rows(17).tolist() != fold_of_rows(17, "stable").tolist()


@pytest.mark.parametrize("n_keys", [0, 1, 17, 40, 1000])
def test_introsort_permutes_every_key_once(n_keys: int) -> None:
    assert sorted(introsort_of_equal_keys(n_keys)) == list(range(n_keys))


def test_shuffled_folds_are_even_and_follow_their_seed() -> None:
    folds = fold_of_rows(103, 4)

    assert np.ptp(np.bincount(folds, minlength=FOLDS)) == 1
    assert folds.tolist() == fold_of_rows(103, 4).tolist()
    assert folds.tolist() != fold_of_rows(103, 5).tolist()


def test_folds_refuse_fewer_rows_than_folds() -> None:
    with pytest.raises(ValueError, match="4 rows cannot be split into 5 folds"):
        fold_of_rows(4)
    with pytest.raises(ValueError, match="4 rows"):
        fold_of_rows(4, 0)
