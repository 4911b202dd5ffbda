from pathlib import Path

import pytest

from tests.cli.moa_command import moa


def test_a_traced_run_is_shown_and_replayed_without_its_endpoints(folder: Path) -> None:
    asked = moa("ask", "-m", "lame.yaml", "--trace", "t.jsonl", "What?")
    (folder / "moa.yaml").unlink()
    shown, replayed = moa("trace", "show", "t.jsonl"), moa("trace", "replay", "t.jsonl")

    assert (asked.code, shown.code, replayed.code) == (0, 0, 0)
    assert "aggregator" in shown.out
    assert "demo/absent: the script knows only" in shown.out
    assert replayed.out == asked.out == "The answer.\n"
    assert "no differences" in replayed.err


@pytest.mark.usefixtures("folder")
def test_a_traced_failure_fails_again_for_the_same_reasons() -> None:
    assert moa("ask", "-m", "lost.yaml", "--trace", "t.jsonl", "What?").code == 1
    shown, replayed = moa("trace", "show", "t.jsonl"), moa("trace", "replay", "t.jsonl")

    assert "error: layer 1: 0 of 1 needed proposals arrived" in shown.out
    assert "error: layer 1: 0 of 1 needed proposals arrived" in replayed.err
    assert (replayed.code, replayed.out) == (0, "")


def test_a_trace_becomes_one_page(folder: Path) -> None:
    moa("ask", "-m", "pair.yaml", "--trace", "t.jsonl", "What <b>now</b>?")
    ended = moa("trace", "show", "t.jsonl", "--html", "t.html")
    page = (folder / "t.html").read_text(encoding="utf-8")

    assert (ended.code, ended.out) == (0, "")
    assert "What &lt;b&gt;now&lt;/b&gt;?" in page
    assert moa("trace", "show", "t.jsonl", "--html", "no/t.html").code == 2


def test_a_trace_that_breaks_off_is_shown_as_far_as_it_goes(folder: Path) -> None:
    moa("ask", "-m", "pair.yaml", "--trace", "t.jsonl", "What?")
    whole = (folder / "t.jsonl").read_bytes()
    (folder / "t.jsonl").write_bytes(whole[: len(whole) // 2])
    shown, replayed = moa("trace", "show", "t.jsonl"), moa("trace", "replay", "t.jsonl")

    assert (shown.code, replayed.code) == (0, 0)
    assert "breaks off" in shown.out
    assert "breaks off" in replayed.err


def test_a_file_that_is_no_trace_is_a_usage_error(folder: Path) -> None:
    ended = moa("trace", "show", "moa.yaml")

    assert (ended.code, ended.out) == (2, "")
    assert "moa.yaml:1: this is not a trace" in ended.err
