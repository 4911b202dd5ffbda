"""Every code block of the documentation does what it shows, or says why it is not tried."""

import itertools
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from moa._cli.app import app
from moa._config.settings import load_settings
from moa._mixture.loading import load, preset_names
from moa._server.api_keys import load_keys
from tests.docs.blocks import BLOCKS, OUTCOMES, ROOT, Block, blocks_of, commands_of, scripted_settings

pytestmark = pytest.mark.slow


def _of(*languages: str) -> Any:
    chosen = [block for block in BLOCKS if block.language in languages and not block.reason]
    return pytest.mark.parametrize("block", chosen, ids=str)


def test_every_block_says_what_language_it_is_in_and_is_tried_or_says_why_not() -> None:
    tried = {"python", "yaml", "console", "json", "text"}

    assert [str(block) for block in BLOCKS if block.language not in tried and not block.reason] == []


def test_blocks_are_found_with_their_place_language_title_and_reason() -> None:
    page = 'One\n\n<!-- not run: it costs -->\n```python title="a.py"\nx = 1\n```\n\n  ```yaml\n  a: 1\n  ```\n'

    first, second = blocks_of(page, "page.md")

    assert (first.line, first.language, first.title, first.reason, first.code) == (
        4,
        "python",
        "a.py",
        "it costs",
        "x = 1\n",
    )
    assert (str(second), second.language, second.reason, second.code) == ("page.md:8", "yaml", "", "a: 1\n")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What became of every Python block: its traceback, empty if it ran.

    They run in a process of their own, whose default engine is nobody else's, and where a warning is an error.
    """
    folder = tmp_path_factory.mktemp("blocks")
    settings = folder / "scripted.yaml"
    settings.write_text(scripted_settings(BLOCKS), encoding="utf-8")
    # Blocks show the vendors' clients as users hold them, and those leave it to the process's end to close sockets.
    warnings = ["-W", "error", "-W", "ignore::ResourceWarning"]
    done = subprocess.run(
        [sys.executable, *warnings, "-m", "tests.docs.run_blocks", str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "MOA_CONFIG": str(settings)},
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads((folder / OUTCOMES).read_text(encoding="utf-8"))


@_of("python")
def test_a_python_block_runs(block: Block, outcomes: dict[str, str]) -> None:
    assert outcomes[str(block)] == ""


@_of("yaml")
def test_a_yaml_block_is_a_file_that_can_be_used(block: Block, tmp_path: Path) -> None:
    file = tmp_path / (block.title or "block.yaml")
    file.write_text(block.code, encoding="utf-8")
    if "aggregator:" in block.code:
        load(file)
    elif block.code.startswith("keys:"):
        load_keys(file)
    else:
        load_settings(file, environ={})


@_of("json")
def test_a_json_block_is_json(block: Block) -> None:
    for document in block.code.splitlines() if block.title.endswith(".jsonl") else [block.code]:
        json.loads(document)


@cache
def _moa() -> Any:
    return get_command(app)


def _parse(words: list[str]) -> None:
    """Parse a command line down to the last subcommand, or raise what the command line would; nothing is run."""
    command = _moa()
    parent = None
    while True:
        with command.make_context(command.name, list(words), parent=parent) as context:
            rest = [*context._protected_args, *context.args]
            if not rest or not hasattr(command, "resolve_command"):
                return
            _, command, words = command.resolve_command(context, rest)
            parent = context


@_of("console")
def test_a_console_block_has_commands_that_exist(block: Block) -> None:
    commands = commands_of(block)

    assert commands, "nothing in it is ours: say `<!-- not run: REASON -->` before it"
    for words in commands:
        _parse(words)
        for option, value in itertools.pairwise(words):
            if option in ("-m", "--mixture"):
                assert value.endswith(".yaml") or value in preset_names(), value


def test_a_command_that_does_not_exist_is_found_out() -> None:
    with pytest.raises(Exception, match="No such option"):
        _parse(["ask", "--no-such-option", "Hello"])
    with pytest.raises(Exception, match="No such command"):
        _parse(["mixtures", "no-such-command"])
