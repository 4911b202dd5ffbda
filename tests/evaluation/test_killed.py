"""An evaluation that is killed (SIGKILL) at some moment and begun again: what is bought twice, and what is lost."""

import json
import random
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from moa.evaluation._pipeline import evaluate
from tests.support.forked import exit_code, forked, needs_forks
from tests.support.model_server import ModelServer, Text

CONCURRENCY = 4
KILLS = 10
PROMPTS = [{"prompt": f"question {number}", "reference": "agg"} for number in range(14)]
LAYERS = [{"proposers": [{"model": "lab/one"}, {"model": "lab/two"}]}]
MIXTURES = [
    {"name": "m", "layers": LAYERS, "aggregator": {"model": "lab/agg"}},
    {"name": "n", "layers": LAYERS, "aggregator": {"model": "lab/other"}},
]
GRADE = '{"reason": "r", "grade": 7}'
VERDICT = '{"reason": "r", "verdict": "A"}'

pytestmark = [pytest.mark.slow, needs_forks]


def run(folder: Path) -> None:
    """The process that is killed."""
    evaluate(
        PROMPTS,
        MIXTURES,
        baseline="lab/big",
        judge="pairwise",
        judge_model="lab/judge",
        measures=["contains", "rubric:lab/grader"],
        selection=True,
        out=folder / "run",
        config=folder / "moa.yaml",
        concurrency=CONCURRENCY,
    )


def aggregated(body: Mapping[str, Any], number: int) -> Text:
    """Picks a proposal if asked to: then two systems have the same output, and the judge has to be asked once."""
    return Text('{"best": 2}' if "response_format" in body else f"agg {number}", delay_s=0.005)


def committed(folder: Path) -> dict[tuple[str, ...], str]:
    """All cells that are there: answers by system and prompt, scores by measure, prompt and outputs."""
    cells = sqlite3.connect(folder / "run" / "cells.sqlite")
    answers = {
        (system, prompt): body for system, prompt, body in cells.execute("SELECT system, prompt, body FROM answers")
    }
    scores = cells.execute("SELECT measure, prompt, outputs, body FROM scores")
    found = answers | {(measure, prompt, outputs): body for measure, prompt, outputs, body in scores}
    cells.close()
    return found


async def test_ten_kills_lose_no_answer_verdict_or_score_and_buy_only_calls_in_flight_twice(tmp_path: Path) -> None:
    async with ModelServer() as server:
        # Every reply is another one, so that an answer that was bought again would be seen.
        for model in ("one", "two", "other", "big"):
            server.behave(model, lambda body, number: Text(f"{body['model']} {number}", delay_s=0.005))
        server.behave("agg", aggregated)
        server.behave("judge", Text(VERDICT, delay_s=0.005))
        server.behave("grader", Text(GRADE, delay_s=0.005))
        for name in ("whole", "killed"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "moa.yaml").write_text(
                f"endpoints: {{lab: {{kind: openai, base_url: '{server.base_url}'}}}}"
            )
        await exit_code(forked(run, tmp_path / "whole"))
        bill = len(server.requests)
        server.requests.clear()

        kept, in_flight, rng = dict[tuple[str, ...], str](), 0, random.Random(1)
        for left in range(KILLS, 0, -1):
            process = forked(run, tmp_path / "killed")
            calls = len(server.requests) + rng.randint(1, 2 * (bill - len(server.requests)) // (left + 1))
            await server.until(lambda calls=calls: len(server.requests) >= calls, timeout_s=60)  # type: ignore[misc]
            process.kill()
            in_flight += server.running
            await exit_code(process)
            found = committed(tmp_path / "killed")
            assert {key: found[key] for key in kept} == kept
            kept = found
        process = forked(run, tmp_path / "killed")
        await exit_code(process)

    assert process.exitcode == 0
    final, whole = committed(tmp_path / "killed"), committed(tmp_path / "whole")
    assert {key: final[key] for key in kept} == kept
    assert len(kept) > 100
    assert sorted(key[:2] for key in final) == sorted(key[:2] for key in whole)
    # Besides calls in flight: replies that had arrived and were not on the disk yet.
    assert 0 <= len(server.requests) - bill <= in_flight + KILLS * CONCURRENCY
    for name in ("m", "n", "m.member.two", "m.selection"):
        rows = json.loads((tmp_path / "killed" / "run" / "annotations" / f"{name}.json").read_text())
        assert [row["preference"] for row in rows] == [1.5] * len(PROMPTS)
