import json
from pathlib import Path

import pytest

from tests.cli.moa_command import SCRIPTED, moa


@pytest.fixture
def cached(folder: Path) -> Path:
    (folder / "moa.yaml").write_text(SCRIPTED + "cache: {mode: read_write, path: calls.sqlite}\n", encoding="utf-8")
    return folder


@pytest.mark.usefixtures("cached")
def test_a_second_run_is_answered_from_the_cache_and_charged_nothing() -> None:
    first, second = (json.loads(moa("ask", "-m", "pair.yaml", "--json", "What?").out) for _ in range(2))

    assert [call["attempts"][0]["cached"] for call in first["calls"]] == [False] * 3
    assert [call["attempts"][0]["cached"] for call in second["calls"]] == [True] * 3
    assert second["text"] == first["text"]


@pytest.mark.usefixtures("cached")
def test_stats_count_the_replies_of_each_model() -> None:
    moa("ask", "-m", "pair.yaml", "What?")
    ended = moa("cache", "stats")

    assert ended.code == 0
    assert "mode read_write" in ended.out
    assert "replies: 3" in ended.out
    assert "demo/writer" in ended.out


def test_replies_go_to_a_file_into_another_cache_and_away(cached: Path) -> None:
    moa("ask", "-m", "pair.yaml", "What?")
    exported = moa("cache", "export", "out.jsonl")
    imported = moa("cache", "import", "out.jsonl", "--path", "other.sqlite")
    again = moa("cache", "import", "out.jsonl", "--path", "other.sqlite")
    cleared = moa("cache", "clear")

    assert [ended.code for ended in (exported, imported, again, cleared)] == [0] * 4
    assert len((cached / "out.jsonl").read_text().splitlines()) == 4
    assert "What?" not in (cached / "out.jsonl").read_text()
    assert "3 of 3" in imported.err
    assert "0 of 3" in again.err
    assert "replies: 0" in moa("cache", "stats").out
    assert "replies: 3" in moa("cache", "stats", "--path", "other.sqlite").out


def test_a_missing_or_foreign_cache_is_one_clear_error(cached: Path) -> None:
    (cached / "notes").write_text("my notes")
    missing, foreign = moa("cache", "stats"), moa("cache", "clear", "--path", "notes")

    assert (missing.code, foreign.code) == (2, 2)
    assert "there is no cache here" in missing.err
    assert "this is not a cache" in foreign.err
    assert (cached / "notes").read_text() == "my notes"
