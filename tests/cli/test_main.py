import subprocess
import sys
from importlib.metadata import version

import pytest

from tests.cli.moa_command import moa

HEAVY = ("aiohttp", "pydantic", "rich", "jinja2", "yaml", "asyncio", "genai_prices", "importlib.metadata")


def test_version_is_the_packages() -> None:
    assert moa("--version").out == f"moa {version('mixture-of-agents')}\n"


def test_help_waits_for_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from moa.cli.main import main\n"
        "try:\n    main(['--help'])\n"
        f"except SystemExit:\n    sys.stderr.write(' '.join(set({HEAVY!r}) & set(sys.modules)))\n"
    )

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert "Ask a mixture of models" in ended.stdout
    assert ended.stderr == ""


def test_ctrl_c_while_the_command_line_is_still_loaded_ends_it_without_a_traceback() -> None:
    script = (
        "import sys\n"
        "class CtrlC:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer':\n            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, CtrlC())\n"
        "from moa.cli.main import main\n"
        "main(['--help'])\n"
    )

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_a_command_line_without_a_command_shows_the_help() -> None:
    ended = moa()

    assert ended.code == 2
    assert "Usage: moa" in ended.out + ended.err


def test_streams_that_lack_a_character_get_an_escape_in_its_place(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("ascii")
    (folder / "moa.yaml").write_text(
        'endpoints: {demo: {kind: scripted, options: {replies: {m: "na\\u00efve \\U0001F469"}}}}', encoding="utf-8"
    )
    script = "from moa.cli.main import main; main(['ask', '--model', 'demo/m', 'Hi'])"

    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={"PYTHONIOENCODING": "ascii", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ended.stdout == "na\\xefve \\U0001f469\n"
    assert "1 call | " in ended.stderr
