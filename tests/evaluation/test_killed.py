"""An evaluation that is killed (SIGKILL) at some moment and begun again: what is bought twice, and what is lost."""

import asyncio
import json
import multiprocessing
import sqlite3
from collections import Counter
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from moa.evaluation._pipeline import evaluate
from tests.support.model_server import ModelServer, Text

CONCURRENCY = 4
PROMPTS = [f"question {number}" for number in range(14)]
MIXTURE = {
    "name": "m",
    "layers": [{"proposers": [{"model": "lab/one"}, {"model": "lab/two"}]}],
    "aggregator": {"model": "lab/agg"},
}
VERDICT = '{"reason": "r", "verdict": "A"}'

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "forkserver" not in multiprocessing.get_all_start_methods(), reason="needs processes that start quickly"
    ),
]


def run(folder: str) -> None:
    """The process that is killed."""
    evaluate(
        PROMPTS,
        MIXTURE,
        baseline="lab/big",
        judge="pairwise",
        judge_model="lab/judge",
        selection=True,
        out=Path(folder) / "run",
        config=Path(folder) / "moa.yaml",
        concurrency=CONCURRENCY,
    )


def aggregated(body: Mapping[str, Any], number: int) -> Text:
    """Picks a proposal if asked to: then two systems have the same output, and the judge has to be asked once."""
    return Text('{"best": 2}' if "response_format" in body else f"agg {number}", delay_s=0.005)


def started(folder: Path) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "moa.evaluation._pipeline", "genai_prices.data_snapshot"])
    process = context.Process(target=run, args=(str(folder),))
    process.start()
    return process


def committed(folder: Path) -> dict[tuple[str, int], str]:
    """The outputs of all cells that are there."""
    cells = sqlite3.connect(folder / "run" / "cells.sqlite")
    bodies = [json.loads(body) for (body,) in cells.execute("SELECT body FROM answers")]
    cells.close()
    return {(body["system"], body["index"]): body["output"] for body in bodies}


async def test_killing_it_again_and_again_loses_no_answer_and_buys_only_calls_in_flight_twice(tmp_path: Path) -> None:
    async with ModelServer() as server:
        # Every reply is another one, so that an answer that was bought again would be seen.
        for model in ("one", "two", "big"):
            server.behave(model, lambda body, number: Text(f"{body['model']} {number}", delay_s=0.005))
        server.behave("agg", aggregated)
        server.behave("judge", Text(VERDICT, delay_s=0.005))
        (tmp_path / "moa.yaml").write_text(f"endpoints: {{lab: {{kind: openai, base_url: '{server.base_url}'}}}}")
        kept: dict[tuple[str, int], str] = {}
        for calls in (20, 70):
            process = started(tmp_path)
            await server.until(lambda calls=calls: len(server.requests) >= calls, timeout_s=30)  # type: ignore[misc]
            process.kill()
            await asyncio.to_thread(process.join)
            kept |= committed(tmp_path)
        process = started(tmp_path)
        await asyncio.to_thread(process.join)

    assert process.exitcode == 0
    assert len(kept) > 10
    final = committed(tmp_path)
    assert {key: final[key] for key in kept} == kept
    assert len(final) == 6 * len(PROMPTS)
    asked = Counter(json.dumps(request.body, sort_keys=True) for request in server.requests)
    twice = sum(asked.values()) - len(asked)
    # A mixture of two proposers, or a judge that is shown both orders, has two calls in flight at most; some replies
    # may have arrived in the very last moment.
    assert twice <= 2 * (2 * CONCURRENCY) + CONCURRENCY
    for name in ("m", "m.member.two", "m.selection"):
        rows = json.loads((tmp_path / "run" / "annotations" / f"{name}.json").read_text())
        assert [row["preference"] for row in rows] == [1.5] * len(PROMPTS)
