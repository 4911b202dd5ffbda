import io
import json
from contextlib import redirect_stdout

import pytest
from rich.table import Table

from moa._cli.console import AnswerWriter, draw, print_json, print_sentences


class _Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def _written(stream: io.StringIO, *pieces: str) -> str:
    writer = AnswerWriter(stream)
    for piece in pieces:
        writer.write(piece)
    writer.close()
    return stream.getvalue()


def test_answer_writer_makes_text_harmless_for_a_terminal_even_when_a_sequence_comes_in_two_pieces() -> None:
    assert _written(_Terminal(), "a\x1b", "[2Jb") == "a␛[2Jb\n"


def test_answer_writer_leaves_text_as_it_is_in_a_pipe() -> None:
    assert _written(io.StringIO(), "a\x1b", "[2Jb") == "a\x1b[2Jb\n"


def test_answer_writer_ends_the_last_line_once() -> None:
    assert _written(io.StringIO(), "line\n") == "line\n"
    assert _written(io.StringIO()) == ""


def test_answer_writer_knows_whether_anything_was_written() -> None:
    writer = AnswerWriter(io.StringIO())
    writer.write("")
    assert not writer.started
    writer.write("x")
    assert writer.started


def test_print_json_is_valid_in_every_encoding() -> None:
    document = {"text": "naïve 👩 \ud83d"}
    for encoding in ("utf-8", "ascii", "latin-1"):
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace")
        with redirect_stdout(stream):
            print_json(document)
        assert json.loads(raw.getvalue().decode(encoding)) == document


def test_print_json_escapes_what_a_terminal_would_obey() -> None:
    terminal = _Terminal()
    with redirect_stdout(terminal):
        print_json({"text": "naïve \x9b31m"})

    assert terminal.getvalue().isascii()
    assert json.loads(terminal.getvalue()) == {"text": "naïve \x9b31m"}


def test_answer_writer_breaks_lines_between_words_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "12")

    assert _written(_Terminal(), "a lo", "ng sent", "ence of words") == "a long\nsentence of\nwords\n"
    assert _written(_Terminal(), "- one two three\n\nfour") == "- one two\nthree\n\nfour\n"
    assert _written(_Terminal(), "see https://example.org/a/long/path now") == (
        "see\nhttps://example.org/a/long/path\nnow\n"
    )
    assert _written(io.StringIO(), "a long sentence of words") == "a long sentence of words\n"


def test_answer_writer_leaves_code_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "12")
    code = "Run:\n```sh\npip install --upgrade some-package\n```\n"

    assert _written(_Terminal(), code, "and then this again") == code + "and then\nthis again\n"


def test_answer_writer_breaks_scripts_without_blanks_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "12")

    assert _written(_Terminal(), "你好世界你好世界") == "你好世界你好\n世界\n"


def test_answer_writer_shows_every_word_that_has_ended_at_once() -> None:
    terminal = _Terminal()
    writer = AnswerWriter(terminal)
    writer.write("one two thr")

    assert terminal.getvalue() == "one two"
    writer.close()
    assert terminal.getvalue() == "one two thr\n"


def test_draw_leaves_out_the_blanks_at_the_ends_of_lines_in_a_pipe() -> None:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_row("name", "value")
    table.add_row("longer name", "v")
    pipe, terminal = io.StringIO(), _Terminal()
    for stream in (pipe, terminal):
        with redirect_stdout(stream):
            draw(table)

    assert pipe.getvalue() == "name         value\nlonger name  v\n"
    assert "longer name  v    \n" in terminal.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO, _Terminal])
def test_sentences_are_broken_between_words_on_a_terminal_and_are_lines_in_a_pipe(
    stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    sentence = "Don't use refunds: worse than big by more than 3 points, at 11% of its cost\x1b[2J."

    with redirect_stdout(stream()) as written:
        print_sentences(sentence, "Another one.")

    lines = written.getvalue().splitlines()
    assert (len(lines), max(map(len, lines)) > 60) == ((3, False) if stream is _Terminal else (2, True))
    assert " ".join(" ".join(lines).split()) == sentence.replace("\x1b", "␛") + " Another one."
