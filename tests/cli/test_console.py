import io
import json
from contextlib import redirect_stdout

from moa._cli.console import AnswerWriter, print_json


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
