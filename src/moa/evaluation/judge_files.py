"""Judging files of outputs by themselves, without a run directory: pairs, what is judged already, annotations."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moa.api import Engine
from moa.errors import EvaluationDataError
from moa.evaluation.judges.base import Judge, Pair, Verdict, annotation_row, judge_all
from moa.evaluation.outputs import Output, read_rows, write_json

Row = Mapping[str, Any]
SAVE_EVERY = 50
"""Verdicts after which the file is written again: so many are lost at most when the process is killed."""


def pairs_of(reference: Sequence[Output], outputs: Sequence[Output]) -> list[Pair]:
    """Return the pairs of the instructions that both files have, in the reference's order.

    Args:
        reference: The baseline's.
        outputs: The system's. An instruction with several outputs, here or there, has a pair for each combination;
            equal pairs are one.

    Raises:
        EvaluationDataError: No instruction is common to both.

    Source:
        alpaca_eval, `annotators/pairwise_evaluator.py` (`annotate_head2head`): an inner join.
    """
    mine: dict[str, list[Output]] = {}
    for output in outputs:
        mine.setdefault(output.instruction, []).append(output)
    joined: dict[tuple[str, str, str], tuple[Output, Output]] = {}
    for theirs in reference:
        for own in mine.get(theirs.instruction, ()):
            joined.setdefault((theirs.instruction, theirs.output, own.output), (theirs, own))
    if not joined:
        raise EvaluationDataError("the two files have no instruction in common")
    return [
        Pair(
            instruction=own.instruction,
            output_1=theirs.output,
            output_2=own.output,
            generator_1=theirs.generator,
            generator_2=own.generator,
            index=index,
            dataset=own.dataset,
        )
        for index, (theirs, own) in enumerate(joined.values())
    ]


def left_out(reference: Sequence[Output], outputs: Sequence[Output]) -> tuple[str, ...]:
    """Return a sentence for each side that has instructions which the other lacks: they make no pair."""
    known, mine = ({output.instruction for output in side} for side in (reference, outputs))
    sides = (("reference", known, mine), ("outputs", mine, known))
    return tuple(
        f"{len(some - others)} of {len(some)} instructions of the {name} have no counterpart and are left out"
        for name, some, others in sides
        if some - others
    )


async def judge_into(
    path: Path,
    judge: Judge,
    pairs: Sequence[Pair],
    engine: Engine,
    *,
    concurrency: int,
    on_verdict: Callable[[Pair, Verdict], None],
) -> list[Row]:
    """Return the annotations of all pairs, once they are in the file; verdicts that it has already are kept.

    Args:
        path: The annotations file; written now and then, and at the end, also if judging breaks off.
        judge: Whom to ask.
        pairs: What to judge.
        engine: Asks the judge's models.
        concurrency: How many pairs at once.
        on_verdict: Hears of each new verdict.

    Raises:
        EvaluationDataError: The file can't be read or written, or is of other outputs.
        ConfigError, EngineError: As `Judge.judge`.
    """
    rows = _known(path, judge, pairs)
    new = 0

    def note(pair: Pair, verdict: Verdict) -> None:
        nonlocal new
        rows[pair.index] = annotation_row(pair, verdict, judge.name)
        new += 1
        if new % SAVE_EVERY == 0:
            _save(path, rows)
        on_verdict(pair, verdict)

    open_pairs = [pair for pair in pairs if pair.index not in rows]
    try:
        await judge_all(judge, open_pairs, engine, concurrency=concurrency, on_verdict=note)
    finally:
        if new:
            _save(path, rows)
    return [rows[pair.index] for pair in pairs]


def _save(path: Path, rows: Mapping[int, Row]) -> None:
    write_json(path, [rows[index] for index in sorted(rows)])


def _known(path: Path, judge: Judge, pairs: Sequence[Pair]) -> dict[int, Row]:
    """The verdicts that the file has for exactly these pairs by this judge."""
    if not path.exists():
        return {}
    wanted = {(pair.instruction, pair.output_1, pair.output_2): pair.index for pair in pairs}
    found: dict[int, Row] = {}
    for number, row in enumerate(read_rows(path), 1):
        if not isinstance(row, dict) or row.get("annotator") != judge.name:
            other = row.get("annotator") if isinstance(row, dict) else None
            message = f"holds annotations of {other or 'something else'}, not of {judge.name}: give another --out"
            raise EvaluationDataError(message, path=path, row=number)
        index = wanted.get((row.get("instruction", ""), row.get("output_1", ""), row.get("output_2", "")))
        if index is None:
            raise EvaluationDataError("is about other outputs than these: give another --out", path=path, row=number)
        if row.get("preference") is not None:
            found[index] = row
    return found
