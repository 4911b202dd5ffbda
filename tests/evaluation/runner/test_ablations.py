import pytest

from moa.errors import UsageError
from moa.evaluation._runner.systems import System, as_arrived, parts_of
from tests.support.engines import mixture_of


def _variants(found: tuple[System, ...]) -> dict[str, list[tuple[str | None, int]]]:
    """Of each system over proposals of the mixture: its proposers' names and samples."""
    return {
        system.name: [(agent.name, agent.samples) for agent in system.mixture.layers[0].proposers]
        for system in found
        if system.parent == "test" and system.mixture is not None
    }


def test_nothing_is_added_unless_it_is_asked_for() -> None:
    assert _variants(parts_of(mixture_of(["one"], ["two"]))) == {}


def test_leaving_out_a_proposer_leaves_out_all_of_its_samples() -> None:
    mixture = mixture_of([{"model": "one", "samples": 2}, "two", {"model": "one"}])

    found = parts_of(mixture, leave_one_out=True, shuffled=True)

    assert _variants(found) == {
        "test.without.one": [("two", 1), ("one#3", 1)],
        "test.without.two": [("one", 2), ("one#3", 1)],
        "test.without.one#3": [("one", 2), ("two", 1)],
        "test.shuffled": [("one#3", 1), ("two", 1), ("one", 2)],
    }


def test_a_mixture_that_has_not_just_one_layer_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--leave-one-out and --shuffled need a mixture of one layer.* has 2"):
        parts_of(mixture_of(["one", "two"], ["one"]), leave_one_out=True, shuffled=True)
    with pytest.raises(UsageError, match="has no layers"):
        parts_of(mixture_of(), leave_one_out=True)


def test_a_single_proposer_cannot_be_left_out_nor_a_single_proposal_shuffled() -> None:
    with pytest.raises(UsageError, match="one proposer, without which nothing is left"):
        parts_of(mixture_of([{"model": "one", "samples": 2}]), leave_one_out=True)
    with pytest.raises(UsageError, match="no other order"):
        parts_of(mixture_of(["one"]), shuffled=True)


def test_only_those_are_asked_whose_proposals_arrived_before() -> None:
    mixture = mixture_of([{"model": "one", "name": "one", "samples": 3}, {"model": "two", "name": "two"}])

    some, none = as_arrived(mixture, {"one", "one#2"}), as_arrived(mixture, set())

    assert some is not None
    assert [(agent.name, agent.samples) for agent in some.layers[0].proposers] == [("one", 2)]
    assert none is None
