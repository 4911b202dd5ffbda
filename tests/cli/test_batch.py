"""What `moa batch` prints."""

from pathlib import Path

from tests.cli.moa_command import moa


def test_a_batch_that_goes_on_says_that_its_dollars_are_those_of_this_start(folder: Path) -> None:
    (folder / "rows.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n{"prompt": "c"}\n')
    command = ("batch", "rows.jsonl", "-m", "pair.yaml", "-o", "answers.jsonl")

    first = moa(*command, "--limit", "2")
    second = moa(*command)

    assert "2 rows answered by pair; $0 + unknown prices" in first.err
    assert "3 rows answered by pair; this start: $0 + unknown prices" in second.err
