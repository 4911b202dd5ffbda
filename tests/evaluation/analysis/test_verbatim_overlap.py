import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa.evaluation._analysis.verbatim_overlap import copied, differs, mean_copied

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f", "g"]), max_size=40).map(" ".join)


def test_an_answer_made_of_two_proposals_is_shared_between_them() -> None:
    first, second = "one two three four five six", "seven eight nine ten eleven twelve"

    found = copied(f"{first}, {second}!", {"x": f"well {first} or so", "y": second, "z": "nothing of it"})

    assert [found[name].share for name in "xyz"] == [0.5, 0.5, 0.0]
    assert [found[name].longest_run for name in "xyz"] == [6, 6, 0]
    assert found["x"].only_here == 0.5


def test_what_both_proposals_have_is_only_in_neither() -> None:
    text = "one two three four five"

    found = copied(text, {"x": text, "y": text.upper()})

    assert (found["x"].share, found["x"].only_here, found["y"].share) == (1.0, 0.0, 1.0)


def test_runs_that_overlap_in_the_answer_are_both_found() -> None:
    found = copied("a b c d e f g h i", {"x": "a b c d e f ... e f g h i and a b c d e"})

    assert found["x"].share == 1.0


@given(WORDS, WORDS)
def test_shares_lie_between_0_and_1_and_a_copy_is_all_copied(answer: str, proposal: str) -> None:
    found = copied(answer, {"x": proposal, "y": answer})

    assert all(0 <= one.only_here <= one.share <= 1 for one in found.values())
    assert not found or found["y"].share == 1.0
    assert bool(found) == (len(answer.split()) >= 5)


def test_the_mean_counts_an_agent_where_it_has_a_proposal() -> None:
    text = "one two three four five"
    answers = [copied(text, {"x": text, "y": ""}), copied(text, {"x": "no"})]

    mean = mean_copied(answers)

    assert mean["x"].share == pytest.approx(0.5)
    assert mean["y"].share == 0.0


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("One two three four five six!", "one two, three four five six", False),
        ("one two three four five", "one two three four five six seven eight nine", False),
        ("one two three four five", "one two three four five six seven eight nine ten eleven", True),
        ("one two three four five six", "six five four three two one", True),
        ("Paris.", "paris", False),
        ("Paris", "Paris, the capital of all of France", True),
    ],
)
def test_answers_differ_if_less_than_half_of_either_is_in_the_other(one: str, other: str, expected: bool) -> None:
    assert differs(one, other) is differs(other, one) is expected


def test_texts_that_repeat_themselves_take_no_time_in_the_square_of_their_length() -> None:
    loop = "again " * 20_000

    found = copied(loop, {"one": loop})["one"]

    assert found.share == 1.0
