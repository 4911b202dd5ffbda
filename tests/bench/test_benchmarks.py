"""That the benchmarks work, at sizes that measure nothing."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
from bench.batch import Batch
from bench.batch import run as run_batch
from bench.contender import Work
from bench.model_process import REPLY_TEXT, Behaviour, model_process
from bench.orchestration import Level, compare
from bench.report import Table, publish
from bench.rounds import HERE, Contender, ContenderFailed
from bench.startup import BARE, measure


def test_orchestration_compares_runs_with_the_floor() -> None:
    level = Level(at_once=2, runs=2, delay_s=0.001, rounds=1)

    table = compare([level], {"floor": HERE, "moa": HERE})

    assert [row["who"] for row in table.rows] == ["floor", "moa"]
    assert table.rows[0]["x floor"] == 1
    assert all(row["CPU ms/run"] > 0 and row["wall/critical path"] > 1 for row in table.rows)


def test_work_counts_the_calls_of_its_layers() -> None:
    assert Work(url="", at_once=1, runs=1, layers=3, proposers=2).calls == 5


def test_a_throttled_batch_is_retried_until_all_of_it_is_done() -> None:
    row = run_batch(Batch(prompts=4, delay_s=0.001, requests_per_s=100, burst_s=0.1))

    assert row["failed runs"] == 0
    assert row["throttled"] == row["attempts"] - 16 >= 1


def test_start_up_is_measured_beyond_a_bare_interpreter() -> None:
    (row,) = measure({"bare": BARE}, 1)

    assert row["s"] > row["s beyond bare"] == 0


def test_a_contender_that_fails_says_why() -> None:
    contender = Contender(HERE, "nonsense", Work(url="http://127.0.0.1:1/v1", at_once=1, runs=1))
    try:
        with pytest.raises(ContenderFailed, match="KeyError: 'nonsense'"):
            contender.ready()
    finally:
        contender.close()


def test_the_model_process_answers_whole_and_streamed() -> None:
    async def ask(url: str) -> tuple[str, str]:
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{url}/chat/completions", json={"model": "m"}) as whole:
                text = (await whole.json())["choices"][0]["message"]["content"]
            async with session.post(f"{url}/chat/completions", json={"model": "m", "stream": True}) as streamed:
                return text, await streamed.text()

    with model_process(Behaviour()) as url:
        text, events = asyncio.run(ask(url))

    assert text == REPLY_TEXT
    assert events.endswith("data: [DONE]\n\n")


def test_figures_are_written_with_the_machine_they_were_measured_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish("small", tmp_path / "small.json", [Table(title="t", rows=[{"who": "a", "ms": 1.5}], notes=["n"])])

    found = json.loads((tmp_path / "small.json").read_text())
    assert found["tables"] == [{"title": "t", "rows": [{"who": "a", "ms": 1.5}], "notes": ["n"]}]
    assert found["machine"]["cores"] >= 1
    assert "who   ms" in capsys.readouterr().out
