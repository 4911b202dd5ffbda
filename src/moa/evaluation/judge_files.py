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
    """Return the pairs of the instructions that both files have, in the outputs' order.

    Args:
        reference: The baseline's.
        outputs: The system's.

    Raises:
        EvaluationDataError: No instruction is common to both, or one file has an instruction twice.
    """
    theirs = {output.instruction: output for output in reference}
    if len(theirs) < len(reference) or len({output.instruction for output in outputs}) < len(outputs):
        raise EvaluationDataError("an instruction occurs twice: each may have one output only")
    pairs = [
        Pair(
            instruction=mine.instruction,
            output_1=theirs[mine.instruction].output,
            output_2=mine.output,
            generator_1=theirs[mine.instruction].generator,
            generator_2=mine.generator,
            index=index,
            dataset=mine.dataset,
        )
        for index, mine in enumerate(outputs)
        if mine.instruction in theirs
    ]
    if not pairs:
        raise EvaluationDataError("the two files have no instruction in common")
    return pairs


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
