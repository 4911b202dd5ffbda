"""YAML documents: what is read, and what is refused before anything looks at the values."""

import math
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moa._mixture.loading import load
from moa._validation.strict_yaml import MAX_BYTES, Document, from_file, from_mapping, from_text
from moa.errors import ConfigError, MixtureError
from tests.support.work import lines_run


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
        ("a: 1\n---\nb: 2\n", 2, "not valid YAML: a second document starts"),
        ("a: !!python/object/apply:os.system ['true']\n", 1, "the tag .* is not allowed"),
        ("a: 1\nb: 2\na: 3\n", 3, "duplicate key, first in line 1"),
        ("a: {b: 1, b: 2}\n", 1, "duplicate key"),
        ("? [a]\n: 1\n", 1, "a key must be plain text"),
        ("a: \x00\n", None, "not valid YAML"),
        ("a: !!timestamp x\n", 1, "the tag .* is not allowed"),
        ("a: !!binary '*'\n", 1, "the tag .* is not allowed"),
        ("a: 1\nb: !!int ''\n", 2, "expected a number"),
        ("a: !!int 0x\n", 1, "expected a number"),
        ("a: !!bool perhaps\n", 1, "expected a number, true or false, got 'perhaps'"),
        (f"a: 0x{'f' * 5000}\n", 1, "expected a number"),
        (f"a: !!float {'1' * 5000}\n", 1, "expected a number"),
        (f"a: !!float 1{':1' * 5000}\n", 1, "expected a number"),
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


@pytest.mark.parametrize(
    ("text", "value"),
    [("1:30:00", "1:30:00"), (f"1{':59' * 2000}.5", f"1{':59' * 2000}.5"), ("2024-99-99", "2024-99-99"),
     ("=", "="), ("-1_000", -1000), ("0x1F", 31), ("017", 15), ("08", "08"), ("1.5", 1.5), ("1.", 1.0), (".5e3", 500.0),
     ("-.inf", -math.inf), ("1e-3", 0.001), ("yes", True), ("~", None), (".", "."), ("+", "+"), ("1.2.3", "1.2.3")],
)  # fmt: skip
def test_plain_scalars_are_what_the_core_schema_says(text: str, value: object) -> None:
    assert read(f"a: {text}\n").data == {"a": value}


@pytest.mark.parametrize(
    "text",
    [
        "a: [" + "1," * 200_000 + "1]",
        "- 1\n" * 200_000,
        "[" * 100_000,
        "{a: " * 100_000,
        "- " * 100_000,
        "a: [" + "x: y, " * 100_000 + "]",
        "".join(f"k{n}: v\n" for n in range(100_000)),
    ],
    ids=["flow", "block", "brackets", "braces", "dashes", "pairs", "keys"],
)
def test_a_text_with_too_many_values_costs_no_more_than_those_that_are_read(text: str) -> None:
    def refused() -> None:
        with pytest.raises(ConfigError, match="too large"):
            from_text(text, ConfigError, max_values=200)

    assert lines_run(refused) < 1_000_000


@pytest.mark.parametrize("kind", ["x: '{}'", "x: {}", "? {}\n: 1", "x: |\n  {}", "&{} x", "x: #{}\n  1"])
def test_the_time_of_reading_is_linear_in_the_text(kind: str) -> None:
    def work(size: int) -> int:
        return lines_run(lambda: _read_or_refuse(kind.replace("{}", "word " * size if "&" not in kind else "w" * size)))

    assert work(4000) < 2.5 * work(2000)


def _read_or_refuse(text: str) -> Document | None:
    try:
        return read(text)
    except ConfigError:
        return None


@settings(max_examples=100)
@given(st.text(st.sampled_from("ab:-[]{},&*!|>'\"#%@`\\ \n\t0x1.~<?=é\ud83d\u2028"), max_size=80))
def test_whatever_a_text_holds_it_is_read_or_refused_as_ours(text: str) -> None:
    document = _read_or_refuse(text)

    if document is not None and isinstance(document.data, dict):
        with suppress(MixtureError):
            load(document.data)


def test_a_mapping_with_more_levels_or_values_than_a_file_may_have_is_refused() -> None:
    deep: dict[str, object] = {}
    for _ in range(5000):
        deep = {"a": deep}
    endless: list[object] = []
    endless.append(endless)

    for data in (deep, {"a": endless}, {"a": [0] * 30_000}):
        with pytest.raises(ConfigError, match="too large"):
            from_mapping(data, ConfigError)


def test_a_named_pipe_and_a_device_are_no_files_and_what_a_shell_passes_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(ConfigError, match="not a regular file"):
            from_file(path, ConfigError)

    reader, writer = os.pipe()
    os.write(writer, b"a: 1\n")
    os.close(writer)
    assert from_file(Path(f"/dev/fd/{reader}"), ConfigError).data == {"a": 1}
    os.close(reader)


def test_an_empty_text_is_an_empty_mapping() -> None:
    assert read("# nothing\n").data == {}


def test_files_that_can_not_be_read_are_refused_by_name(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: 1\nb: \xe9\n")
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (MAX_BYTES + 1))

    for path, says in [
        (latin, "UTF-8"),
        (large, "larger than"),
        (tmp_path / "none.yaml", "there is no such file"),
        (tmp_path, "folder"),
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
