"""Verdicts that files of annotations already hold; a judge, if there is one, is asked about the other pairs only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """A judge whose verdicts were given before.

    Attributes:
        annotator: Who gave them.
        verdicts: By instruction (white space around it aside), baseline's output and system's output.
        others: Who is asked about the pairs that the files don't have; None asks nobody.
    """

    annotator: str
    verdicts: Mapping[_Key, Verdict]
    others: Judge | None = None

    @property
    def name(self) -> str:
        """The annotator's name."""
        return self.annotator

    @property
    def models(self) -> tuple[str, ...]:
        """The models that are asked about other pairs."""
        return () if self.others is None else self.others.models

    @property
    def comparable(self) -> bool:
        """Whether the leaderboard's judge gave them, by the name that the files call it."""
        return self.annotator == OFFICIAL if self.others is None else self.others.comparable

    @property
    def shows_both(self) -> bool:
        """As the judge of the other pairs; it only matters for what that one costs."""
        return self.others is not None and self.others.shows_both

    def find(self, instruction: str, output_1: str, output_2: str) -> Verdict | None:
        """Return the verdict on a pair of outputs; None if there is none."""
        return self.verdicts.get((without_white_space(instruction), output_1, output_2))

    async def judge(self, engine: Engine, pair: Pair, *, again: int = 0) -> Verdict:
        """Return the verdict on a pair; see `Judge.judge` for what it raises."""
        found = self.find(pair.instruction, pair.output_1, pair.output_2)
        if found is None and pair.output_1 == pair.output_2:
            return Verdict(preference=DRAW)
        if found is not None and not again:
            return found
        if self.others is not None:
            return await self.others.judge(engine, pair, again=again)
        message = "the annotations have no verdict on this pair of outputs"
        return found or Verdict(preference=None, failure=ErrorInfo(code=NOT_STORED, message=message))


def stored_verdicts(paths: Sequence[str | Path], others: Judge | None = None) -> StoredVerdicts:
    """Return the verdicts of files of annotations as a judge.

    Args:
        paths: Files in AlpacaEval's format. A pair may stand in them with either output first; of a pair that is
            there twice, the last verdict counts. Rows without a verdict are left out.
        others: Who is asked about the pairs that they don't have: the same judge, or figures would mix two scales.

    Raises:
        EvaluationDataError: A file can't be read, the verdicts are of several judges or of another one than `others`,
            or there is none.
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
    (annotator,) = annotators
    if others is not None and others.name != annotator:
        raise EvaluationDataError(
            f"has verdicts of {annotator}, and the judge for other pairs would be {others.name}: leave out --judge and "
            "--judge-model, or --annotations",
            path=annotators[annotator],
        )
    return StoredVerdicts(annotator=annotator, verdicts=verdicts, others=others)
