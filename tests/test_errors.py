"""The tree of errors: drawn as it is, picklable, each with a code of its own."""

import pickle
import re
from collections.abc import Iterator

import pytest

from moa import errors
from moa._ledger import Ledger
from moa.errors import MoaError, ProviderError

ARGUMENTS = {
    errors.LayerFailed: {"layer": 1, "needed": 2, "got": 0, "ledger": Ledger(), "failures": []},
    errors.AnswerInterrupted: {"message": "m", "partial_text": "p", "ledger": Ledger()},
    errors.EngineError: {"message": "m", "ledger": Ledger()},
    errors.ProviderError: {"message": "m", "model": "fake/a", "status": 500},
    errors.MoaError: {},
}


def _tree(kind: type[MoaError] = MoaError) -> Iterator[type[MoaError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


def _example(kind: type[MoaError]) -> MoaError:
    arguments = dict(next(given for base, given in ARGUMENTS.items() if issubclass(kind, base)))
    message = arguments.pop("message", None)
    if kind is errors.LayerFailed:
        return kind(**arguments)
    return kind(message or "m", **arguments)


OURS = [kind for kind in _tree() if kind.__module__ == "moa.errors"]


@pytest.mark.parametrize("kind", OURS)
def test_every_error_survives_pickling(kind: type[MoaError]) -> None:
    error = _example(kind)
    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is kind
    assert (str(copy), copy.__dict__) == (str(error), error.__dict__)


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in OURS]

    assert len(set(codes)) == len(codes)


def test_the_drawing_shows_exactly_the_tree() -> None:
    drawn = re.findall(r"^ {4}([│├└─ ]*)(\w+) ", errors.__doc__ or "", flags=re.M)
    depths = [(name, len(lead) // 4) for lead, name in drawn]
    expected = [(kind.__name__, sum(issubclass(base, MoaError) for base in kind.__mro__) - 1) for kind in OURS]

    assert sorted(depths) == sorted([pair for pair in expected if pair[0] != "MoaError"])


def test_an_error_of_a_call_names_its_model() -> None:
    assert str(ProviderError("it broke", model="openai/gpt-4o")) == "openai/gpt-4o: it broke"
