"""Judging files of outputs by themselves, without a run directory: pairs, what is judged already, annotations."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from moa._policies.cache.settings import CacheSettings
from moa._runtime.engine import Engine
from moa._validation.file_errors import os_reason
from moa.errors import EvaluationDataError
from moa.evaluation._data.annotations import Judgement, judgements_of
from moa.evaluation._data.outputs import Output, write_json
from moa.evaluation._data.rows import FORMATS, read_rows
from moa.evaluation._judges.base import Judge, Pair, Verdict, judgement_of
from moa.evaluation._judges.checks import UnreadableCounter
from moa.evaluation._judges.judge_calls import together


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
    limit: int | None = None,
) -> list[Judgement]:
    """Return the annotations of the pairs, once they are in the file; verdicts that it has already are kept.

    Args:
        path: The annotations file, written at the end, also if judging breaks off.
        judge: Whom to ask.
        pairs: What the file may be about.
        engine: Asks the judge's models. With `replies_beside` as its cache, what a killed process had bought is there.
        concurrency: How many pairs at once.
        on_verdict: Hears of each new verdict.
        limit: Judge, and return, only the first so many.

    Raises:
        EvaluationDataError: The file can't be read or written, is of other outputs, or the judge can't be read.
        ConfigError, EngineError: As `Judge.judge`.
    """
    rows, unreadable = _known(path, judge, pairs), UnreadableCounter(concurrency)
    places, wanted = asyncio.Semaphore(concurrency), pairs[:limit]

    async def one(pair: Pair) -> None:
        async with places:
            verdict = await judge.judge(engine, pair)
        rows[pair.index] = judgement_of(pair, verdict, judge.name)
        on_verdict(pair, verdict)
        unreadable.add(verdict)

    try:
        await together(*(one(pair) for pair in wanted if pair.index not in rows))
    finally:
        if rows:
            write_json(path, [rows[index].as_dict() for index in sorted(rows)])
    return [rows[pair.index] for pair in wanted]


def replies_beside(path: Path) -> CacheSettings:
    """Return the cache that keeps a judge's replies beside an annotations file until that is written.

    Raises:
        EvaluationDataError: Nothing can be written there.
    """
    name = path.name.lower()
    if name.endswith((*FORMATS, ".gz")) and not name.endswith(".json"):
        raise EvaluationDataError("annotations are a JSON list: give an --out that ends with .json", path=path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.name}.replies.sqlite")
        beside.touch()
    except OSError as error:
        raise EvaluationDataError(f"can't be written: {os_reason(error)}", path=path) from error
    return CacheSettings(path=beside)


def _known(path: Path, judge: Judge, pairs: Sequence[Pair]) -> dict[int, Judgement]:
    """The verdicts that the file has for exactly these pairs by this judge."""
    wanted = {(pair.instruction, pair.output_1, pair.output_2): pair.index for pair in pairs}
    found: dict[int, Judgement] = {}
    for number, row in enumerate(read_rows(path) if path.exists() else [], 1):
        if not isinstance(row, dict) or row.get("annotator") != judge.name:
            other = row.get("annotator") if isinstance(row, dict) else None
            message = f"holds annotations of {other or 'something else'}, not of {judge.name}: give another --out"
            raise EvaluationDataError(message, path=path, row=number)
        index = wanted.get((row.get("instruction", ""), row.get("output_1", ""), row.get("output_2", "")))
        if index is None:
            raise EvaluationDataError("is about other outputs than these: give another --out", path=path, row=number)
        if row.get("preference") is not None:
            (found[index],) = judgements_of([row], path)
    return found
