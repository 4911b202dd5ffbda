"""Who answers in a layer, and under which name."""

from moa._mixture.roster import roster
from moa._mixture.schema import Agent, Layer
from tests.support.work import lines_run


def _names(*proposers: dict[str, object]) -> list[str]:
    return [member.name for member in roster(Layer(proposers=tuple(Agent(**fields) for fields in proposers)))]


def test_a_name_that_is_taken_gets_the_first_free_number() -> None:
    assert _names(
        {"model": "lab/a", "samples": 3},
        {"model": "lab/b", "name": "a#2"},
        {"model": "lab/b", "name": "b", "samples": 2},
        {"model": "other/a"},
    ) == ["a", "a#3", "a#4", "a#2", "b", "b#2", "a#5"]


def test_naming_takes_time_that_is_linear_in_the_members() -> None:
    def work(proposers: int) -> int:
        layer = Layer(proposers=tuple(Agent(model="lab/a", samples=64) for _ in range(proposers)))
        return lines_run(lambda: roster(layer))

    assert work(20) < 2.2 * work(10)


def test_names_that_look_like_numbered_ones_do_not_make_it_slower() -> None:
    def work(count: int) -> int:
        named = [Agent(model="lab/b", name=f"a#{number}") for number in range(2, count)]
        layer = Layer(proposers=(*named, *(Agent(model="lab/a") for _ in range(count))))
        return lines_run(lambda: roster(layer))

    assert work(400) < 2.2 * work(200)
