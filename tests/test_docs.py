import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_command_reference_is_current() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "cli_reference.py"))

    assert script["TARGET"].read_text(encoding="utf-8") == script["reference"]()
