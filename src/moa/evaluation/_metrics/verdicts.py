"""What a judge says of a system's outputs, or a measure of one output: columns with a row for each prompt, no texts."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np

from moa.evaluation._data.annotations import DRAW, Annotation, Judgement
from moa.evaluation._length_control.models import Judged, LengthModel, doublings
from moa.evaluation._statistics.array_types import Bools, Floats, Ints, Objects
from moa.evaluation._statistics.sample_means import numbered


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Verdicts:
    """One system's verdicts against an opponent, or its scores, in one order for all systems that are compared.

    Attributes:
        won: Probability 0-1 that the system wins, or its score; NaN where that is missing.
        length: Characters of its outputs.
        opponent_length: Characters of the opponent's.
        baseline_first: Probability 0-1 that the system wins where the opponent's output was shown first; NaN if not
            tried.
        system_first: The same where the system's was shown first.
        same: Whether the two outputs are the same text.
        difficulty: The official difficulty of each instruction, or None.
        prompt: Which prompt, numbered from 0 without gaps, each row is about; None where each row has its own.
    """

    won: Floats
    length: Floats
    opponent_length: Floats
    baseline_first: Floats
    system_first: Floats
    same: Bools
    difficulty: Floats | None = None
    prompt: Ints | None = None

    def __len__(self) -> int:
        return len(self.won)

    def at(self, rows: Bools | Ints) -> Self:
        """Return some of the rows."""
        changed: dict[str, Any] = {}
        for one in fields(self):
            column = getattr(self, one.name)
            if isinstance(column, np.ndarray):
                changed[one.name] = column[rows]
            elif isinstance(column, Mapping):
                changed[one.name] = {name: values[rows] for name, values in column.items()}
        if self.prompt is not None:
            changed["prompt"] = np.unique(self.prompt[rows], return_inverse=True)[1]
        return replace(self, **changed)

    def judged(self, model: LengthModel) -> Judged:
        """Return what a length model is fitted to.

        An empty output loses because it is empty: in `equal_length` that is no matter of length.
        """
        length = self.length
        if model == "equal_length":
            length = np.where(length > 0, length, self.opponent_length)
        return Judged(
            preference=self.won,
            shorter_by=self.opponent_length - length,
            doublings=doublings(length, self.opponent_length),
            difficulty=self.difficulty,
            prompt=self.prompt,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Annotations(Verdicts):
    """Verdicts with what they are about and how they came about.

    Attributes:
        systems: Names of the systems that the rows are about: one, but for odd files; `opponents` likewise. A measure
            of one output has no opponent.
        index: The prompts' places in their dataset.
        instruction: The prompts' texts.
        category: The part of the dataset that each belongs to, or None.
        usd: Price of each verdict in US dollars; NaN where unknown.
        seconds: Time of each; likewise.
        control: 1 where the judge got a control pair right, 0 where it didn't, NaN where it was shown none.
        failure: Code and message of why a verdict is missing, or None.
        unasked: `NO_OUTPUT` or `NO_BASELINE` where a side has no output and nobody was asked, or None.
        by_judge: The preferences of each member of a panel; NaN where there is none.
        dropped: What the judge's service refuses and was left out of what it was asked.
    """

    systems: tuple[str, ...]
    opponents: tuple[str, ...]
    index: Ints
    instruction: Objects
    category: Objects
    usd: Floats
    seconds: Floats
    control: Floats
    failure: Objects
    unasked: Objects
    by_judge: dict[str, Floats] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)

    @classmethod
    def empty(cls, rows: int, **known: Any) -> Self:
        """Return so many rows without verdicts, with the columns that are known."""
        numbers = ("won", "length", "opponent_length", "baseline_first", "system_first", "usd", "seconds", "control")
        columns: dict[str, Any] = {name: np.full(rows, np.nan) for name in numbers}
        columns |= {name: np.full(rows, None, dtype=np.object_) for name in ("failure", "unasked")}
        return cls(**{"same": np.zeros(rows, dtype=np.bool_), **columns, **known})

    def put(self, row: int, won: float | None, orders: Sequence[float | None] = (), **known: Any) -> None:
        """Take a verdict, and what else is known of it, into a row.

        Args:
            row: Its number.
            won: As in `Verdicts`; None where it is missing.
            orders: As in `Annotation`.
            known: Values of other columns, None where unknown; `by_judge` and `dropped` as in `Judgement`.
        """
        self.won[row] = math.nan if won is None else won
        both = orders if len(orders) == 2 else (None, None)
        self.baseline_first[row], self.system_first[row] = (math.nan if one is None else one - 1.0 for one in both)
        self.dropped.update(known.pop("dropped", ()))
        by_judge = dict.fromkeys(self.by_judge) | dict(known.pop("by_judge", {}))
        for name, value in by_judge.items():
            self.by_judge.setdefault(name, np.full(len(self), np.nan))[row] = value
        for name, value in known.items():
            getattr(self, name)[row] = value

    def take(self, rows: Bools | Ints) -> Self:
        """Return some of the rows in that order, with their prompts renumbered."""
        taken = self.at(rows)
        return replace(taken, prompt=numbered(taken.instruction.tolist()))


def verdicts_of(annotations: Sequence[Annotation]) -> Annotations:
    """Return the rows of a file as columns."""
    texts = [a.instruction for a in annotations]
    found = Annotations.empty(
        len(annotations),
        systems=tuple(sorted({a.generator_2 for a in annotations})),
        opponents=tuple(sorted({a.generator_1 for a in annotations})),
        length=np.array([float(len(a.output_2)) for a in annotations]),
        opponent_length=np.array([float(len(a.output_1)) for a in annotations]),
        same=np.array([a.output_1 == a.output_2 for a in annotations], dtype=np.bool_),
        prompt=numbered(texts),
        index=np.arange(len(annotations)),
        instruction=np.array(texts, dtype=np.object_),
        category=np.array([a.dataset for a in annotations], dtype=np.object_),
    )
    for row, one in enumerate(annotations):
        known: dict[str, Any] = {}
        if isinstance(one, Judgement):
            known = {
                "index": row if one.index is None else one.index,
                "usd": one.price_per_example,
                "seconds": one.time_per_example,
                "control": one.control,
                "failure": one.failure,
                "unasked": one.verdict,
                "by_judge": one.by_judge,
                "dropped": one.dropped,
            }
        found.put(row, won_by(one.preference), one.orders, **known)
    return found


def won_by(preference: float | None) -> float | None:
    """Return the probability 0-1 that the system wins; in old files, 0 is a draw.

    Source:
        alpaca_eval, `metrics/helpers.py` and `metrics/glm_winrate.py`.
    """
    return None if preference is None else (preference or DRAW) - 1.0


def common_rows(systems: Sequence[Annotations]) -> list[Annotations] | None:
    """Return the rows about the prompts that all systems have, in the first's order; None if there is none.

    Of a prompt with several rows the first goes with the first, the second with the second.

    Args:
        systems: All against the same opponent.
    """
    known = [_by_occurrence(one) for one in systems]
    keys = [key for key in known[0] if all(key in one for one in known)]
    if not keys:
        return None
    return [one.take(np.array([rows[key] for key in keys])) for one, rows in zip(systems, known, strict=True)]


def _by_occurrence(verdicts: Annotations) -> dict[tuple[str, int], int]:
    """The rows by their prompt and how many rows about it came before."""
    seen: Counter[str] = Counter()
    found = {}
    for row, text in enumerate(verdicts.instruction.tolist()):
        found[text, seen[text]] = row
        seen[text] += 1
    return found
