"""The job's script, with scripted models in SageMaker's place."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

JOB = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "sagemaker_processing.py"), run_name="job")

CONFIG = """
endpoints:
  fake:
    kind: scripted
    options:
      replies: {small: an answer, agg: a better answer, big: the best answer, judge: '{"verdict": "tie"}'}
"""
MIXTURE: dict[str, Any] = {
    "name": "pair",
    "layers": [{"proposers": [{"model": "fake/small"}]}],
    "aggregator": {"model": "fake/agg"},
}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    given, out = tmp_path / "input", tmp_path / "output"
    given.mkdir()
    out.mkdir()
    (given / "moa.yaml").write_text(CONFIG)
    (given / "pair.yaml").write_text(json.dumps(MIXTURE))
    return given, out


def _job(folders: tuple[Path, Path]) -> int:
    given, out = folders
    asked = ["--mixture", "pair.yaml", "--baseline", "fake/big", "--judge-model", "fake/judge"]
    code: int = JOB["main"](["--input-dir", str(given), "--output-dir", str(out), *asked])
    return code


@pytest.mark.slow
def test_a_job_writes_the_run_and_its_report_into_the_output_folder(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (folders[0] / "prompts.jsonl").write_text(
        "".join(json.dumps({"prompt": f"Question {n}?"}) + "\n" for n in range(3))
    )

    assert _job(folders) == 0

    assert (folders[1] / "run" / "report.html").is_file()
    told = capsys.readouterr().out
    assert "21 of 21 steps, 0 failed" in told
    assert "Undecided: 3 prompts are too few to say anything about pair and fake/big; at least 27 more" in told


def test_a_job_without_prompts_says_which_files_it_looked_for(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _job(folders) == 1

    assert "give prompts.jsonl, prompts.json, prompts.csv, prompts.parquet" in capsys.readouterr().err
