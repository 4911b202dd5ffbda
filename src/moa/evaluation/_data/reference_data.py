"""AlpacaEval's reference data: its instructions, how hard each is, and the gamed baselines' verdicts."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moa.errors import EvaluationDataError
from moa.evaluation._length_control.models import GamedBaselines
from moa.evaluation._statistics.array_types import Floats

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


def load_alpaca_eval_data(folder: Path) -> AlpacaEvalData:
    """Return the reference data from the files of the dataset `tatsu-lab/alpaca_eval`.

    Args:
        folder: Holds `alpaca_eval.json`, `instruction_difficulty.csv` and `df_gamed.csv`, as the hub has them.

    Returns:
        The data.

    Raises:
        EvaluationDataError: A file is missing, can't be understood, or does not fit the others.
    """
    instructions = _read_instructions(folder / "alpaca_eval.json")
    difficulty = _read_difficulty(folder / "instruction_difficulty.csv")
    if len(difficulty) != len(instructions):
        raise EvaluationDataError(
            f"has {len(difficulty)} difficulties for the {len(instructions)} instructions of alpaca_eval.json",
            path=folder / "instruction_difficulty.csv",
        )
    gamed = _read_gamed(folder / "df_gamed.csv")
    position = {words_of(instruction): place for place, instruction in enumerate(instructions)}
    return AlpacaEvalData(position=position, difficulty=difficulty, gamed=gamed)


def _read_instructions(path: Path) -> list[str]:
    try:
        return [str(row["instruction"]) for row in json.loads(_text(path))]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        message = "is not a JSON list of objects with an instruction each"
        raise EvaluationDataError(message, path=path) from error


def _read_difficulty(path: Path) -> Floats:
    """Read the file as the official code does: the first column is the position, the other the difficulty."""
    rows = list(csv.reader(_text(path).splitlines()))[1:]
    try:
        by_position = {int(row[0]): _finite(row[-1]) for row in rows if row}
        return np.array([by_position[place] for place in range(len(by_position))])
    except (ValueError, KeyError) as error:
        message = f"needs a position from 0 and a difficulty in each row ({error})"
        raise EvaluationDataError(message, path=path) from error


def _read_gamed(path: Path) -> GamedBaselines:
    rows = list(csv.DictReader(_text(path).splitlines()))
    if not rows:
        raise EvaluationDataError("holds no row", path=path)
    return GamedBaselines(
        preference=_column(rows, "preference", path),
        std_delta_len=_column(rows, "std_delta_len", path),
        difficulty=_column(rows, "instruction_difficulty", path),
    )


def _column(rows: Sequence[dict[str, str]], name: str, path: Path) -> Floats:
    if name not in rows[0]:
        raise EvaluationDataError(f"has no column {name}", path=path)
    values = []
    for number, row in enumerate(rows, 1):
        try:
            values.append(_finite(row[name]))
        except (ValueError, TypeError) as error:
            raise EvaluationDataError(f"{row[name]!r} is no number", path=path, row=number, key=name) from error
    return np.array(values)


def _finite(cell: str) -> float:
    value = float(cell)
    if not math.isfinite(value):
        raise ValueError(f"{cell!r} is no finite number")
    return value


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        advice = "download it from the Hugging Face dataset tatsu-lab/alpaca_eval"
        raise EvaluationDataError(f"can't be read ({error}): {advice}", path=path) from error
