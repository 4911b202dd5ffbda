"""`regex`: a pattern occurs in the output."""

from typing import Any

import regex

from moa.errors import UsageError
from moa.evaluation._measures.base import Case, Grade, Measure, graded

TIME_S = 1.0
"""Seconds for one search: a pattern can be written that takes years (catastrophic backtracking)."""


def pattern(argument: str) -> Measure:
    """Return the measure that a pattern occurs: `regex:PATTERN`, or `regex` for the `pattern` of each row.

    Patterns are those of Python's `re`, and what the package `regex` knows besides.

    Raises:
        UsageError: The argument is no pattern.
    """
    if argument:
        try:
            regex.compile(argument)
        except regex.error as error:
            raise UsageError(f"--measure regex:{argument}: this is no pattern: {error}") from error

    def grade(case: Case) -> Grade:
        wanted = argument or str(case.row["pattern"])
        right = _search(wanted, case.output) is not None
        return float(right), "" if right else f"{wanted!r:.100} is not found"

    return graded("regex", argument, grade, needs=() if argument else ("pattern",))


def _search(wanted: str, text: str) -> Any:
    try:
        return regex.search(wanted, text, timeout=TIME_S, concurrent=True)
    except TimeoutError as error:
        raise ValueError(f"the search for {wanted!r:.100} took longer than {TIME_S:g} s") from error
    except regex.error as error:
        raise ValueError(f"{wanted!r:.100} is no pattern: {error}") from error
