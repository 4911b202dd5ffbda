"""`moa eval calibrate` with a judge on loopback, up to the report that reads a run by it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moa.evaluation._analysis.calibration import official_annotations, opponent_digest, read_calibration, why_unreadable
from tests.cli.moa_command import moa
from tests.support.judge_server import JudgeServer, written

PROMPTS = 40


def quality(text: str) -> float:
    found = re.search(r"quality ([0-9.]+)", text)
    return float(found.group(1)) if found else 0.5


def verdict(body: dict[str, Any]) -> dict[str, Any]:
    """The better output by the quality that stands in it; the model `first` prefers what it is shown first."""
    if body["model"] == "first":
        return written(body, json.dumps({"reason": "r", "verdict": "A"}))
    first, second = body["messages"][-1]["content"].split("<Response_B>")
    gap = quality(first) - quality(second)
    return written(body, json.dumps({"reason": "r", "verdict": "tie" if abs(gap) < 0.05 else "A" if gap > 0 else "B"}))


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    """Official verdicts on seven systems, and a judge to calibrate."""
    with JudgeServer(verdict) as server:
        endpoint = {"kind": "openai", "base_url": server.base_url}
        (tmp_path / "moa.yaml").write_text(json.dumps({"endpoints": {"lab": endpoint}}))
        for number in range(7):
            share = 0.2 + 0.1 * number
            rows = [
                {
                    "instruction": f"question {n}",
                    "output_1": f"base {n}, quality 0.5",
                    "generator_1": "base",
                    "output_2": f"m{number} {n}, quality {share + 0.02 * (n % 30 - 15):.2f}",
                    "generator_2": f"m{number}",
                    "annotator": "weighted_alpaca_eval_gpt4_turbo",
                    "preference": 1.0 + min(max(share + 0.02 * (n % 30 - 15), 0.0), 1.0),
                }
                for n in range(PROMPTS)
            ]
            folder = tmp_path / "results" / f"m{number}" / "weighted_alpaca_eval_gpt4_turbo"
            folder.mkdir(parents=True)
            (folder / "annotations.json").write_text(json.dumps(rows))
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("MOA_CONFIG", raising=False)
        yield server


ARGUMENTS = (
    "eval",
    "calibrate",
    "results",
    "--judge-model",
    "lab/judge",
    "--out",
    "calibration",
    "--pairs",
    "20",
    "--concurrency",
    "4",
)


@pytest.mark.slow
def test_a_judge_is_calibrated_a_second_time_for_nothing_and_its_report_reads_a_run_by_it(
    results: JudgeServer, tmp_path: Path
) -> None:
    planned = moa(*ARGUMENTS, "--plan")
    assert planned.code == 0
    assert "140 pairs of 7 systems to judge again: about 280 calls" in planned.err
    assert len(results.asked) == 0

    first, calls = moa(*ARGUMENTS), len(results.asked)
    assert first.code == 0, first.err
    second = moa(*ARGUMENTS, "--json")
    assert (first.code, second.code, calls, len(results.asked)) == (0, 0, 280, 280)
    assert "win rate: " in first.out
    assert "official points a point" in first.out
    figures = json.loads(second.out)
    assert figures["judge"] == "pairwise@lab/judge"
    assert figures["raw"]["spearman"] > 0.9
    assert 0.2 < figures["raw"]["slope"] < 1.0

    for name in ("base", "mine"):
        rows = [
            {"instruction": f"question {n}", "output": f"{name} {n}, quality {0.5 if name == 'base' else 0.55}"}
            for n in range(PROMPTS)
        ]
        (tmp_path / f"{name}.json").write_text(json.dumps([row | {"generator": name} for row in rows]))
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"question {n}"}) + "\n" for n in range(40)))
    ran = moa(
        *("eval", "run", "prompts.jsonl", "--outputs", "mine=mine.json", "--baseline", "base.json"),
        *("--judge", "pairwise", "--judge-model", "lab/judge", "--reference", "none", "--out", "run"),
    )
    assert ran.code == 0, ran.err
    told = moa("eval", "report", "run", "--calibration", "calibration")
    assert told.code == 0
    assert "by this judge reads as" in told.err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert [one["scale"] for one in summary["on_official_scale"]][:1] == ["raw"]
    assert "reads as" in (tmp_path / "run" / "report.md").read_text()
    assert "reads as" in (tmp_path / "run" / "report.html").read_text()


def test_few_systems_are_refused_before_anything_is_bought(results: JudgeServer) -> None:
    ended = moa("eval", "calibrate", "results/m1", "--judge-model", "lab/judge", "--out", "calibration")

    assert ended.code == 2
    assert "verdicts on 1 system make no line from one judge to another" in ended.err
    assert results.asked == []


def test_a_judge_that_rates_all_systems_alike_is_told_so_and_not_to_judge_more_pairs(
    results: JudgeServer, tmp_path: Path
) -> None:
    arguments = tuple("lab/first" if one == "lab/judge" else one for one in ARGUMENTS)

    ended = moa(*arguments)

    assert ended.code == 0, ended.err
    assert ended.out.count("no line: this judge rates all systems alike") == 2
    assert "sampling errors" not in ended.out
    again = json.loads(moa(*arguments, "--json").out)
    assert again["raw"]["no_line"].startswith("this judge rates all systems alike")

    calibration = read_calibration(tmp_path / "calibration")
    rows = official_annotations([tmp_path / "results"])["m1"]
    against = [opponent_digest(row.instruction, row.output_1) for row in rows]
    assert "rates all systems alike" in str(why_unreadable(calibration, "pairwise@lab/first", against))
