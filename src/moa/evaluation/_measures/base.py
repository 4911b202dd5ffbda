"""What a measure of one output is given, and what it gives."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from moa._ledger import ErrorInfo, Ledger
from moa._runtime.engine import Engine
from moa.errors import UsageError
from moa.evaluation._data.datasets import Instruction


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One output with what is known of its prompt.

    Attributes:
        prompt: The prompt's text.
        output: What is scored.
        row: The prompt's row as the user wrote it: `reference` and whatever else a measure reads.
    """

    prompt: str
    output: str
    row: Mapping[str, Any]

    @property
    def references(self) -> tuple[str, ...]:
        """The right answers: a row may have one, or a list of which any will do; as JSON writes them, and Python."""
        given = self.row.get("reference")
        answers = given if isinstance(given, list) else [] if given is None else [given]
        texts = (one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in answers)
        return tuple(dict.fromkeys((*texts, *map(str, answers))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a measure says of one output.

    Attributes:
        value: From 0 to 1, more is better; None if the measure failed.
        note: Why, in a few words; untrusted where a model or a user's function wrote it.
        failure: Why there is no value; None if there is one.
        ledger: Calls of the models that were asked.
    """

    value: float | None
    note: str = ""
    failure: ErrorInfo | None = None
    ledger: Ledger = field(default_factory=Ledger)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What scores one output.

    Attributes:
        name: What tells this measure, with its options, from others; scores are kept under it.
        score: Gives the score of an output. A measure that fails on it says so in the score; an `EngineError` says that
            asking on is of no use.
        needs: Keys of which every prompt's row has to have one; empty if none is needed.
        models: References of the models that it asks.
    """

    name: str
    score: Callable[[Engine, Case], Awaitable[Score]]
    needs: tuple[str, ...] = ("reference",)
    models: tuple[str, ...] = ()


Grade = tuple[float, str]
"""A score from 0 to 1, and why."""


def graded(
    name: str, argument: str, grade: Callable[[Case], Grade], *, needs: tuple[str, ...] = ("reference",)
) -> Measure:
    """Return the measure that is a function of the case alone.

    Args:
        name: What the registry calls the measure.
        argument: What follows its name; empty if nothing does.
        grade: Scores a case; runs in a thread. It may raise `ValueError`, or what an output can do to arithmetic and
            recursion: the case can't be scored.
        needs: See `Measure`.
    """

    async def score(engine: Engine, case: Case) -> Score:
        try:
            value, note = await asyncio.to_thread(grade, case)
        except (ArithmeticError, RecursionError, UsageError, ValueError) as error:
            return failed(str(error))
        return Score(value=value, note=note)

    return Measure(name=f"{name}:{argument}" if argument else name, score=score, needs=needs)


def failed(why: str) -> Score:
    """Return the score of an output that can't be scored."""
    return Score(value=None, failure=ErrorInfo(code="measure_failed", message=why))


_MOST_NAMED = 10
"""Most prompts that an error names."""


def require_rows(measures: Sequence[Measure], instructions: Sequence[Instruction]) -> None:
    """Make sure that every prompt has what the measures need, before anything is bought.

    Raises:
        UsageError: A prompt lacks it; it is named.
    """
    for measure in measures:
        keys = measure.needs
        lacking = [one for one in instructions if keys and all(one.row.get(key) in (None, "", []) for key in keys)]
        if lacking:
            numbers = ", ".join(str(one.index + 1) for one in lacking[:_MOST_NAMED])
            numbers += ", …" if len(lacking) > _MOST_NAMED else ""
            raise UsageError(
                f"--measure {measure.name} needs `{'` or `'.join(keys)}` with every prompt, and {len(lacking)} of "
                f"{len(instructions)} have none (row {numbers}): their answers would be paid for and say nothing. "
                "Leave them out, or write a measure that knows what to do with them: python:FILE:FUNCTION"
            )


def words_of(argument: str, known: Sequence[str], measure: str) -> set[str]:
    """Return the options of a measure that are given as `one,two`.

    Raises:
        UsageError: One is unknown.
    """
    given = {word.strip() for word in argument.split(",") if word.strip()}
    unknown = sorted(given - set(known))
    if unknown:
        raise UsageError(f"--measure {measure}:{argument}: {unknown[0]} is none of {', '.join(known)}")
    return given
