import io

import pytest

from moa._cli.prompt_input import read_prompt
from moa.errors import UsageError


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("words", "stdin", "prompt"),
    [
        (["What", "now?"], "unread", "What now?"),
        ([], "from stdin\n", "from stdin"),
        (["-"], "from stdin\n", "from stdin"),
        (["Review:", "-"], "a\nb\n", "Review:\n\na\nb"),
        (["-", "is", "it?"], "text", "text\n\nis it?"),
    ],
)
def test_read_prompt_joins_words_and_sets_stdin_apart(words: list[str], stdin: str, prompt: str) -> None:
    assert read_prompt(words, io.StringIO(stdin)) == prompt


def test_read_prompt_leaves_stdin_alone_unless_it_is_asked_for() -> None:
    stdin = io.StringIO("somebody else's")

    read_prompt(["What?"], stdin)

    assert stdin.read() == "somebody else's"


@pytest.mark.parametrize(
    ("words", "stdin", "message"),
    [
        ([], _Terminal(), "give a prompt"),
        ([], io.StringIO(" \n"), "the prompt is empty"),
        ([" "], io.StringIO(), "the prompt is empty"),
        (["-"], io.TextIOWrapper(io.BytesIO(b"\xff\xfe\x00"), encoding="utf-8"), "standard input is not utf-8 text"),
    ],
)
def test_read_prompt_refuses_what_is_no_prompt(words: list[str], stdin: io.TextIOBase, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_prompt(words, stdin)  # type: ignore[arg-type]
