"""Annotations in AlpacaEval's file format, and what the official code counts of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BeforeValidator, TypeAdapter
from pydantic_core import PydanticCustomError

from moa.errors import EvaluationDataError
from moa.evaluation._data.rows import read_rows, rows_as
from moa.evaluation._statistics.array_types import Floats

DRAW = 1.5
SIDES = ("baseline", "draw", "system")

NO_OUTPUT, NO_BASELINE = "no_output", "no_baseline"
"""`Judgement.verdict` where nobody was asked, as the system, or what it is judged against, has no output."""


def _checked(preference: float | None) -> float | None:
    if preference is None or math.isnan(preference) or preference == 0 or 1 <= preference <= 2:
        return preference
    advice = "{value} is no preference: write 1 to 2, or null where the verdict is missing"
    raise PydanticCustomError("preference", advice, {"value": preference})


Preference = Annotated[
    float | None,
    # An empty cell stands for a missing verdict where a file can't hold null.
    BeforeValidator(lambda given: None if given == "" else given),
    AfterValidator(_checked),
]
"""As in AlpacaEval's files; see `Annotation`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One judgement: which of two outputs for one instruction is better.

    Attributes:
        instruction: The prompt.
        output_1: The baseline's output.
        output_2: The system's output.
        generator_1: The baseline's name.
        generator_2: The system's name.
        annotator: The judge's name, if known.
        preference: From 1 (the baseline's output is better) to 2 (the system's is); 1.5, or 0 in old files, is a
            draw; None where the verdict is missing.
        dataset: The part of the benchmark that the instruction belongs to, if known.
        orders: The preference when the baseline's output was shown first, and when the system's was, if both were
            tried.
    """

    instruction: str
    output_1: str
    output_2: str
    generator_1: str
    generator_2: str
    preference: Preference
    annotator: str | None = None
    dataset: str | None = None
    orders: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement(Annotation):
    """An annotation with how its verdict came about, as far as its file says that; what is unknown is None or empty.

    Attributes:
        index: The prompt's place in its dataset, from 0.
        raw_completion: What the judge wrote, one text for each reply; files of other programs hold anything here.
        price_per_example: US dollars of the verdict.
        time_per_example: Seconds of the verdict.
        control: On a pair that was shown together with a control pair: whether the judge got that one right.
        dropped: What the judge's service refuses and was left out of what it was asked.
        by_judge: The preference of each member of a panel.
        failure: Code and message of why the verdict is missing.
        verdict: `NO_OUTPUT` or `NO_BASELINE` where a side has no output and nobody was asked; else None.
    """

    index: int | None = None
    raw_completion: Any = None
    price_per_example: float | None = None
    time_per_example: float | None = None
    control: bool | None = None
    dropped: tuple[str, ...] = ()
    by_judge: Mapping[str, float | None] = field(default_factory=dict)
    failure: Mapping[str, Any] | None = None
    verdict: str | None = None

    @property
    def flipped(self) -> bool | None:
        """Whether the judge preferred the other output once their places were swapped; None if it was not tried."""
        known = [preference for preference in self.orders if preference is not None]
        return min(known) < DRAW < max(known) if len(known) == 2 else None

    def as_dict(self) -> dict[str, Any]:
        """A row of AlpacaEval's files; what does not apply is left out."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {key: value for key, value in values.items() if key not in _SELDOM or value not in (None, (), {})}


_SELDOM = frozenset({"orders", "control", "dropped", "by_judge", "failure", "verdict"})


@dataclass(frozen=True, slots=True, kw_only=True)
class WinRate:
    """What the official code counts of one system's preferences; rates in percent 0-100.

    Attributes:
        win_rate: Mean probability that the system wins; None without any verdict.
        standard_error: Of the win rate, in percentage points; None for fewer than two verdicts.
        n_wins: Preferences above one half.
        n_wins_base: Preferences below one half.
        n_draws: Preferences of exactly one half.
        n_total: Verdicts; missing ones are not counted.
        discrete_win_rate: Wins and half of the draws; None without any verdict.
    """

    win_rate: float | None
    standard_error: float | None
    n_wins: int
    n_wins_base: int
    n_draws: int
    n_total: int
    discrete_win_rate: float | None


_ROWS, _JUDGEMENTS = TypeAdapter(list[Annotation]), TypeAdapter(list[Judgement])
_FORMAT = "in AlpacaEval's annotation format"


def read_annotations(path: Path) -> list[Annotation]:
    """Return the annotations of a file in AlpacaEval's format.

    Args:
        path: As for `read_rows`. Fields that are not known are ignored.

    Returns:
        At least one annotation, in the file's order.

    Raises:
        EvaluationDataError: The file can't be read, is not such a list, is empty, or has a preference that is
            neither 0, nor from 1 to 2, nor missing.

    Source:
        alpaca_eval, the `annotations.json` that its `evaluate` writes.
    """
    annotations = rows_as(_ROWS, read_rows(path), path, _FORMAT)
    if not annotations:
        raise EvaluationDataError("holds no annotation", path=path)
    return annotations


def judgements_of(rows: Sequence[Mapping[str, Any]], path: Path | None = None) -> list[Judgement]:
    """Return rows that this program once wrote; errors as in `read_annotations`."""
    return rows_as(_JUDGEMENTS, rows, path, _FORMAT)


def preferred(preference: float) -> str:
    """Return which of `SIDES` a preference is for."""
    return SIDES[1 + (preference > DRAW) - (preference < DRAW)]


def count_wins(probabilities: Floats) -> WinRate:
    """Return the counts and rates that the official code reports.

    Args:
        probabilities: That the system wins, 0-1, one for each row; NaN where the verdict is missing.

    Returns:
        The figures, None where there are too few verdicts for one.

    Source:
        alpaca_eval, `metrics/helpers.py` (`describe_head2head`) and `metrics/winrate.py` (`get_winrate`).
    """
    present = probabilities[~np.isnan(probabilities)]
    n, wins, losses = len(present), int(np.sum(present > 0.5)), int(np.sum(present < 0.5))
    draws = n - wins - losses
    return WinRate(
        win_rate=100.0 * float(present.mean()) if n else None,
        standard_error=100.0 * float(present.std(ddof=1)) / math.sqrt(n) if n > 1 else None,
        n_wins=wins,
        n_wins_base=losses,
        n_draws=draws,
        n_total=n,
        discrete_win_rate=100.0 * (wins + draws / 2) / n if n else None,
    )
