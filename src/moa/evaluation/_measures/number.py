"""`number`: the number that the output states is that of the reference, up to a tolerance."""

import math
import re
from decimal import Decimal, InvalidOperation

from moa.errors import UsageError
from moa.evaluation._measures.base import Case, Grade, Measure, graded

_NUMBER = re.compile(
    r"""(?<!\w)(?<!\d\.)                   # not inside of a word, or of a version's number
        [-+]?(?:[$€£¥₹]\s?)?[-+]?
        (?:\d{1,3}(?:\.\d{3})+,\d+        # 1.234,50
          |(?:\d{1,3}(?:[,\u00a0\u202f']\d{2,3})*[,\u00a0\u202f']\d{3}|\d+)(?:\.\d+)?
          |\.\d+)
        (?:[eE][-+]?\d+)?
        (?:\s?/\s?\d+)?
        \s?%?""",
    re.VERBOSE,
)
_PLAIN = (
    (r"\\[dt]?frac\s*(?:\{\s*([-+]?\d+)\s*\}\s*\{\s*(\d+)\s*\}|(\d)\s*(\d))", r"\1\3/\2\4"),
    (r"\\(?:text|mathrm|mathbf)\w*\s*\{([^{}]*)\}", r"\1"),
    (r"\b__(?=\S)(.+?)__\b", r"\1"),
    (r"(?<=\d)\{,\}(?=\d)", ","),
    (r"(?<=\d)\\[,;:!](?=\d{3})", "\u202f"),
    (r"\\([$%#&])", r"\1"),
    (r"[\u2212\u2010-\u2014](?=[$€£¥₹]?\s?[\d.])", "-"),
    (r"(?<==)\s*-\s+(?=\d)", " -"),
    (r"(?<=\d)\s*(?:×|\*|·|\\times|\\cdot)\s*10\s*\^\s*\{?\s*([-+]?\d+)\s*\}?", r"e\1"),
)
"""What LaTeX, Markdown and typography make of numbers, and the plain form."""

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_HASHED = re.compile(r"(?<!#)#{4,}([^\n]*)")
_ANSWER = re.compile(
    rf"\banswer\b\W{{0,4}}(?:\bis\b|[:=])[^\w$€£¥₹.+-]*(?P<number>{_NUMBER.pattern})"
    r"[^\S\n]*[^\W\d]{0,12}[)\]*_`$.!]*(?=\s*(?:$|\n|\(|[A-Z]))",
    re.VERBOSE | re.IGNORECASE,
)


def number(argument: str) -> Measure:
    r"""Return the measure that numbers agree: `number`, `number:0.01` (absolute), `number:1%` (relative).

    A row's `tolerance`, written in the same way, goes first. What counts is the number in the last `\boxed{}`; else the
    one in the first line with `####`; else the one of the last sentence "the answer is NUMBER"; else the last one of
    the text. Thousands separators, currency signs, powers of ten, fractions and percent signs are understood.

    Raises:
        UsageError: The tolerance is no number.
    """
    if argument:
        _tolerance(argument, "--measure number")

    def grade(case: Case) -> Grade:
        found = stated(case.output)
        share, least = _tolerance(str(case.row.get("tolerance") or argument or "0"), "tolerance")
        for reference in case.references:
            wanted = stated(reference)
            if wanted is None:
                raise ValueError(f"the reference {reference!r:.100} holds no number")
            # The last digit of a binary fraction is none of the user's business.
            if found is not None and math.isclose(found, wanted, rel_tol=max(share, 1e-12), abs_tol=least):
                return 1.0, ""
        return 0.0, "no number is stated" if found is None else f"{found:g}"

    return graded("number", argument, grade)


def stated(text: str) -> float | None:
    """Return the number that a text states as its answer; None if it holds none."""
    for pattern, plain in _PLAIN:
        text = re.sub(pattern, plain, text)
    if boxes := [box for box in _BOX.findall(text) if _numbers(box)]:
        text = boxes[-1]
    elif hashed := [line for line in _HASHED.findall(text) if _numbers(line)]:
        text = hashed[0]
    elif answers := list(_ANSWER.finditer(text)):
        text = answers[-1]["number"]
    return next(reversed(_numbers(text)), None)


def _numbers(text: str) -> list[float]:
    return [value for match in _NUMBER.finditer(text) if (value := _value(match.group())) is not None]


def _value(text: str) -> float | None:
    plain = re.sub(r"[\s$€£¥₹'%]", "", text)
    plain = plain.replace(".", "").replace(",", ".") if re.search(r"\.\d{3},\d", plain) else plain.replace(",", "")
    top, _, bottom = plain.partition("/")
    try:
        return float(Decimal(top) / Decimal(bottom or "1"))
    except (InvalidOperation, ZeroDivisionError):
        return None


def _tolerance(text: str, where: str) -> tuple[float, float]:
    """The relative and the absolute tolerance that a text states; one of them is 0."""
    try:
        value = float(text.rstrip("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise UsageError(f"{where} {text}: give a number from 0, e.g. 0.01, or a share like 1%")
    return (value / 100, 0.0) if text.endswith("%") else (0.0, value)
