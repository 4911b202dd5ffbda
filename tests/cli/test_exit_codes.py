from collections.abc import Iterator

import pytest

from moa import errors
from moa._cli.exit_codes import exit_code
from moa.errors import MoaError


def _tree(kind: type[MoaError]) -> Iterator[type[MoaError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from _tree(child)


@pytest.mark.parametrize("kind", tuple(_tree(MoaError)))
def test_exit_code_is_decided_for_every_error_of_the_tree(kind: type[MoaError]) -> None:
    assert exit_code(kind) in (1, 2)


def test_exit_code_refuses_an_error_that_nobody_decided_about() -> None:
    class NewError(MoaError):
        """Not in the table."""

    with pytest.raises(LookupError, match="NewError"):
        exit_code(NewError)
