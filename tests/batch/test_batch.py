"""Batches: rows in, rows with answers out, in their order; nothing is bought twice and nothing is lost."""

import asyncio
import csv
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars
import pytest
from bench.batch_file import kills

from moa import Engine, Settings
from moa.batch import MixtureTransform, arun
from moa.batch._answers import COLUMNS
from moa.batch._runner import answer_file
from moa.errors import ServiceFailed, UsageError
from moa.providers import Endpoint, ModelRequest, Price, ScriptedProvider
from tests.support.behaviours import Text
from tests.support.forked import exit_code, forked_moa
from tests.support.model_server import ModelServer

MIXTURE = {"name": "mine", "layers": [], "aggregator": {"model": "lab/m", "max_tokens": 10}}
ENDPOINT = Endpoint(name="lab", kind="scripted", prices={"*": Price(input=1000, output=1000)}, retry=None, breaker=None)
LAB = Settings(endpoints={"lab": ENDPOINT})


class Model:
    """Echoes prompts and counts them; `broken` ones fail."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.broken: set[str] = set()

    def __call__(self, request: ModelRequest) -> list[str]:
        prompt = request.messages[-1].text
        self.asked[prompt] += 1
        if prompt in self.broken:
            raise ServiceFailed("down", model=request.reference)
        return [f"re: {prompt}"]

    def engine(self, **options: Any) -> Engine:
        return Engine(settings=LAB, providers={"lab": ScriptedProvider(self)}, **options)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


async def test_answers_keep_the_order_and_the_columns_of_the_prompts(tmp_path: Path) -> None:
    rows = [{"id": f"r{number}", "prompt": f"p{number}", "extra": [number]} for number in range(50)]
    source, target, model = write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl", Model()
    async with model.engine() as engine:
        result = await arun(source, MIXTURE, target, engine=engine, at_once=8)

    found = lines(target)
    assert [{name: row[name] for name in ("id", "prompt", "extra")} for row in found] == rows
    assert [row["answer"] for row in found] == [f"re: p{number}" for number in range(50)]
    assert {row["answer_status"] for row in found} == {"complete"}
    assert (result.stopped, result.progress.done, result.progress.failed) == (None, 50, 0)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
async def test_tables_go_in_and_out(tmp_path: Path, kind: str) -> None:
    table = polars.DataFrame({"prompt": ["a, b", 'say "hi"', "line\nline"], "n": [1, 2, 3]})
    source, target = tmp_path / f"in.{kind}", tmp_path / f"out.{kind}"
    table.write_csv(source) if kind == "csv" else table.write_parquet(source)
    async with Model().engine() as engine:
        await arun(source, MIXTURE, target, engine=engine)

    if kind == "csv":
        with target.open(newline="") as file:
            found = list(csv.DictReader(file))
        assert [row["n"] for row in found] == ["1", "2", "3"]
    else:
        found = polars.read_parquet(target).to_dicts()
        assert [row["n"] for row in found] == [1, 2, 3]
    assert [row["answer"] for row in found] == ["re: a, b", 're: say "hi"', "re: line\nline"]


ODD = [
    b'{"prompt": "one\xe2\x80\xa8row"}\n',  # U+2028 inside a string ends no row
    b'{"prompt": "two\xc2\x85"}\r\n',
    b"\n",
    b"not json\n",
    b"[1, 2]\n",
    b'{"remark": "no prompt"}\n',
    b'{"prompt": "half \\ud83d"}\n',
    b'{"prompt": "[{\\"a\\": 1}]"}\n',
    b'{"messages": [{"role": "user", "content": "turn"}]}\n',
    b'{"messages": [{"role": "user"}]}\n',
    b'"a text alone"\n',
    b'{"prompt": ""}\n',
    b'{"prompt": "\xff"}\n',
    b'{"prompt": ' + b"[" * 100_000 + b"\n",
    b'{"prompt": "last", "big": 123456789012345678901234567890}',
]


async def test_odd_rows_fail_by_themselves_unpaid_and_the_others_are_answered(tmp_path: Path) -> None:
    source, target, model = tmp_path / "in.jsonl", tmp_path / "out.jsonl", Model()
    source.write_bytes(b"".join(ODD))
    async with model.engine() as engine:
        result = await arun(source, MIXTURE, target, engine=engine)

    found = lines(target)
    answered = [row["answer"] for row in found if row["answer_status"] == "complete"]
    assert answered == [
        "re: one\u2028row", "re: two\x85", "re: half \ufffd", 're: [{"a": 1}]', "re: turn", "re: a text alone",
        "re: last",
    ]  # fmt: skip
    assert all(row["answer_error"] for row in found if row["answer_status"] == "failed")
    assert (len(found), result.progress.failed, sum(model.asked.values())) == (14, 7, 7)
    assert found[-1]["big"] == 123456789012345678901234567890


async def test_a_second_start_buys_only_what_is_missing_and_failed_rows_only_if_told(tmp_path: Path) -> None:
    source, target, model = tmp_path / "in.jsonl", tmp_path / "out.jsonl", Model()
    write(source, [{"prompt": f"p{number}"} for number in range(12)])
    model.broken = {"p3"}
    async with model.engine() as engine:
        first = await arun(source, MIXTURE, target, engine=engine, limit=8)
        second = await arun(source, MIXTURE, target, engine=engine)
        model.broken.clear()
        third = await arun(source, MIXTURE, target, engine=engine)
        fourth = await arun(source, MIXTURE, target, engine=engine, retry_failed=True)

    assert [one.progress.failed for one in (first, second, third, fourth)] == [1, 1, 1, 0]
    assert [one.progress.done_before for one in (first, second, third, fourth)] == [0, 8, 12, 11]
    assert lines(target)[3]["answer"] == "re: p3"
    assert model.asked == {f"p{number}": 2 if number == 3 else 1 for number in range(12)}


async def test_a_used_up_budget_stops_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    source, target, model = tmp_path / "in.jsonl", tmp_path / "out.jsonl", Model()
    write(source, [{"prompt": f"p{number}"} for number in range(40)])
    async with model.engine(budget_usd=0.1) as engine:
        first = await arun(source, MIXTURE, target, engine=engine, at_once=4)
        assert engine.budget is not None
        spent = engine.budget.spent_usd
    assert first.stopped == "budget"
    assert not target.exists()
    assert 0 < spent <= 0.1
    asked = sum(model.asked.values())
    assert 0 < asked < 40
    async with model.engine(budget_usd=5) as engine:
        second = await arun(source, MIXTURE, target, engine=engine, at_once=4)

    assert second.stopped is None
    assert set(model.asked.values()) == {1}
    assert len(lines(target)) == 40


async def test_what_cannot_work_for_any_row_is_said_before_anything_is_bought(tmp_path: Path) -> None:
    source, model = write(tmp_path / "in.jsonl", [{"prompt": "p"}] * 30), Model()
    taken = write(tmp_path / "taken.jsonl", [{"prompt": "p", "answer": "mine"}])
    async with model.engine(budget_usd=1) as engine:
        endless = {**MIXTURE, "aggregator": {"model": "lab/m"}}
        with pytest.raises(UsageError, match="max_tokens"):
            await arun(source, endless, tmp_path / "o.jsonl", engine=engine)
        with pytest.raises(UsageError, match="has a column 'answer'"):
            await arun(taken, MIXTURE, tmp_path / "o.jsonl", engine=engine)
        with pytest.raises(UsageError, match="overwrite the prompts"):
            await arun(source, MIXTURE, source, engine=engine)
        with pytest.raises(UsageError, match=r"ends in \.jsonl"):
            await arun(source, MIXTURE, tmp_path / "o.txt", engine=engine)
        with pytest.raises(UsageError, match="no such file"):
            await arun(tmp_path / "absent.jsonl", MIXTURE, tmp_path / "o.jsonl", engine=engine)
    assert not model.asked


async def test_rows_that_all_fail_stop_the_batch_and_can_be_tried_again(tmp_path: Path) -> None:
    source, target, model = tmp_path / "in.jsonl", tmp_path / "out.jsonl", Model()
    write(source, [{"prompt": f"p{number}"} for number in range(100)])
    model.broken = {f"p{number}" for number in range(100)}
    async with model.engine() as engine:
        first = await arun(source, MIXTURE, target, engine=engine, at_once=2)
        assert first.stopped is not None
        assert "lab/m: down" in first.stopped
        assert sum(model.asked.values()) < 15
        model.broken.clear()
        second = await arun(source, MIXTURE, target, engine=engine, retry_failed=True)
    assert (second.stopped, second.progress.failed, len(lines(target))) == (None, 0, 100)


async def test_another_mixture_or_changed_prompts_do_not_go_on_from_a_journal(tmp_path: Path) -> None:
    source, target, model = tmp_path / "in.jsonl", tmp_path / "out.jsonl", Model()
    write(source, [{"prompt": "a"}, {"prompt": "b"}])
    async with model.engine() as engine:
        await arun(source, MIXTURE, target, engine=engine)
        with pytest.raises(UsageError, match="another mixture or seed"):
            await arun(source, MIXTURE, target, engine=engine, seed=1)
        write(source, [{"prompt": "a"}, {"prompt": "changed"}])
        with pytest.raises(UsageError, match="row 2 has another prompt"):
            await arun(source, MIXTURE, target, engine=engine)


async def test_a_line_that_was_being_written_at_a_kill_is_bought_again_and_no_other(tmp_path: Path) -> None:
    source, target, model = tmp_path / "in.jsonl", tmp_path / "out.jsonl", Model()
    write(source, [{"prompt": f"p{number}"} for number in range(5)])
    async with model.engine() as engine:
        await arun(source, MIXTURE, target, engine=engine, at_once=1)
        journal = tmp_path / "out.jsonl.journal"
        journal.write_bytes(journal.read_bytes()[:-7])
        await arun(source, MIXTURE, target, engine=engine)

    assert model.asked == {"p0": 1, "p1": 1, "p2": 1, "p3": 1, "p4": 2}
    assert [row["answer"] for row in lines(target)] == [f"re: p{number}" for number in range(5)]


MOA_YAML = 'endpoints: {{lab: {{kind: openai, base_url: "{url}", prices: {{"*": {{input: 1, output: 1}}}}}}}}\n'
MINE_YAML = "name: mine\nlayers: []\naggregator: {model: lab/m, max_tokens: 50}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(MINE_YAML)
    return tmp_path


def command(folder: Path, *arguments: str) -> list[str]:
    main = "from moa._cli.main import main; main()"
    return [sys.executable, "-c", main, "batch", "-m", "mine.yaml", "--config", "moa.yaml", *arguments]


@pytest.mark.slow
async def test_kills_at_random_moments_cost_nothing_but_the_calls_under_way(folder: Path) -> None:
    write(folder / "in.jsonl", [{"prompt": f"p{number}"} for number in range(600)])
    async with ModelServer() as server:
        server.behave("m", Text("yes"))
        (folder / "moa.yaml").write_text(MOA_YAML.format(url=server.base_url))
        given = ("batch", "-m", "mine.yaml", "--config", "moa.yaml", "in.jsonl", "-o", "out.jsonl", "--at-once", "4")
        for kill in range(6):
            process = forked_moa(*given, folder=folder, log=folder / "moa.log")
            if kill < 5:
                wanted = len(server.requests) + 60
                await server.until(lambda wanted=wanted: len(server.requests) >= wanted)
                process.kill()
            assert await exit_code(process) == (-signal.SIGKILL if kill < 5 else 0)

        assert len(lines(folder / "out.jsonl")) == 600
        assert len(server.requests) <= 600 + 5 * 4


@pytest.mark.slow
async def test_kills_of_a_mixture_buy_no_finished_call_of_a_row_in_progress_again() -> None:
    row = await kills(rows=80, at_once=8, delay_s=0.02, count=3, seed=4)

    assert (row["exit code at the end"], row["answers"]) == (0, 80)
    # What had arrived when the process was killed, but was not on the disk yet, is bought again, too.
    assert int(row["more than uninterrupted"]) <= int(row["under way at the kills"]) + row["kills"] * 3


async def test_until_all_rows_are_answered_each_has_replies_of_its_own_beside_the_answers(folder: Path) -> None:
    write(folder / "in.jsonl", [{"prompt": "the same"} for _ in range(6)])
    async with ModelServer() as server:
        server.behave("m", Text("yes"))
        (folder / "moa.yaml").write_text(MOA_YAML.format(url=server.base_url))
        given = {"config": folder / "moa.yaml", "half_price": False, "at_once": 1}
        files = (folder / "in.jsonl", folder / "mine.yaml", folder / "out.jsonl")
        result = await answer_file(*files, budget_usd=0.00006, **given)
        kept = (folder / "out.jsonl.replies.sqlite").exists()
        asked = len(server.requests)
        again = await answer_file(*files, budget_usd=None, **given)

    assert result.stopped == "budget"
    assert kept
    assert 0 < asked < 6
    assert again.stopped is None
    assert len(server.requests) == 6, "rows with the same prompt are asked each"
    assert (folder / "out.jsonl").exists()
    assert not (folder / "out.jsonl.replies.sqlite").exists()


@pytest.mark.slow
async def test_a_pipe_answers_rows_as_they_come(folder: Path) -> None:
    async with ModelServer() as server:
        server.behave("m", Text("yes"))
        (folder / "moa.yaml").write_text(MOA_YAML.format(url=server.base_url))
        process = await asyncio.create_subprocess_exec(
            *command(folder, "-", "-o", "-"),
            cwd=folder,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b'{"prompt": "one", "id": 1}\n')
        async with asyncio.timeout(60):
            first = json.loads(await process.stdout.readline())
        process.stdin.write(b'{"prompt": "two", "id": 2}\n')
        process.stdin.close()
        out, err = await process.communicate()

    assert (first["id"], first["answer"], json.loads(out)["id"]) == (1, "yes", 2)
    assert process.returncode == 0, err


@pytest.mark.slow
def test_the_plan_buys_nothing(folder: Path) -> None:
    (folder / "moa.yaml").write_text(MOA_YAML.format(url="http://127.0.0.1:9/v1"))
    write(folder / "in.jsonl", [{"prompt": "p"}] * 30)
    ended = subprocess.run(
        command(folder, "in.jsonl", "-o", "o.jsonl", "--plan"), cwd=folder, capture_output=True, text=True
    )

    assert ended.returncode == 0
    assert "30 rows with mine: 30 calls" in ended.stderr
    assert "at most $0.00" in ended.stderr


async def test_a_transform_adds_columns_and_can_be_pickled_without_keys(tmp_path: Path) -> None:
    async with ModelServer() as server:
        server.behave("m", Text("yes"))
        config = tmp_path / "moa.yaml"
        config.write_text(MOA_YAML.format(url=server.base_url))
        transform = MixtureTransform({**MIXTURE, "name": "t"}, config=config, at_once=2)
        there: MixtureTransform = pickle.loads(pickle.dumps(transform))
        found: Mapping[str, Any] = await there({"prompt": ["a", "", "c"], "n": [1, 2, 3]})
        await there.aclose()

    assert found["n"] == [1, 2, 3]
    assert found["answer"] == ["yes", None, "yes"]
    assert "no prompt" in found["answer_error"][1]
    assert set(found) == {"prompt", "n", *COLUMNS}


@pytest.mark.slow
async def test_a_dropped_transform_closes_its_connections(tmp_path: Path) -> None:
    # Ray Data only drops the object at the end of an actor, and calls no other hook: ray-project/ray, issue 60453.
    code = textwrap.dedent("""
        import asyncio, sys, threading
        from moa.batch import MixtureTransform

        mixture = {"name": "t", "layers": [], "aggregator": {"model": "lab/m"}}
        def used():
            return MixtureTransform(mixture, config="moa.yaml")

        loop = asyncio.new_event_loop()  # as in an actor
        threading.Thread(target=loop.run_forever, daemon=True).start()
        in_thread, stopped, at_exit = used(), used(), used()
        print(asyncio.run_coroutine_threadsafe(in_thread({"prompt": ["a"]}), loop).result()["answer"])
        own = asyncio.new_event_loop()
        print(own.run_until_complete(stopped({"prompt": ["a"]}))["answer"])
        del in_thread, stopped
        own.close()

        async def inside():
            print((await used()({"prompt": ["a"]}))["answer"])
            await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
        asyncio.run(inside())
        print(at_exit.transform({"prompt": ["a"]})["answer"])
    """)
    async with ModelServer() as server:
        server.behave("m", Text("yes"))
        (tmp_path / "moa.yaml").write_text(MOA_YAML.format(url=server.base_url))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "always::ResourceWarning", "-c", code),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()

    assert (out.decode(), err.decode()) == ("['yes']\n" * 4, "")


@pytest.mark.slow
def test_the_package_loads_no_data_engine() -> None:
    code = textwrap.dedent("""
        import sys, moa.batch
        moa.batch.MixtureTransform, moa.batch.run
        print(sorted({"ray", "pandas", "polars", "pyspark"} & set(sys.modules)))
    """)
    env = {**os.environ, "MOA_CONFIG": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout == "[]\n"
