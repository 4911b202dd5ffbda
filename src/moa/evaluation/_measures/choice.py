"""`choice`: which of several answers the output states."""

import json
import re
import unicodedata
from collections.abc import Mapping

from moa.errors import UsageError
from moa.evaluation._judges.json_objects import objects_in
from moa.evaluation._measures.base import Case, Grade, Measure, graded
from moa.evaluation._measures.plain_text import ANSWER, WORD

_NOUN = "(?:answer|choice|option|label|verdict|category|class)"
_FORMS = (
    r"(?:\\boxed\s*\{|<answer>)(?:\s*\\text\w*\s*\{)?\W{0,4}LABEL",
    rf"(?:{ANSWER}|{_NOUN}\W{{0,4}}(?:\b(?:is|are|was|(?:w|sh)ould be|must be)\b|[:=\n–-]))\W{{0,8}}"
    rf"(?:(?:the )?(?:{_NOUN}|letter)\W{{1,3}})?LABEL",
    r"^[^\w\n]*LABEL[^\w\n]*$",
    rf"(?<=\()LABEL(?=\))|\b{_NOUN}\W{{1,4}}LABEL",
)
"""How a choice is stated, the clearest way first; of several in the same way the last one counts."""

_SEVERAL = r"\W{0,4}(?:(?:,|/|&|\band\b|\bor\b)\s*){1,2}LABEL(?!\s+(?:is|was|would|does|can)\b)"
_WEAK_FORMS = (r"^[^\w\n]*LABEL\s*[).:—–]", "LABEL")
"""What states a choice only if no other one is mentioned in the same way."""

_DENIED = (
    re.compile(r"(?:\bnot|n't|\bnever|\bneither|\bnor|\bnicht|不是)\W*$", re.I),
    re.compile(r"\W*(?:is|was)(?: not\b|n't\b)", re.I),
)
"""Around a label that is mentioned for not being the answer."""


def choice(argument: str) -> Measure:
    """Return the measure that an output states the right one of several: `choice:A,B,C`, or the `choices` of each row.

    `choices` is a list of labels, or a mapping of labels to texts; the reference is a label or its text. Counted is a
    JSON object's `answer`; else what a box or an answer tag holds, what follows "answer is" and its like, what is alone
    on its line, or what is in parentheses, the last one of them; else the only label or text that begins a line as
    `B)`, or that occurs. An output that states none, or several at once, scores 0.

    Raises:
        UsageError: There are fewer than two choices.
    """
    fixed = [one.strip() for one in argument.split(",") if one.strip()]
    if len(fixed) == 1:
        raise UsageError(f"--measure choice:{argument}: give two choices or more, e.g. choice:yes,no")

    def grade(case: Case) -> Grade:
        choices = _choices(case.row.get("choices") or fixed)
        wanted = {label for label, text in choices.items() if {label, text} & set(case.references)}
        if not wanted:
            raise ValueError(f"the reference {case.references[0]!r:.100} is none of {', '.join(choices)}")
        found = stated(case.output, choices)
        return float(found in wanted), "no choice is stated" if found is None else "" if found in wanted else found

    return graded("choice", argument, grade)


def stated(output: str, choices: Mapping[str, str]) -> str | None:
    """Return the label of the choice that an output states; None if it states none, or several alike."""
    text = _plain(_answer_of(output))
    names = {_plain(name).casefold(): label for label, full in choices.items() for name in (label, full)}
    longest_first = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    # A label of one letter is also a word: a small "a" before another word is an article.
    label = rf"(?<!{WORD})(?!(?-i:[a-z])\s+\w)(?:{longest_first})(?!{WORD})"

    def found(form: str) -> list[re.Match[str]]:
        pattern = form.replace("LABEL", f"(?P<one>{label})", 1).replace("LABEL", f"(?P<other>{label})")
        return list(re.finditer(pattern, text, re.IGNORECASE | re.MULTILINE))

    def named(match: re.Match[str]) -> str:
        return names[next(one for one in match.groups() if one).casefold()]

    def is_denied(match: re.Match[str]) -> bool:
        before, after = _DENIED
        return bool(before.search(text[: match.start()][-20:]) or after.match(text, match.end()))

    for form in _FORMS:
        if matches := found(form):
            more = re.compile(_SEVERAL.replace("LABEL", label), re.IGNORECASE).match(text, matches[-1].end())
            return None if more else named(matches[-1])
    for form in _WEAK_FORMS:
        affirmed = [one for one in found(form) if not is_denied(one)]
        # "a" alone says nothing in prose.
        labels = {named(one) for one in affirmed if not re.fullmatch("[a-z]", one.group())}
        if labels:
            return labels.pop() if len(labels) == 1 else None
    return None


def _answer_of(output: str) -> str:
    """The `answer` of the first JSON object that has one, or all of them; else the output."""
    found = objects_in(output, lambda value: isinstance(value.get("answer"), str | int | list))
    answer = next((value["answer"] for _, _, value in found), output)
    return " and ".join(map(str, answer)) if isinstance(answer, list) else str(answer)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).replace("\u2019", "'")


def _choices(given: object) -> dict[str, str]:
    if isinstance(given, str):  # a cell of a CSV file
        given = json.loads(given) if given.startswith(("[", "{")) else [one.strip() for one in given.split(",")]
    choices = given if isinstance(given, Mapping) else {one: one for one in given} if isinstance(given, list) else {}
    if len(choices) < 2:
        raise ValueError("the row's `choices` is no list, or mapping, of two or more")
    return {str(label): str(text) for label, text in choices.items()}
