import pytest

from moa._validation.strict_yaml import from_text
from moa.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("ok: 1\na: b: c\n", 2, "a second `:` in the line: put the text in quotes, or correct the indentation"),
        ("a:\n\t b: 1\n", 2, "a tab: indent with spaces"),
        ("ok: 1\nkey: @home\n", 2, "a value can't start with @: put it in quotes"),
        ("key: *.txt\n", 1, "plain text can't start with * or &: put it in quotes"),
        ("key: *all\n", 1, "*all needs an anchor &all, which is not there: put it in quotes if it is text"),
        ('ok: 1\nkey: "abc\nnext: 2\n', 2, "a quotation mark that is never closed"),
        ("a:\n  - b\n c: 1\n", 3, "this doesn't fit the indentation of the lines above"),
        ("ok: 1\na: [1,\n  2\nb: 3\n", 2, "the bracket [ that is opened here is not closed, or a comma is missing"),
        ("a: {b: 1\n", 1, "the bracket { that is opened here is not closed, or a comma is missing"),
        ("a: 1\n---\nb: 2\n", 2, "a second document starts (---): use one file for each"),
        ('path: "C:\\dir"\n', 1, "\\d is not an escape sequence in double quotes: write \\\\d, or use single quotes"),
        ("a: - b\n", 1, "a list starts on the line below its key"),
        ("a: 1\nb\nc: 2\n", 2, "a key without `:`, or a text that continues on a line that is not indented"),
    ],
)
def test_what_is_no_yaml_is_told_in_a_sentence_with_the_line_to_change(text: str, line: int, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_text(text, ConfigError)

    assert (caught.value.line, caught.value.args[0]) == (line, f"not valid YAML: {sentence}")
