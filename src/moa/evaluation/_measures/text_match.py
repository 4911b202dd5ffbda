"""`exact` and `contains`: the output is, or holds, a right answer word for word."""

import re
import string
import unicodedata

from moa.evaluation._measures.base import Case, Grade, Measure, graded, words_of
from moa.evaluation._measures.plain_text import WORD, plain

_TURKISH = str.maketrans("Iİ", "ıi")


def exact(argument: str) -> Measure:
    """Return the measure that an output is a reference, white space aside: `exact[:ignore_case,ignore_punctuation]`."""
    options = words_of(argument, ("ignore_case", "ignore_punctuation"), "exact")

    def grade(case: Case) -> Grade:
        outputs = _forms(case.output, options)
        right = any(outputs & _forms(reference, options) for reference in case.references)
        return float(right), "" if right else f"expected {_shown(case)}"

    return graded("exact", ",".join(sorted(options)), grade)


def contains(argument: str) -> Measure:
    """Return the measure that an output holds a reference as whole words, in any case: `contains[:case]`."""
    options = words_of(argument, ("case",), "contains")
    ignored = set() if "case" in options else {"ignore_case"}

    def grade(case: Case) -> Grade:
        references = [form for reference in case.references for form in _forms(reference, ignored)]
        right = any(_holds(output, one) for output in _forms(case.output, ignored) for one in references)
        return float(right), "" if right else f"expected to find {_shown(case)}"

    return graded("contains", ",".join(sorted(options)), grade)


def _forms(text: str, options: set[str]) -> set[str]:
    """A text without what is ignored; where case is, folded as most languages do, and as Turkish does."""
    text = plain(text)
    if "ignore_punctuation" in options:
        # Left out, and not a space: as in SQuAD's and lm-eval's exact match, "U.S." is "US".
        text = "".join(one for one in text if one not in string.punctuation and unicodedata.category(one)[0] != "P")
        text = " ".join(text.split())
    return {text.casefold(), text.translate(_TURKISH).casefold()} if "ignore_case" in options else {text}


def _holds(text: str, reference: str) -> bool:
    """Whether a text has a reference in it, of which no letter, digit, sign or decimal goes on at either end."""
    before, after = rf"(?<!{WORD})", rf"(?!{WORD})"
    if reference[:1].isdigit():
        before += r"(?<!\d[.,])(?<!(?<![^\s(])[-\u2212])"
    if reference[-1:].isdigit():
        after += r"(?![.,]\d)"
    return re.search(before + re.escape(reference) + after, text) is not None


def _shown(case: Case) -> str:
    return " or ".join(f"{reference!r:.100}" for reference in case.references)
