import asyncio
import os
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

pty = pytest.importorskip("pty", reason="pseudo-terminals are for POSIX systems")


async def _on_a_terminal(*arguments: str, cwd: Path, typed: bytes = b"") -> tuple[int, str]:
    """Run the command with a pseudo-terminal on its three streams; return its exit code and what the terminal got."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from moa._cli.main import main; main()",
        *arguments,
        cwd=cwd,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "30", "PYTHONIOENCODING": "utf-8"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    os.write(ours, typed)
    shown = await asyncio.to_thread(_drained, ours)
    os.close(ours)
    return await process.wait(), shown


def _drained(terminal: int) -> str:
    pieces = []
    try:
        while piece := os.read(terminal, 65536):
            pieces.append(piece)
    except OSError:  # how Linux tells that nobody holds the other end any more
        pass
    return b"".join(pieces).decode().replace("\r\n", "\n")


async def test_ask_on_a_terminal_shows_layers_then_the_answer_made_harmless_then_totals(folder: Path) -> None:
    mixture = (folder / "pair.yaml").read_text().replace("demo/writer", "demo/rude")
    (folder / "rude.yaml").write_text(mixture)

    code, shown = await _on_a_terminal("ask", "-m", "rude.yaml", "What?", cwd=folder)

    assert code == 0
    answer = shown.index("␛[2Jwiped [red]text\n")
    assert shown.index("layer 1") < shown.index("answering") < answer < shown.index("3 calls")
    assert "\x1b[2J" not in shown


async def test_ask_on_a_terminal_asks_for_a_prompt_when_there_is_none(folder: Path) -> None:
    code, shown = await _on_a_terminal("ask", "-m", "pair.yaml", cwd=folder)

    assert code == 2
    assert "give a prompt" in shown


async def test_chat_on_a_terminal_ends_well_after_a_failure_that_its_user_has_read(folder: Path) -> None:
    code, shown = await _on_a_terminal("chat", "--model", "demo/absent", cwd=folder, typed=b"Hello\n/quit\n")

    assert code == 0
    assert "error: " in shown
