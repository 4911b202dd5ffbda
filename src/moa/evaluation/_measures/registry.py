"""Measures of one output by name: one line for each."""

from collections.abc import Callable, Mapping

from moa._validation.suggestions import did_you_mean
from moa.errors import UsageError
from moa.evaluation._measures.base import Measure
from moa.evaluation._measures.choice import choice
from moa.evaluation._measures.json_schema import json_schema
from moa.evaluation._measures.number import number
from moa.evaluation._measures.pattern import pattern
from moa.evaluation._measures.python_function import python_function
from moa.evaluation._measures.rubric import rubric
from moa.evaluation._measures.text_match import contains, exact

MEASURES: Mapping[str, Callable[[str], Measure]] = {
    "exact": exact,
    "contains": contains,
    "regex": pattern,
    "number": number,
    "json_schema": json_schema,
    "choice": choice,
    "python": python_function,
    "rubric": rubric,
}
"""What makes each measure out of the text after its name."""


def load_measure(text: str) -> Measure:
    """Return a measure by `NAME` or `NAME:ARGUMENT`.

    Raises:
        UsageError: There is no such measure, or its argument makes no sense.
    """
    name, _, argument = text.partition(":")
    if name not in MEASURES:
        known = ", ".join(MEASURES)
        raise UsageError(f"there is no measure {name!r}{did_you_mean(name, list(MEASURES)) or '.'} Known are {known}")
    return MEASURES[name](argument)
