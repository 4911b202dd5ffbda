"""Prompts from a file: Jinja2 templates in a sandbox.

A template sees one variable, `proposals`: a sequence in the order of the roster. It must show every one of them exactly
once, in that order, and unchanged, so it has no filters that change texts; numbers come from `loop.index`::

    Here is what {{ proposals | length }} models answered.
    {% for proposal in proposals %}
    <Response_{{ loop.index }}>{{ proposal }}</Response_{{ loop.index }}>
    {% endfor %}

What it gets are place-holders; the texts are put in afterwards. So no text of a model ever passes through the template
language, and what holds for one set of proposals holds for all. Both kinds of our delimiters (`<Response_1>` and `1.`
where a line begins) are escaped in the texts; a template with delimiters of its own has no such protection.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import jinja2
from jinja2.exceptions import SecurityError
from jinja2.sandbox import SandboxedEnvironment

MAX_RENDERED = 1_000_000
"""Most characters that a template may make around the proposals."""

MAX_STEPS = 100_000
"""Most steps of all loops over `range` of a template."""

_OPEN, _CLOSE = "\ue000", "\ue001"  # private use: no template has a reason to contain them
_PLACE = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")

_FILTERS = frozenset(
    {
        "batch",
        "count",
        "d",
        "default",
        "first",
        "format",
        "join",
        "last",
        "length",
        "list",
        "reverse",
        "slice",
        "string",
    }
)
"""The filters of templates. What would change a text is left out: it would only change the place-holder."""

_FAULTS = (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class BadTemplate(ValueError):
    """The template can't be used; `line` is where, None if unknown."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


class _Proposal:
    """Stands for a proposal: it can be shown, and nothing can be asked of it or done to it."""

    __slots__ = ("_index",)

    def __init__(self, index: int) -> None:
        self._index = index

    def __str__(self) -> str:
        return f"{_OPEN}{self._index}{_CLOSE}"


class _Sandbox(SandboxedEnvironment):
    intercepted_binops = frozenset(["*", "**"])

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        # Multiplied texts and powers make gigabytes out of a line.
        if operator == "**" or not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise SecurityError(f"the operator {operator} is not allowed for these values")
        return super().call_binop(context, operator, left, right)


class _Steps:
    """The template's `range`, whose numbers are counted over the whole template, nested loops included."""

    def __init__(self) -> None:
        self._left = MAX_STEPS

    def range(self, *arguments: int) -> Iterator[int]:
        for number in range(*arguments):
            self._left -= 1
            if self._left < 0:
                raise SecurityError(f"its loops over range make more than {MAX_STEPS:,} steps")
            yield number


def _environment() -> SandboxedEnvironment:
    environment = _Sandbox(autoescape=False, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.globals = {"range": _Steps().range}
    environment.filters = {name: act for name, act in environment.filters.items() if name in _FILTERS}
    return environment


@lru_cache(maxsize=256)
def frame(template: str, count: int) -> tuple[str, ...]:
    """Return the `count + 1` pieces of text that a template puts around `count` proposals.

    Raises:
        BadTemplate: It can't be rendered, is too large, or doesn't show every proposal once and in order.
    """
    places = tuple(map(_Proposal, range(count)))
    try:
        stream = _environment().from_string(template).generate(proposals=places)
        text = _bounded(stream).strip()
    except jinja2.TemplateAssertionError as error:
        raise BadTemplate(
            f"{error.message} Templates have no filters that change texts: proposals are shown as they are",
            error.lineno,
        ) from error
    except jinja2.TemplateSyntaxError as error:
        raise BadTemplate(f"the template has a syntax error: {error.message}", error.lineno) from error
    except _FAULTS as error:
        raise BadTemplate(f"the template fails with {count} proposal(s): {error}", _line(error)) from error
    shown = [int(place) for place in _PLACE.findall(text)]
    if shown != list(range(count)):
        raise BadTemplate(_unfaithful(shown, count))
    return tuple(_PLACE.split(text)[::2])


def check_template(template: str, counts: set[int]) -> None:
    """Render the template for these numbers of proposals.

    Raises:
        BadTemplate: It can't be used.
    """
    for count in sorted(counts):
        frame(template, count)


def _bounded(pieces: Iterator[str]) -> str:
    text: list[str] = []
    length = 0
    for piece in pieces:
        length += len(piece)
        if length > MAX_RENDERED:
            raise SecurityError(f"it writes more than {MAX_RENDERED:,} characters")
        text.append(piece)
    return "".join(text)


def _line(error: BaseException) -> int | None:
    """The line of the template where it failed: Jinja2 rewrites tracebacks so that templates are in them."""
    traceback, line = error.__traceback__, None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == "<template>":
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def _unfaithful(shown: list[int], count: int) -> str:
    rule = "it must show every item of `proposals` exactly once, unchanged and in order"
    if not shown:
        return f"the template never uses the proposals: {rule}"
    missing = [str(index + 1) for index in range(count) if index not in shown]
    if missing:
        return f"of {count} proposals the template leaves out number {', '.join(missing)}: {rule}"
    return f"the template shows proposals twice or out of order: {rule}"
