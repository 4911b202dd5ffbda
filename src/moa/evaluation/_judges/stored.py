"""Verdicts that files of annotations already hold; a judge, if there is one, is asked about the other pairs only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from moa._ledger import ErrorInfo
from moa._runtime.engine import Engine
from moa.errors import EvaluationDataError
from moa.evaluation._data.annotations import DRAW, read_annotations
from moa.evaluation._data.datasets import without_white_space
from moa.evaluation._judges.alpaca_eval import OFFICIAL
from moa.evaluation._judges.base import Judge, Pair, Verdict

_Key = tuple[str, str, str]

NOT_STORED = "no_stored_verdict"
"""Code of a verdict that the files don't have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVerdicts:
    """Verdicts that were given before.

    Attributes:
        annotator: Who gave them.
        path: A file with verdicts of theirs.
        verdicts: By instruction (white space around it aside), baseline's output and system's output.
    """

    annotator: str
    path: Path
    verdicts: Mapping[_Key, Verdict]

    def find(self, instruction: str, output_1: str, output_2: str) -> Verdict | None:
        """Return the verdict on a pair of outputs; None if there is none."""
        return self.verdicts.get((without_white_space(instruction), output_1, output_2))


def stored_judge(stored: StoredVerdicts, others: Judge | None = None) -> Judge:
    """Return the judge that gives these verdicts.

    Args:
        stored: The verdicts.
        others: Who is asked about the pairs that they don't have: the same judge, or figures would mix two scales. None
            asks nobody.

    Raises:
        EvaluationDataError: The verdicts are of another judge than `others`.
    """
    name = stored.annotator
    if others is not None and others.name != name:
        raise EvaluationDataError(
            f"has verdicts of {name}, and the judge for other pairs would be {others.name}: leave out --judge and "
            "--judge-model, or --annotations",
            path=stored.path,
        )

    async def judge(engine: Engine, pair: Pair, *, again: int = 0, both: bool = False) -> Verdict:
        found = stored.find(pair.instruction, pair.output_1, pair.output_2)
        if found is None and pair.output_1 == pair.output_2:
            return Verdict(preference=DRAW)
        if found is not None and not again:
            return found
        if others is not None:
            return await others.judge(engine, pair, again=again, both=both)
        message = "the annotations have no verdict on this pair of outputs"
        return found or Verdict(preference=None, failure=ErrorInfo(code=NOT_STORED, message=message))

    if others is not None:
        return replace(others, judge=judge)
    # Known by the name that the files call it.
    return Judge(name=name, models=(), judge=judge, comparable=name == OFFICIAL)


def stored_verdicts(paths: Sequence[str | Path]) -> StoredVerdicts:
    """Return the verdicts of files of annotations.

    Args:
        paths: Files in AlpacaEval's format. A pair may stand in them with either output first; of a pair that is
            there twice, the last verdict counts. Rows without a verdict are left out.

    Raises:
        EvaluationDataError: A file can't be read, the verdicts are of several judges, or there is none.
    """
    verdicts, annotators = dict[_Key, Verdict](), dict[str, Path]()
    for path in map(Path, paths):
        for row in read_annotations(path.expanduser()):
            annotators.setdefault(row.annotator or "unknown", path)
            if row.preference is None:
                continue
            preference = row.preference or DRAW
            orders = row.orders if len(row.orders) == 2 else ()
            prompt = without_white_space(row.instruction)
            verdicts[prompt, row.output_1, row.output_2] = Verdict(preference=preference, orders=orders)
            turned = tuple(None if one is None else 3.0 - one for one in orders[::-1])
            reverse = Verdict(preference=3.0 - preference, orders=turned)
            verdicts.setdefault((prompt, row.output_2, row.output_1), reverse)
    if len(annotators) > 1:
        (one, _), (other, path), *_ = annotators.items()
        raise EvaluationDataError(
            f"has verdicts of {other}, another file or row those of {one}: give one judge's", path=path
        )
    if not verdicts:
        raise EvaluationDataError("has no verdict", path=Path(paths[-1]))
    ((annotator, path),) = annotators.items()
    return StoredVerdicts(annotator=annotator, path=path, verdicts=verdicts)
