"""Numbers as texts state them: how they are written, what they may mean, and which one is the answer."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from moa.evaluation._measures.chinese_numerals import chinese_number
from moa.evaluation._measures.plain_text import ANSWER, WORD

_FACTORS = {
    **{"%": 0.01, "percent": 0.01},
    **{"k": 1e3, "K": 1e3, "thousand": 1e3, "M": 1e6, "million": 1e6, "bn": 1e9, "billion": 1e9, "trillion": 1e12},
    **{"万": 1e4, "萬": 1e4, "亿": 1e8, "億": 1e8},
}
_NUMBER = re.compile(
    rf"""(?<!{WORD})(?<!\d\.)                    # not inside of a word, or of a version's number
        [-+]?(?P<currency>[$€£¥₹]\s?)?[-+]?
        (?:(?P<whole>\d+)[ ](?=\d+/))?           # 2 1/2
        (?P<digits>
           \d{{1,3}}(?:\.\d{{3}})+,\d+            # 1.234,50
          |\d{{1,3}}(?:\.\d{{3}}){{2,}}(?![.\d])  # 1.234.567
          |[1-9]\d{{0,2}}                        # 1,234.5 or 1'234 or 1 234
           (?:(?:,\d{{2,3}}){{0,9}},\d{{3}}|(?:['_]\d{{3}}){{1,9}}|(?:[ ]\d{{3}}){{1,9}})(?!\d)(?:[.,]\d+)?
          |(?<!\d,)\d+,\d+(?!,?\d)              # 1,5
          |\d+(?:\.\d+)?
          |\.\d+)
        (?:[eE](?P<exponent>[-+]?\d+)|\^\{{?(?P<power>[-+]?\d{{1,3}})\}}?)?
        (?:\s?/\s?(?P<bottom>\d+(?:,\d{{3}})*))?
        (?:[^\S\n]?(?P<unit>[%$€£¥₹万萬亿億]|(?:percent|thousand|million|billion|trillion)(?=s?\b))
          |(?P<short>k|K|M|bn)(?!{WORD}))?""",
    re.VERBOSE,
)

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_PLAIN = (
    (r"(?<=\d)\\[,;:!](?=\d{3})", "'"),
    (r"(?<=\d)(?=\\[dt]?frac)", " "),
    (r"\\[dt]?frac\s*(?:\{\s*([-+]?\d+)\s*\}\s*\{\s*(\d+)\s*\}|(\d)\s*(\d))", r"\1\3/\2\4"),
    (r"\\(?:text|mathrm|mathbf)\w*\s*\{([^{}]*)\}", r"\1"),
    (r"\b__(?=\S)(.+?)__\b", r"\1"),
    (r"(?<=\d)\{,\}(?=\d)", ","),
    (r"\\([$%#&])", r"\1"),
    (r"[\u2212\u2010-\u2014](?=[$€£¥₹]?\s?[\d.])", "-"),
    (r"(?<==)\s*-\s+(?=\d)", " -"),
    (r"(?<=\d)\s*(?:×|\*|·|x|\\times|\\cdot)\s*10\s*\^\s*\{?\s*([-+]?\d+)\s*\}?", r"e\1"),
    (r"(?<=[^\W\d])\^\{?[-+]?\d+\}?", ""),
    (r"(?<=[\d%])\s*(?:±|\\pm)\s*[\d.,]+%?", ""),
)
"""What LaTeX, Markdown and typography make of numbers, and the plain form; powers of units and margins are left out."""

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_HASHED = re.compile(r"(?<!#)#{4,}([^\n]*)")
_FUNCTION = re.compile(r"(?:√|\\(?:sqrt|log|ln|sin|cos|tan)\b)\W{0,3}$")
_FACTOR = re.compile(r"\s*(?:[π√]|\\pi\b|\\sqrt\b)")
_ANSWER = re.compile(
    rf"{ANSWER}[^\w$€£¥₹.+-]*(?P<number>{_NUMBER.pattern})"
    r"[^\S\n]*[^\W\d]{0,12}[)\]*_`$.!]*(?=\s*(?:$|\n|\(|[A-Z]))",
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Stated:
    """A number as it is written.

    Attributes:
        readings: Its values; several where its signs may mean one thing or another, as in `90 100`, and none where it
            is a part of what isn't computed here, as in `2π`.
        factor: Of a percent sign or of a word like "million"; 20% is 20, and it is 0.2.
    """

    readings: tuple[float, ...]
    factor: float = 1.0


def stated(text: str) -> Stated | None:
    """Return the number that a text states as its answer; None if it holds none."""
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda found: "^" + found[0].translate(_SUPERSCRIPTS), text)
    text = re.sub("(?<=\\d)(?=[¼-¾⅐-⅞])", " ", text).translate({0x66B: ".", 0x66C: ","})
    text = re.sub("(?<=\\d)[\u00a0\u2007\u2009\u202f](?=\\d{3})", "'", text)
    text = unicodedata.normalize("NFKC", text).replace("\u2044", "/")
    if not text.isascii():
        text = "".join(str(unicodedata.decimal(one, one)) for one in text)
    for pattern, plain in _PLAIN:
        text = re.sub(pattern, plain, text)
    if boxes := [box for box in _BOX.findall(text) if _last(box)]:
        return _last(boxes[-1])
    if hashed := [line for line in _HASHED.findall(text) if _last(line)]:
        return _last(hashed[0])
    if answers := list(_ANSWER.finditer(text)):
        return _last(answers[-1]["number"])
    return _last(text)


def _last(text: str) -> Stated | None:
    for match in reversed(list(_NUMBER.finditer(text))):
        try:
            readings = tuple(_readings(match))
        except ArithmeticError:  # 1/0
            continue
        return Stated(readings, _FACTORS.get(match["unit"] or match["short"] or "", 1.0))
    value = chinese_number(text)
    return None if value is None else Stated((value,))


def _readings(match: re.Match[str]) -> Iterator[float]:
    """The values that a number may have."""
    before, after, digits = match.string[: match.start()][-12:], match.string[match.end() :][:12], match["digits"]
    if _FUNCTION.search(before) or _FACTOR.match(after):
        return
    yield _value(match, digits)
    if " " in digits and "," not in digits:  # 90 100
        yield _value(match, digits.rpartition(" ")[2])
    elif re.fullmatch(r"\d+,\d+", digits) and before[-1:] in tuple("([{") and after[:1] in tuple(")]}"):  # (1,5)
        yield _value(match, digits.rpartition(",")[2])
    elif re.fullmatch(r"[1-9]\d{0,2}\.\d{3}", digits) and (match["currency"] or match["unit"] in tuple("$€£¥₹")):
        yield _value(match, digits.replace(".", ""))  # 1.234 €


def _value(match: re.Match[str], digits: str) -> float:
    digits = re.sub(r"[ '_]", "", digits)
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}", digits):
        digits = digits.replace(".", "")
    is_grouped = re.fullmatch(r"[1-9]\d{0,2}(?:,\d{2,3})*,\d{3}(?:\.\d+)?", digits)
    digits = digits.replace(",", "" if is_grouped else ".")
    value = Decimal(f"{digits}e{match['exponent'] or 0}") ** int(match["power"] or 1)
    bottom = Decimal((match["bottom"] or "1").replace(",", ""))
    # An improper fraction is no part of a mixed number.
    whole = Decimal(match["whole"] or 0) if value < bottom else 0
    sign = -1 if "-" in match[0].partition(digits[0])[0] else 1
    return sign * float(whole + value / bottom)
