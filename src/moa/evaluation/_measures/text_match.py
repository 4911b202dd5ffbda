"""`exact` and `contains`: the output is, or holds, a right answer word for word."""

import re
import string
import unicodedata

from moa.evaluation._measures.base import Case, Grade, Measure, graded, words_of

_OPTIONS = ("ignore_case", "ignore_punctuation")


def exact(argument: str) -> Measure:
    """Return the measure that an output is a reference, white space aside: `exact[:ignore_case,ignore_punctuation]`."""
    options = words_of(argument, _OPTIONS, "exact")

    def grade(case: Case) -> Grade:
        output = _plain(case.output, options)
        right = any(output == _plain(reference, options) for reference in case.references)
        return float(right), "" if right else f"expected {_shown(case)}"

    return graded("exact", ",".join(sorted(options)), grade)


def contains(argument: str) -> Measure:
    """Return the measure that an output holds a reference as whole words, in any case: `contains[:case]`."""
    options = words_of(argument, ("case",), "contains")
    plain = set() if "case" in options else {"ignore_case"}

    def grade(case: Case) -> Grade:
        output = _plain(case.output, plain)
        # No letter or digit goes on at either end: "4" is not in "42".
        patterns = (rf"(?<!\w){re.escape(_plain(one, plain))}(?!\w)" for one in case.references)
        right = any(re.search(pattern, output) for pattern in patterns)
        return float(right), "" if right else f"expected to find {_shown(case)}"

    return graded("contains", ",".join(sorted(options)), grade)


def _plain(text: str, options: set[str]) -> str:
    text = unicodedata.normalize("NFC", text)
    if "ignore_punctuation" in options:
        # Left out, and not a space: as in SQuAD's and lm-eval's exact match, "U.S." is "US".
        text = "".join(one for one in text if one not in string.punctuation and unicodedata.category(one)[0] != "P")
    return " ".join((text.casefold() if "ignore_case" in options else text).split())


def _shown(case: Case) -> str:
    return " or ".join(f"{reference!r:.100}" for reference in case.references)
