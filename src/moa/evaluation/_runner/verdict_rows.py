"""Verdicts as rows of a journal and of annotations files, and prompts on which there is nothing to judge.

A system that has no output loses: who asks it gets nothing. A prompt on which the opponent has none says nothing about
the system: its preference is missing, and counted as such. (The official command knows no failures: it reads the same
outputs files and has its judge compare an empty text.)
"""

from collections.abc import Mapping
from typing import Any, Literal

from moa.evaluation._data.datasets import Instruction
from moa.evaluation._judges.base import Judge, Pair, Verdict, annotation_row
from moa.evaluation._judges.judge_calls import UNPARSEABLE
from moa.evaluation._runner.records import Record

LOST = 1.0
"""The preference where only the opponent has an output."""

_JOURNAL_ONLY = ("calls", "stopped")

Row = Mapping[str, Any]


def pair_of(mine: Record, theirs: Record, instruction: Instruction) -> Pair:
    """Return a system's and the opponent's output as a pair."""
    return Pair(
        instruction=instruction.text,
        output_1=theirs.output,
        output_2=mine.output,
        generator_1=theirs.system,
        generator_2=mine.system,
        index=instruction.index,
        dataset=instruction.category or instruction.dataset,
    )


def row_of(pair: Pair, verdict: Verdict, judge: Judge) -> dict[str, Any]:
    """Return a verdict as a line of the journal: the annotation and the judge's calls."""
    return annotation_row(pair, verdict, judge.name) | {"calls": [call.as_dict() for call in verdict.ledger.calls]}


def copy_verdict(row: Row, system: str) -> dict[str, Any]:
    """Return a verdict's row as that of another system with the very same output.

    It cost nothing and took no time, so that sums over systems are what was bought; `copy_verdict` says whose it is.

    Args:
        row: The verdict that was asked for, or was taken over itself.
        system: The other system's name.
    """
    bought_for = row.get("taken_over", row["generator_2"])
    free = {"price_per_example": 0.0, "time_per_example": 0.0, "calls": []}
    return {**row, **free, "generator_2": system, "taken_over": bought_for}


def is_final(row: Row) -> bool:
    """Whether a row of the journal stands: a judge that could not be asked is asked again when a run is resumed."""
    failure = row.get("failure")
    return not row.get("stopped") and (failure is None or failure["code"] == UNPARSEABLE)


def annotation(row: Row) -> dict[str, Any]:
    """Return a journal's row as an annotations file has it."""
    return {key: value for key, value in row.items() if key not in _JOURNAL_ONLY}


def unjudged(mine: Record, theirs: Record, instruction: Instruction, judge: Judge) -> dict[str, Any]:
    """Return the annotation of a prompt on which one side has no output, which no judge has to be asked about."""
    lost = theirs.has_output
    row = annotation_row(pair_of(mine, theirs, instruction), Verdict(preference=LOST if lost else None), judge.name)
    return row | {"verdict": "no_output" if lost else "no_baseline"}


def probability(mine: Record | None, theirs: Record | None, row: Row | None) -> float | Literal["open"] | None:
    """Return how probably (0-1) the system wins a prompt, None if its verdict is missing, `open` if it is to come.

    Args:
        mine: The system's record, None while there is none.
        theirs: The opponent's.
        row: The verdict's row, None while there is none.
    """
    if mine is None or theirs is None:
        return "open"
    if not theirs.has_output:
        return None
    if not mine.has_output:
        return LOST - 1.0
    if row is None:
        return "open"
    preference: float | None = row["preference"]
    return None if preference is None else preference - 1.0
