import pytest

from moa.errors import UsageError
from moa.evaluation._runner.ablations import variants_of
from moa.evaluation._runner.systems import System
from tests.support.engines import mixture_of


def test_nothing_is_added_unless_it_is_asked_for() -> None:
    assert variants_of(mixture_of(["one"], ["two"])) == ()


def test_leaving_out_a_proposer_leaves_out_all_of_its_samples() -> None:
    mixture = mixture_of([{"model": "one", "samples": 2}, "two", {"model": "one"}])

    found = variants_of(mixture, leave_one_out=True, shuffled=True)

    assert [(system.name, system.left_out) for system in found] == [
        ("test.without.one", ("one", "one#2")),
        ("test.without.two", ("two",)),
        ("test.without.one#3", ("one#3",)),
        ("test.shuffled", ()),
    ]


@pytest.mark.parametrize("layers", [0, 2])
def test_a_mixture_that_has_not_just_one_layer_is_refused(layers: int) -> None:
    mixture = mixture_of(*(["one", "two"] for _ in range(layers)))

    with pytest.raises(UsageError, match=r"--leave-one-out and --shuffled need a mixture of one layer.* has (none|2)"):
        variants_of(mixture, leave_one_out=True, shuffled=True)


def test_a_single_proposer_cannot_be_left_out_nor_a_single_proposal_shuffled() -> None:
    with pytest.raises(UsageError, match="one proposer, without which nothing is left"):
        variants_of(mixture_of([{"model": "one", "samples": 2}]), leave_one_out=True)
    with pytest.raises(UsageError, match="no other order"):
        variants_of(mixture_of(["one"]), shuffled=True)


def test_a_manifest_tells_what_is_left_out_and_of_other_systems_nothing_new() -> None:
    without, _ = variants_of(mixture_of(["one", "two"]), leave_one_out=True)

    assert without.as_dict()["left_out"] == ["one"]
    assert "left_out" not in System(name="test", role="mixture").as_dict()
