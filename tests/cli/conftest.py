from pathlib import Path

import pytest

from tests.cli.moa_command import LAME, LOST, PAIR, SCRIPTED


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with scripted endpoints and three mixtures: a good, a lame and a lost one."""
    files = {"moa.yaml": SCRIPTED, "pair.yaml": PAIR, "lame.yaml": LAME, "lost.yaml": LOST}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MOA_CONFIG", raising=False)
    return tmp_path
