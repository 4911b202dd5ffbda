"""The pages that scripts write from the code are those that are there."""

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_command_reference_is_current() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "cli_reference.py"))

    assert script["TARGET"].read_text(encoding="utf-8") == script["reference"]()


def test_the_references_of_the_files_and_the_table_of_endpoints_are_current() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "file_reference.py"))

    stale = [str(path) for path, text in script["pages"]().items() if path.read_text(encoding="utf-8") != text]

    assert stale == [], "run `uv run python scripts/file_reference.py`"


def test_the_reference_of_the_apis_fields_is_current() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "fields_reference.py"))

    assert script["TARGET"].read_text(encoding="utf-8") == script["reference"]()


def test_every_file_of_the_repository_that_a_page_names_is_there() -> None:
    named = {
        (page.name, path)
        for page in (ROOT / "docs").rglob("*.md")
        for path in re.findall(r"`((?:tests|bench|src|scripts|examples)/[\w./]+)`", page.read_text(encoding="utf-8"))
    }

    assert named
    assert [entry for entry in sorted(named) if not (ROOT / entry[1]).exists()] == []
