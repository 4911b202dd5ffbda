"""The script that drives real clients serves what they ask for: without it, a change of the server goes unnoticed."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

ASK = """
import json, sys, urllib.request
body = {"model": sys.argv[2], "max_tokens": 100, "messages": [{"role": "user", "content": "TURN 1"}]}
request = urllib.request.Request(sys.argv[1] + "/v1/messages", json.dumps(body).encode())
request.add_header("content-type", "application/json")
print(urllib.request.urlopen(request, timeout=30).read().decode())
"""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    path = Path(__file__).parents[2] / "scripts" / "try_clients.py"
    spec = importlib.util.spec_from_file_location("try_clients", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "try_clients", module)
    spec.loader.exec_module(module)
    return module


async def test_a_client_of_the_script_gets_its_answer(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clients(folder: Path, url: str, picture: Path) -> list[Any]:
        turns = {"first turn": [sys.executable, "-c", ASK, url, script.MODEL]}
        return [script.Client(name="urllib", api="Messages", version=[sys.executable, "--version"], turns=turns)]

    monkeypatch.setattr(script, "clients", clients)
    [(_, outcome)] = await script.serve(tmp_path, [], None, False)

    assert outcome["first turn"] == "works"
