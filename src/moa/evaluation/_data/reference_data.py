"""AlpacaEval's reference data: its instructions, how hard each is, and the gamed baselines' verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import FiniteFloat, TypeAdapter

from moa.errors import EvaluationDataError
from moa.evaluation._data.rows import read_rows, rows_as
from moa.evaluation._length_control.models import GamedBaselines
from moa.evaluation._statistics.array_types import Floats

T = TypeVar("T")

BASELINE = "gpt4_1106_preview"
"""The baseline that difficulties and gamed rows were measured against."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AlpacaEvalData:
    """What the length-controlled models of AlpacaEval 2.0 need besides the annotations.

    Attributes:
        position: The official position, from 0, of each instruction, by its words (`words_of`).
        difficulty: Of each instruction, in the official order.
        gamed: The regulariser's rows.
    """

    position: dict[str, int]
    difficulty: Floats
    gamed: GamedBaselines

    def places(self, instructions: Sequence[str]) -> list[int] | None:
        """Return the official position of each instruction, or None if one is not AlpacaEval's."""
        found = [self.position.get(words_of(instruction)) for instruction in instructions]
        known = [place for place in found if place is not None]
        return known if len(known) == len(found) else None


def words_of(instruction: str) -> str:
    """Return an instruction with single spaces: files that went through other tools lose or gain white space."""
    return " ".join(instruction.split())


@dataclass(frozen=True)
class _Prompt:
    instruction: str


@dataclass(frozen=True)
class _Difficulty:
    position: int
    difficulty: FiniteFloat


@dataclass(frozen=True)
class _Gamed:
    preference: FiniteFloat
    std_delta_len: FiniteFloat
    instruction_difficulty: FiniteFloat


def load_alpaca_eval_data(folder: Path) -> AlpacaEvalData:
    """Return the reference data from the files of the dataset `tatsu-lab/alpaca_eval`.

    Args:
        folder: Holds `alpaca_eval.json`, `instruction_difficulty.csv` and `df_gamed.csv`, as the hub has them.

    Raises:
        EvaluationDataError: A file is missing, can't be understood, or does not fit the others.
    """
    prompts = _checked(folder / "alpaca_eval.json", TypeAdapter(list[_Prompt]))
    path = folder / "instruction_difficulty.csv"
    # As the official code reads it: the first column is the position, the last one the difficulty.
    cells = [list(row.values()) for row in _rows(path)]
    found = _checked(
        path, TypeAdapter(list[_Difficulty]), [{"position": one[0], "difficulty": one[-1]} for one in cells]
    )
    by_position = {one.position: one.difficulty for one in found}
    if by_position.keys() != set(range(len(prompts))):
        message = f"has no difficulty for each of the {len(prompts)} instructions"
        raise EvaluationDataError(f"{message} of alpaca_eval.json, by position from 0", path=path)
    rows = _checked(folder / "df_gamed.csv", TypeAdapter(list[_Gamed]))
    gamed = np.array([(one.preference, one.std_delta_len, one.instruction_difficulty) for one in rows]).T
    return AlpacaEvalData(
        position={words_of(one.instruction): place for place, one in enumerate(prompts)},
        difficulty=np.array([by_position[place] for place in range(len(prompts))]),
        gamed=GamedBaselines(preference=gamed[0], std_delta_len=gamed[1], difficulty=gamed[2]),
    )


def _rows(path: Path) -> list[Any]:
    if not path.is_file():
        advice = "download it from the Hugging Face dataset tatsu-lab/alpaca_eval"
        raise EvaluationDataError(f"is not there: {advice}", path=path)
    return read_rows(path)


def _checked(path: Path, kind: TypeAdapter[list[T]], rows: Sequence[object] | None = None) -> list[T]:
    found = rows_as(kind, _rows(path) if rows is None else rows, path, "AlpacaEval's file of this name")
    if not found:
        raise EvaluationDataError("holds no row", path=path)
    return found
