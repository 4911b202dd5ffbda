import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moa.errors import EvaluationDataError
from moa.evaluation._runner.journal import Journal, read_journal


async def test_append_comes_back_when_the_lines_are_in_the_file(tmp_path: Path) -> None:
    journal, path = Journal(), tmp_path / "a" / "j.jsonl"

    await journal.append(path, {"n": 1}, {"n": 2})

    assert read_journal(path) == [{"n": 1}, {"n": 2}]
    await journal.aclose()


async def test_appending_from_many_tasks_at_once_loses_nothing_and_keeps_each_ones_order(tmp_path: Path) -> None:
    journal, path = Journal(), tmp_path / "j.jsonl"

    async def writer(name: int) -> None:
        for step in range(20):
            await journal.append(path, {"name": name, "step": step})
            assert {"name": name, "step": step} in read_journal(path)

    await asyncio.gather(*(writer(name) for name in range(8)))
    await journal.aclose()

    lines = read_journal(path)
    assert len(lines) == 160
    assert all([line["step"] for line in lines if line["name"] == name] == list(range(20)) for name in range(8))


async def test_what_was_noted_is_on_the_disk_before_what_is_appended_later(tmp_path: Path) -> None:
    journal = Journal()
    journal.note(tmp_path / "first.jsonl", {"n": 1})

    await journal.append(tmp_path / "second.jsonl", {"n": 2})

    assert read_journal(tmp_path / "first.jsonl") == [{"n": 1}]
    await journal.aclose()


async def test_closing_writes_what_was_only_noted(tmp_path: Path) -> None:
    journal = Journal()
    journal.note(tmp_path / "j.jsonl", {"n": 1})

    await journal.aclose()

    assert read_journal(tmp_path / "j.jsonl") == [{"n": 1}]


async def test_append_says_when_nothing_can_be_written(tmp_path: Path) -> None:
    journal = Journal()

    with pytest.raises(EvaluationDataError, match="can't be written"):
        await journal.append(tmp_path, {"n": 1})


@settings(max_examples=40)
@given(cut=st.integers(min_value=0, max_value=60))
def test_a_journal_that_was_cut_anywhere_gives_its_whole_lines_and_can_be_appended_to(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("j") / "j.jsonl"
    whole = b'{"n":1,"text":"a"}\n{"n":2,"text":"b"}\n{"n":3,"text":"c"}\n'
    path.write_bytes(whole[:cut])

    lines = read_journal(path, repair=True)
    with path.open("ab") as file:
        file.write(b'{"n":9}\n')

    assert [line["n"] for line in lines] == [1, 2, 3][: whole[:cut].count(b"\n")]
    assert read_journal(path) == [*lines, {"n": 9}]


def test_reading_without_repair_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(b'{"n":1}\n{"n"')

    assert read_journal(path) == [{"n": 1}]
    assert path.read_bytes() == b'{"n":1}\n{"n"'


def test_a_last_line_of_zeros_after_a_power_cut_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(b'{"n":1}\n\0\0\0\0\n')

    assert read_journal(path, repair=True) == [{"n": 1}]
    assert path.read_bytes() == b'{"n":1}\n'


def test_a_broken_line_in_the_middle_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(b'{"n":1}\nnonsense\n{"n":3}\n')

    with pytest.raises(EvaluationDataError, match="row 2: is no JSON object"):
        read_journal(path)


def test_a_journal_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "none.jsonl") == []


async def test_closing_writes_everything_when_all_tasks_have_been_cancelled(tmp_path: Path) -> None:
    journal = Journal()
    journal.note(tmp_path / "j.jsonl", {"n": 1})
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()

    await journal.aclose()

    assert read_journal(tmp_path / "j.jsonl") == [{"n": 1}]
