"""The benchmarks' own parts: the model process, the errors of a contender, the file of figures."""

import asyncio
import importlib
import json
from pathlib import Path

import aiohttp
import pytest
from bench.caching import Case, run_case
from bench.contender import Work
from bench.model_process import REPLY_TEXT, Behaviour, model_process
from bench.report import Table, publish
from bench.rounds import HERE, Contender, ContenderFailed

import bench


@pytest.mark.parametrize("name", sorted(path.stem for path in Path(bench.__file__).parent.glob("[a-z]*.py")))
def test_a_benchmark_can_be_imported_beside_the_code_that_it_measures(name: str) -> None:
    importlib.import_module(f"bench.{name}")


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


async def test_the_prefix_service_counts_what_the_ledger_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    case = Case(name="small", steps=3, system_tokens=2000)

    rows = [await run_case(case, kind, "last", None) for kind in ("automatic", "explicit")]

    assert [row["calls"] for row in rows] == [6, 6]
    assert all(row["ledger agrees"] for row in rows)
    assert rows[1]["of what is cacheable"] == "100%"
