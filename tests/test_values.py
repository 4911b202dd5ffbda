"""Values that are quick to make behave as the dataclasses that they are."""

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, replace
from typing import Any

import pytest

from moa._values import quick_to_make


@dataclass(frozen=True, slots=True)
class Usual:
    name: str
    size: int = 3
    tags: list[str] = field(default_factory=list)
    hidden: int = field(default=0, repr=False, compare=False, kw_only=True)
    owner: str = field(kw_only=True)


@quick_to_make
@dataclass(frozen=True, slots=True)
class Quick:
    name: str
    size: int = 3
    tags: list[str] = field(default_factory=list)
    hidden: int = field(default=0, repr=False, compare=False, kw_only=True)
    owner: str = field(kw_only=True)


CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (("a",), {"owner": "o"}),
    (("a", 4, ["t"]), {"owner": "o", "hidden": 5}),
    ((), {"name": "a", "tags": ["t"], "owner": "o"}),
]


@pytest.mark.parametrize(("arguments", "named"), CALLS)
def test_quick_value_is_made_and_shown_as_the_usual_one(arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    quick, usual = Quick(*arguments, **named), Usual(*arguments, **named)

    assert repr(quick) == repr(usual).replace("Usual", "Quick")
    assert quick.hidden == usual.hidden
    assert quick == Quick(*arguments, **named)
    assert replace(quick, size=9) == Quick(usual.name, 9, usual.tags, owner="o")
    assert copy.deepcopy(quick) == pickle.loads(pickle.dumps(quick)) == quick


def test_each_quick_value_has_a_default_of_its_own() -> None:
    assert Quick("a", owner="o").tags is not Quick("a", owner="o").tags


@pytest.mark.parametrize(("arguments", "named"), [((), {}), (("a",), {}), (("a",), {"owner": "o", "other": 1})])
def test_quick_value_refuses_the_arguments_that_the_usual_one_refuses(
    arguments: tuple[Any, ...], named: dict[str, Any]
) -> None:
    with pytest.raises(TypeError) as usual:
        Usual(*arguments, **named)
    with pytest.raises(TypeError) as quick:
        Quick(*arguments, **named)

    assert str(quick.value) == str(usual.value).replace("Usual", "Quick")


def test_quick_value_can_not_be_changed_and_has_the_same_signature() -> None:
    value = Quick("a", owner="o")

    with pytest.raises(FrozenInstanceError):
        value.name = "b"  # type: ignore[misc]
    assert str(inspect.signature(Quick)) == str(inspect.signature(Usual))
