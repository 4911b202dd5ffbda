import csv
import gzip
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from moa.evaluation._data.reference_data import AlpacaEvalData, load_alpaca_eval_data
from moa.evaluation._length_control.models import Design, Judged, design_for

SHARED = Path(__file__).parents[3] / "shared" / "alpaca_eval"


@dataclass(frozen=True)
class Reference:
    """Real annotations of 30 leaderboard models, with what was published about them."""

    folder: Path
    data: AlpacaEvalData
    rows: dict[str, list[dict[str, str]]]
    expected: dict[str, dict[str, str]]
    leaderboard: dict[str, dict[str, str]]

    def judged(self, model: str, *, by_row: bool = False) -> Judged:
        rows = self.rows[model]
        places = list(range(len(rows))) if by_row else [int(row["index"]) for row in rows]
        return Judged(
            preference=np.array([(float(row["preference"]) or 1.5) - 1 for row in rows]),
            shorter_by=np.array([float(row["len_1"]) - float(row["len_2"]) for row in rows]),
            difficulty=self.data.difficulty[places],
        )

    def design(self, model: str, *, by_row: bool = False) -> Design:
        return design_for("length_controlled_v1", self.judged(model, by_row=by_row), self.data.gamed)

    def annotation_file(self, model: str, folder: Path) -> Path:
        """Write the model's real verdicts in AlpacaEval's format, with outputs of the real lengths."""
        instructions = list(self.data.position)
        rows = [
            {
                "instruction": instructions[int(row["index"])],
                "output_1": "b" * int(row["len_1"]),
                "generator_1": "gpt4_1106_preview",
                "output_2": "s" * int(row["len_2"]),
                "generator_2": model,
                "annotator": "weighted_alpaca_eval_gpt4_turbo",
                "preference": float(row["preference"]),
                "raw_completion": {"ignored": True},
            }
            for row in self.rows[model]
        ]
        path = folder / f"{model}.json"
        path.write_text(json.dumps(rows))
        return path


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    if not SHARED.is_dir():
        pytest.skip("AlpacaEval's reference data (CC BY-NC) is not beside the repository: ../shared/alpaca_eval")
    folder = tmp_path_factory.mktemp("hub")
    (folder / "alpaca_eval.json").write_text((SHARED / "instructions.json").read_text())
    for name in ("instruction_difficulty.csv", "df_gamed.csv"):
        (folder / name).write_text((SHARED / name).read_text())
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    with gzip.open(SHARED / "annotations.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            rows[row["model"]].append(row)
    return Reference(
        folder=folder,
        data=load_alpaca_eval_data(folder),
        rows=dict(rows),
        expected=_by_model(SHARED / "expected.csv"),
        leaderboard=_by_model(SHARED / "leaderboard.csv"),
    )


@pytest.fixture(scope="session")
def fold_oracle() -> dict[str, str]:
    path = SHARED / "folds.json"
    if not path.is_file():
        pytest.skip("the published folds are not beside the repository: ../shared/alpaca_eval/folds.json")
    folds: dict[str, str] = json.loads(path.read_text())
    return folds


def _by_model(path: Path) -> dict[str, dict[str, str]]:
    with path.open() as file:
        return {row["model"]: row for row in csv.DictReader(file)}
