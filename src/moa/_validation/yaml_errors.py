"""PyYAML's errors, as sentences that name the change to make."""

import re
from collections.abc import Sequence

import yaml

_SENTENCES: Sequence[tuple[str, str]] = (
    (r"mapping values are not allowed", "a second `:` in the line: put the text in quotes, or correct the indentation"),
    (r"character '\\t'", "a tab: indent with spaces"),
    (r"character '(.)' that cannot start any token", "a value can't start with {0}: put it in quotes"),
    (
        r"undefined alias '(.*)'",
        "*{0} needs an anchor &{0}, which is not there: put it in quotes if it is text",
    ),
    (r"expected alphabetic or numeric", "plain text can't start with * or &: put it in quotes"),
    (r"found duplicate anchor '(.*)'", "the anchor &{0} is defined twice"),
    (r"unexpected end of stream", "a quotation mark that is never closed"),
    (r"could not find expected ':'", "a key without `:`, or a text that continues on a line that is not indented"),
    (r"expected <block end>", "this doesn't fit the indentation of the lines above"),
    (r"expected ',' or '(.)'", "the bracket {1} that is opened here is not closed, or a comma is missing"),
    (r"found another document", "a second document starts (---): use one file for each"),
    (r"sequence entries are not allowed", "a list starts on the line below its key"),
    (r"could not determine a constructor for the tag '(.*)'", "the tag {0} is not allowed: leave it out"),
    (
        r"unknown escape character '(.)'",
        "\\{0} is not an escape sequence in double quotes: write \\\\{0}, or use single quotes",
    ),
)
"""PyYAML's problems (scanner.py, parser.py, composer.py, constructor.py), and their messages for users."""

_OPENING = {"]": "[", "}": "{"}


def yaml_fault(error: yaml.MarkedYAMLError) -> tuple[str, int | None]:
    """Return what is wrong with a YAML text, and the number of the line to look at, from 1 (None if unknown)."""
    problem = error.problem or error.context or "it can't be read"
    mark = error.problem_mark or error.context_mark
    if any(words in problem for words in ("expected ',' or", "unexpected end of stream", "expected ':'")):
        # An unclosed construct has to be changed where it begins.
        mark = error.context_mark or mark
    line = mark.line + 1 if mark else None
    for pattern, sentence in _SENTENCES:
        if found := re.search(pattern, problem):
            words = found.groups()
            return sentence.format(*words, *(_OPENING.get(word, word) for word in words)), line
    return problem, line
