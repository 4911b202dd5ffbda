"""`number`: the last number of the output is that of the reference, up to a tolerance."""

import math
import re
from decimal import Decimal, InvalidOperation

from moa.errors import UsageError
from moa.evaluation._measures.base import Case, Grade, Graded, Measure

_NUMBER = re.compile(
    r"""(?<![\w.])                          # not inside of a word, or of a version's number
        [-+\u2212]?\s?(?:[$€£¥]\s?)?
        (?:\d{1,3}(?:[,\u00a0\u202f']\d{3})+|\d+)?(?:\.\d+)?
        (?:[eE][-+]?\d+)?
        (?:\s?/\s?\d+)?
        \s?%?""",
    re.VERBOSE,
)
_BOXED = re.compile(r"\\boxed\s*\{([^{}]*)\}")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{(-?\d+)\}\s*\{(\d+)\}")


def number(argument: str) -> Measure:
    r"""Return the measure that numbers agree: `number`, `number:0.01` (absolute), `number:1%` (relative).

    A row's `tolerance`, written in the same way, goes first. What counts is the number in the last `\boxed{}`, else
    the last one of the text; thousands separators, currency signs, fractions and percent signs are understood.

    Raises:
        UsageError: The tolerance is no number.
    """
    if argument:
        _tolerance(argument, "--measure number")

    def grade(case: Case) -> Grade:
        found = numbers_in(case.output)
        share, least = _tolerance(str(case.row.get("tolerance") or argument or "0"), "tolerance")
        for reference in case.references:
            wanted = numbers_in(reference)
            if not wanted:
                raise ValueError(f"the reference {reference!r:.100} holds no number")
            # The last digit of a binary fraction is none of the user's business.
            if found and math.isclose(found[-1], wanted[-1], rel_tol=max(share, 1e-12), abs_tol=least):
                return 1.0, ""
        return 0.0, f"{found[-1]:g}" if found else "no number is stated"

    return Graded(name=f"number:{argument}" if argument else "number", grade=grade)


def numbers_in(text: str) -> list[float]:
    r"""Return the numbers that a text states, in order; those in a `\boxed{}` alone if there is one."""
    boxed = _BOXED.findall(_FRACTION.sub(r"\1/\2", text))
    text = boxed[-1] if boxed else _FRACTION.sub(r"\1/\2", text)
    values = (_value(match.group()) for match in _NUMBER.finditer(text) if match.group())
    return [value for value in values if value is not None]


def _value(text: str) -> float | None:
    plain = re.sub(r"[\s$€£¥,'%\u00a0\u202f]", "", text).replace("\u2212", "-")
    top, _, bottom = plain.partition("/")
    try:
        value = Decimal(top) / Decimal(bottom or "1")
    except (InvalidOperation, ZeroDivisionError):
        return None
    return float(value)


def _tolerance(text: str, where: str) -> tuple[float, float]:
    """The relative and the absolute tolerance that a text states; one of them is 0."""
    try:
        value = float(text.rstrip("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise UsageError(f"{where} {text}: give a number from 0, e.g. 0.01, or a share like 1%")
    return (value / 100, 0.0) if text.endswith("%") else (0.0, value)
