"""AlpacaEval's real verdicts on leaderboard models, which are not part of this repository: `--data DIR`."""

import csv
import gzip
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from moa.evaluation._data.annotations import Annotation
from moa.evaluation._data.reference_data import BASELINE, AlpacaEvalData, words_of
from moa.evaluation._length_control.models import GamedBaselines, Judged, doublings
from moa.evaluation._statistics.array_types import Floats


def read_models(folder: Path) -> dict[str, Judged]:
    """Return the verdicts on every annotated model, by name."""
    with (folder / "instruction_difficulty.csv").open() as file:
        difficulty = np.array([float(row["instruction_difficulty"]) for row in csv.DictReader(file)])
    rows = defaultdict(list)
    with gzip.open(folder / "annotations.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            rows[row["model"]].append(row)
    return {name: _judged(found, difficulty) for name, found in rows.items()}


def _judged(rows: list[dict[str, str]], difficulty: Floats) -> Judged:
    return Judged(
        preference=np.array([(float(row["preference"]) or 1.5) - 1 for row in rows]),
        shorter_by=np.array([float(row["len_1"]) - float(row["len_2"]) for row in rows]),
        doublings=doublings(*(np.array([float(row[side]) for row in rows]) for side in ("len_2", "len_1"))),
        difficulty=difficulty[[int(row["index"]) for row in rows]],
    )


def read_gamed(folder: Path) -> GamedBaselines:
    """Return the regulariser's rows."""
    with (folder / "df_gamed.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = ("preference", "std_delta_len", "instruction_difficulty")
    columns = [np.array([float(row[name]) for row in rows]) for name in names]
    return GamedBaselines(preference=columns[0], std_delta_len=columns[1], difficulty=columns[2])


def read_reference(folder: Path) -> AlpacaEvalData:
    """Return instructions, difficulties and the regulariser's rows."""
    instructions = [row["instruction"] for row in json.loads((folder / "instructions.json").read_text())]
    with (folder / "instruction_difficulty.csv").open() as file:
        difficulty = np.array([float(row["instruction_difficulty"]) for row in csv.DictReader(file)])
    position = {words_of(instruction): place for place, instruction in enumerate(instructions)}
    return AlpacaEvalData(position=position, difficulty=difficulty, gamed=read_gamed(folder))


def read_annotations_of(folder: Path) -> dict[str, list[Annotation]]:
    """Return the verdicts on every annotated model, by name, with outputs of the real lengths."""
    instructions = [row["instruction"] for row in json.loads((folder / "instructions.json").read_text())]
    found: defaultdict[str, list[Annotation]] = defaultdict(list)
    with gzip.open(folder / "annotations.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            found[row["model"]].append(
                Annotation(
                    instruction=instructions[int(row["index"])],
                    output_1="b" * int(row["len_1"]),
                    output_2="s" * int(row["len_2"]),
                    generator_1=BASELINE,
                    generator_2=row["model"],
                    preference=float(row["preference"]),
                    annotator="weighted_alpaca_eval_gpt4_turbo",
                )
            )
    return dict(found)
