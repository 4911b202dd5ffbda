"""YAML documents: what is read, and what is refused before anything looks at the values."""

from pathlib import Path

import pytest

from moa._validation.strict_yaml import MAX_BYTES, Document, from_file, from_mapping, from_text
from moa.errors import ConfigError


def read(text: str) -> Document:
    return from_text(text, ConfigError, path=Path("f.yaml"))


def test_lines_of_keys_and_items_are_known_through_merge_keys() -> None:
    document = read("base: &b\n  x: 1\nlist:\n  - <<: *b\n    y: 1e-3\n")

    assert document.data == {"base": {"x": 1}, "list": [{"x": 1, "y": 0.001}]}
    assert document.lines[("list", 0, "y")] == 5
    assert document.lines[("list", 0, "x")] == 2


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: 1\nb: [", 2, "not valid YAML"),
        ("a: 1\n---\nb: 2\n", 2, "not valid YAML: but found another document"),
        ("a: !!python/object/apply:os.system ['true']\n", 1, "could not determine a constructor"),
        ("a: 1\nb: 2\na: 3\n", 3, "stands twice, first in line 1"),
        ("a: {b: 1, b: 2}\n", 1, "stands twice"),
        ("? [a]\n: 1\n", 1, "a key must be plain text"),
        ("a: \x00\n", None, "not valid YAML"),
        ("a: 2024-99-99\n", None, "not valid YAML: month must be in 1..12"),
        ("a: &a [*a]\n", None, "too large"),
        ("[" * 60 + "]" * 60, None, "too large"),
        ("a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
         "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n", None, "too large"),
    ],
)  # fmt: skip
def test_a_text_that_is_not_one_safe_document_is_refused(text: str, line: int | None, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        read(text)

    assert (caught.value.path, caught.value.line) == (Path("f.yaml"), line)


def test_an_empty_text_is_an_empty_mapping() -> None:
    assert read("# nothing\n").data == {}


def test_files_that_can_not_be_read_are_refused_by_name(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: 1\nb: \xe9\n")
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (MAX_BYTES + 1))

    for path, says in [
        (latin, "UTF-8"),
        (large, "at most"),
        (tmp_path / "none.yaml", "No such file"),
        (tmp_path, "directory"),
    ]:
        with pytest.raises(ConfigError, match=says) as caught:
            from_file(path, ConfigError)
        assert caught.value.path == path


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")

    assert from_file(tmp_path / "bom.yaml", ConfigError).data == {"a": 1}


def test_a_mapping_is_copied_deeply() -> None:
    inner = {"x": [1]}

    from_mapping({"a": inner}, ConfigError).data["a"]["x"].append(2)

    assert inner == {"x": [1]}
