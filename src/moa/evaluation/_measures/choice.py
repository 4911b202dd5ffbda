"""`choice`: which of several answers the output states."""

import json
import re
from collections.abc import Mapping

from moa.errors import UsageError
from moa.evaluation._measures.base import Case, Grade, Graded, Measure

_STATED = re.compile(
    r"""(?:answer|choice|option|label|verdict|category|class)\W{0,4}(?:\s*(?:is|:|=)\s*|\s+)\W{0,4}$""", re.IGNORECASE
)


def choice(argument: str) -> Measure:
    """Return the measure that an output states the right one of several: `choice:A,B,C`, or the `choices` of each row.

    `choices` is a list of labels, or a mapping of labels to texts; the reference is a label or its text. Counted is a
    JSON object's `answer`, a label or text that is all of the output, what follows "answer is" and its like, or a label
    in parentheses, the last one of them; else the only label or text that occurs. An output that states none scores 0.

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

    return Graded(name=f"choice:{argument}" if argument else "choice", grade=grade)


def stated(output: str, choices: Mapping[str, str]) -> str | None:
    """Return the label of the choice that an output states; None if it states none, or several alike."""
    text = _answer_of(output)
    names = {name.casefold(): label for label, full in choices.items() for name in (label, full)}
    whole = names.get(text.strip().strip(".()[]*\"'`").casefold())
    if whole is not None:
        return whole
    longest_first = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    found = list(re.finditer(rf"(?<!\w)({longest_first})(?!\w)", text.casefold()))
    marked = [one for one in found if _STATED.search(text[: one.start()]) or _is_bracketed(text, one)]
    if marked:
        return names[marked[-1].group(1)]
    # A label of one letter is also a word: `a` alone says nothing in prose.
    labels = {names[one.group(1)] for one in found if len(one.group(1)) > 1 or text[one.start()].isupper()}
    return labels.pop() if len(labels) == 1 else None


def _answer_of(output: str) -> str:
    """The `answer` of a JSON object that the output is or ends with; else the output."""
    for brace in (match.start() for match in re.finditer(r"\{", output)):
        try:
            value, _ = json.JSONDecoder(strict=False).raw_decode(output, brace)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and isinstance(value.get("answer"), str | int):
            return str(value["answer"])
    return output


def _is_bracketed(text: str, match: re.Match[str]) -> bool:
    return text[max(match.start() - 1, 0) : match.start()] == "(" and text[match.end() : match.end() + 1] == ")"


def _choices(given: object) -> dict[str, str]:
    if isinstance(given, str):  # a cell of a CSV file
        given = json.loads(given) if given.startswith(("[", "{")) else [one.strip() for one in given.split(",")]
    choices = given if isinstance(given, Mapping) else {one: one for one in given} if isinstance(given, list) else {}
    if len(choices) < 2:
        raise ValueError("the row's `choices` is no list, or mapping, of two or more")
    return {str(label): str(text) for label, text in choices.items()}
