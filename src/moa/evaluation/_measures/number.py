"""`number`: the number that the output states is that of the reference, up to a tolerance."""

import math

from moa.errors import UsageError
from moa.evaluation._measures.base import Case, Grade, Measure, graded
from moa.evaluation._measures.numerals import Stated, stated


def number(argument: str) -> Measure:
    r"""Return the measure that numbers agree: `number`, `number:0.01` (absolute), `number:1%` (relative).

    A row's `tolerance`, written in the same way, goes first. What counts is the number in the last `\boxed{}`; else the
    one in the first line with `####`; else the one of the last sentence "the answer is NUMBER"; else the last one of
    the text. Thousands separators, decimal commas, currency signs, powers, fractions, percent signs, words like
    "million" and lines of Chinese numerals are understood; a point before three digits is a decimal point. A number
    that may be read in two ways, of which one is right, can't be scored.

    Raises:
        UsageError: The tolerance is no number.
    """
    if argument:
        _tolerance(argument, "--measure number")

    def grade(case: Case) -> Grade:
        found = stated(case.output)
        share, least = _tolerance(str(case.row.get("tolerance") or argument or "0"), "tolerance")
        wanted = list[Stated]()
        for reference in case.references:
            right = stated(reference)
            if right is None or not right.readings:
                raise ValueError(f"the reference {reference!r:.100} holds no number")
            wanted.append(right)
        if found is None:
            return 0.0, "no number is stated"
        if not found.readings:
            raise ValueError("the number is a part of what is not computed here")
        agree = {any(_agrees(one, found.factor, right, share, least) for right in wanted) for one in found.readings}
        shown = " or ".join(f"{one:g}" for one in found.readings)
        if len(agree) > 1:
            raise ValueError(f"the number may be {shown}")
        return (1.0, "") if True in agree else (0.0, shown)

    return graded("number", argument, grade)


def _agrees(value: float, factor: float, wanted: Stated, share: float, least: float) -> bool:
    """Whether a reading is one of the reference's, in the same unit, or in plain numbers."""
    # The last digit of a binary fraction is none of the user's business.
    share = max(share, 1e-12)
    is_same_kind = factor in (1.0, wanted.factor) or wanted.factor == 1.0
    plain = is_same_kind and any(math.isclose(value, one, rel_tol=share, abs_tol=least) for one in wanted.readings)
    whole = (one * wanted.factor for one in wanted.readings)
    return plain or any(math.isclose(value * factor, one, rel_tol=share) for one in whole)


def _tolerance(text: str, where: str) -> tuple[float, float]:
    """The relative and the absolute tolerance that a text states; one of them is 0."""
    try:
        value = float(text.rstrip("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise UsageError(f"{where} {text}: give a number from 0, e.g. 0.01, or a share like 1%")
    return (value / 100, 0.0) if text.endswith("%") else (0.0, value)
