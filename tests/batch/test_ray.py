"""Ray Data with the program of docs/scaling.md: real actors, one of which is killed."""

import asyncio
import json
import os
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path

import polars
import pytest

from tests.support.behaviours import Text
from tests.support.model_server import ModelServer

pytest.importorskip("ray", reason="needs Ray: uv run --group ray pytest tests/batch/test_ray.py")

SCALING = Path(__file__).parents[2] / "docs" / "scaling.md"
ROWS, BLOCKS, SLOW_S = 320, 16, 1.0
BLOCKS_OF_AN_ACTOR = 4  # Ray hands an actor blocks ahead


def program(folder: Path) -> str:
    found = re.search(r'```python title="answer.py"\n(.*?)```', SCALING.read_text(), re.DOTALL)
    assert found is not None
    started = "import ray\nray.init(num_cpus=5, include_dashboard=False)\n"
    return started + found.group(1).replace("/shared", str(folder))


async def start(folder: Path) -> asyncio.subprocess.Process:
    (folder / "answer.py").write_text(program(folder))
    with (folder / "log.txt").open("ab") as log:
        # Under `uv run`, Ray would start its workers by uv, too, in a folder that is no project.
        env = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "always::ResourceWarning", "answer.py"), cwd=folder, stdout=log, stderr=log, env=env
        )


def actors(driver: int) -> list[int]:
    """The processes of the actors that answer rows for a program: its descendants with that title."""
    parents: dict[int, int] = {}
    titles: dict[int, bytes] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            titles[int(entry.name)] = (entry / "cmdline").read_bytes()

    def is_below(pid: int) -> bool:
        return pid == driver or (pid in parents and is_below(parents[pid]))

    return [pid for pid, title in titles.items() if b"MixtureTransform" in title and is_below(pid)]


def answers(folder: Path) -> list[dict[str, object]]:
    return polars.read_parquet(folder / "answers" / "*.parquet").sort("number").to_dicts()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the actor to kill in /proc")
async def test_a_killed_actor_loses_no_row_and_a_second_start_asks_only_for_new_ones(tmp_path: Path) -> None:
    rows = [{"id": f"p{number}", "number": number, "prompt": f"prompt {number}"} for number in range(ROWS)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mine.yaml").write_text("name: mine\nlayers: []\naggregator: {model: lab/m, max_tokens: 50}\n")
    async with ModelServer() as server:
        server.behave("m", Text("yes", delay_s=SLOW_S))
        (tmp_path / "moa.yaml").write_text(f'endpoints: {{lab: {{kind: openai, base_url: "{server.base_url}"}}}}\n')

        first = await start(tmp_path)
        ended = asyncio.create_task(first.wait())
        begun = asyncio.create_task(server.until(lambda: len(server.requests) >= ROWS // 4, timeout_s=240))
        await asyncio.wait([begun, ended], return_when=asyncio.FIRST_COMPLETED)
        running = actors(first.pid)
        assert running, (tmp_path / "log.txt").read_text()[-3000:]
        os.kill(running[0], signal.SIGKILL)
        async with asyncio.timeout(300):
            assert await ended == 0, (tmp_path / "log.txt").read_text()[-3000:]

        found, asked = answers(tmp_path), len(server.requests)
        assert [row["id"] for row in found] == [row["id"] for row in rows]
        assert {row["answer"] for row in found} == {"yes"}
        # What is asked twice is at most what one actor has under way: blocks that it was given and had not handed on.
        assert asked <= ROWS + BLOCKS_OF_AN_ACTOR * ROWS // BLOCKS

        more = {"id": "new", "number": ROWS, "prompt": "one more"}
        (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, more]))
        second = await start(tmp_path)
        async with asyncio.timeout(300):
            assert await second.wait() == 0, (tmp_path / "log.txt").read_text()[-3000:]
        assert (len(server.requests), len(answers(tmp_path))) == (asked + 1, ROWS + 1)

    log = (tmp_path / "log.txt").read_text()
    assert "MixtureTransform" in log
    assert "Unclosed" not in log
