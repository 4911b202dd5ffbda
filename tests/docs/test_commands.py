"""Every command of README and documentation is run: Bedrock is a stand-in on loopback, other models are scripted."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from moa._config.builtin_endpoints import BUILT_IN
from tests.cli.moa_command import moa
from tests.docs.blocks import BLOCKS, REPLY, Block, commands_of, scripted_settings
from tests.support.bedrock_server import CREDENTIALS, REGION, Says
from tests.support.bedrock_thread import bedrock_in_thread

pytestmark = pytest.mark.slow

OPUS = "bedrock/us.anthropic.claude-opus-5-5"
NOT_RUN = {
    "serve": "serves until it is stopped; tests/server starts it",
    "alpaca_eval": "needs files of AlpacaEval's that are downloaded",
    "alpaca_eval/results": "likewise",
    "runs/alpaca": "likewise",
    "runs/original": "likewise",
    "llmcost/pricing/data/arena_scores.json": "a file of another package's",
    "local//home/me/models/my-model-q4.gguf": "a file of the reader's",
    "moa.yaml": "has an endpoint of the reader's",
    "at-home.yaml": "needs servers of the reader's",
}
"""Words of commands that are not run, and why."""

PAGES = sorted({block.page for block in BLOCKS if block.language == "console" and not block.reason})
RECIPE = next(block.code for block in BLOCKS if block.title == "refunds.yaml")


def _prompts(count: int) -> str:
    rows = ({"prompt": f"What is {n} and {n}?", "reference": "yes"} for n in range(count))
    return "".join(json.dumps(row) + "\n" for row in rows)


def _run(block: Block) -> list[list[str]]:
    return [words for words in commands_of(block) if "--new-key" in words or not NOT_RUN.keys() & set(words)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with what readers bring: prompts, a mixture, files of outputs; and AWS credentials, no other."""
    for one in BUILT_IN.values():
        if one.api_key_env:
            monkeypatch.delenv(one.api_key_env, raising=False)
    for name, value in zip(("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"), CREDENTIALS[:3], strict=True):
        monkeypatch.setenv(f"AWS_{name}", str(value))
    for name in ("CACHE", "STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    (work / "prompts.jsonl").write_text(_prompts(3))
    (work / "refunds.yaml").write_text(RECIPE)
    for name in ("mine", "theirs"):
        outputs = [{"instruction": f"question {n}", "output": name, "generator": name} for n in range(3)]
        (work / f"{name}.json").write_text(json.dumps(outputs))
    with bedrock_in_thread(lambda model: Says(REPLY)) as server:
        settings = json.loads(scripted_settings(BLOCKS))
        settings["cache"] = {"mode": "read_write"}
        settings["endpoints"]["bedrock"] = {"endpoint_url": server.url, "region": REGION}
        (tmp_path / "given.yaml").write_text(json.dumps(settings))
        monkeypatch.setenv("MOA_CONFIG", str(tmp_path / "given.yaml"))
        yield work


def _bring(page: str, folder: Path) -> None:
    """Write the files that a page shows or takes for granted."""
    for block in BLOCKS:
        if block.page == page and block.title.endswith((".yaml", ".jsonl")) and block.title != "moa.yaml":
            (folder / block.title).write_text(block.code)
    for name in ("mine.yaml", "mine-system.yaml"):
        if not (folder / name).exists():
            (folder / name).write_text(RECIPE.replace("name: refunds", f"name: {name.removesuffix('.yaml')}"))
    if page == "docs/search.md":
        (folder / "prompts.jsonl").write_text(_prompts(20))
    if page == "docs/cache.md":
        assert moa("ask", "-m", "bedrock-current", "Hello").code == 0
    if page == "docs/proving.md":
        assert (
            moa("eval", "run", "prompts.jsonl", "-m", "refunds.yaml", "--baseline", OPUS, "--out", "runs/refunds").code
            == 0
        )
        shutil.copytree(folder / "runs/refunds", folder / "runs/cheaper")


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(page: str, folder: Path) -> None:
    _bring(page, folder)
    for block in BLOCKS:
        if block.page != page or block.language != "console" or block.reason:
            continue
        for words in _run(block):
            ended = moa(*words)
            assert ended.code == 0, f"{block}: moa {' '.join(words)}\n{ended.out[-500:]}\n{ended.err[-1500:]}"
