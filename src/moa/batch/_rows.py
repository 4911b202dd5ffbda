"""Streaming readers of the rows of prompts, and writers of the rows of answers: no file is read into memory whole."""

import codecs
import csv
import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import orjson

from moa._runtime.csv_rows import csv_rows, open_csv
from moa.errors import MissingDependency, UsageError

FORMATS = (".jsonl", ".csv", ".parquet")
COMPRESSED = (".gz", ".zst", ".bz2", ".xz", ".zip")

_SURROGATE = re.compile("[\ud800-\udfff]")

_SLICE = 2_000
"""Number of rows of a Parquet file that are read at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the prompts' file.

    Attributes:
        number: Its index, from 0.
        columns: Its values by column; empty if it is invalid.
        fault: Why it is invalid, or None if it is valid.
    """

    number: int
    columns: Mapping[str, Any]
    fault: str | None = None


def format_of(path: Path) -> str:
    """Return the format of a file, by its suffix.

    Raises:
        UsageError: The suffix is unknown.
    """
    ending = path.suffix.lower()
    if ending not in FORMATS:
        advice = ": decompress it first" if ending in COMPRESSED else ""
        raise UsageError(f"{path}: expected a file that ends in {', '.join(FORMATS)}{advice}")
    return ending


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file.

    Raises:
        UsageError: It can't be read.
        MissingDependency: Parquet needs a package that isn't installed.
    """
    ending = format_of(path)
    try:
        if ending == ".parquet":
            yield from _parquet_rows(path)
            return
        if ending == ".csv":
            with open_csv(path) as file:
                yield from _csv_rows(file)
            return
        with path.open("rb") as binary:
            if binary.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                raise UsageError(f"{path} is in UTF-16: save it as UTF-8")
            binary.seek(0)
            yield from json_rows(binary)
    except UnicodeError as error:
        raise UsageError(f"{path} is not in UTF-8 ({error}): save it as UTF-8") from error
    except (OSError, csv.Error) as error:
        raise UsageError(f"{path}: {error}") from error


def json_rows(file: IO[bytes]) -> Iterator[Row]:
    """Yield the rows of JSON Lines; only a line feed ends a row, not the other line separators of Unicode."""
    number = 0
    for at, line in enumerate(file, 1):
        if not line.strip():
            continue
        yield _json_row(number, line, at)
        number += 1


def _json_row(number: int, line: bytes, at: int) -> Row:
    try:
        # Python's own parser accepts half of a character, which a prompt's text is read without.
        value = json.loads(line.decode("utf-8").removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        fault = f"line {at} is not JSON: {error.msg}, at its character {error.pos + 1}"
        return Row(number=number, columns={}, fault=fault)
    except (ValueError, RecursionError) as error:
        return Row(number=number, columns={}, fault=f"line {at} is not JSON: {error}")
    if isinstance(value, str):
        value = {"prompt": value}
    if not isinstance(value, dict):
        return Row(number=number, columns={}, fault=f"line {at}: expected an object with a prompt, or a text")
    return Row(number=number, columns=value)


def _csv_rows(file: IO[str]) -> Iterator[Row]:
    for number, (columns, surplus) in enumerate(csv_rows(file)):
        fault = f"more cells than the first row names columns: {surplus}" if surplus else None
        yield Row(number=number, columns=columns, fault=fault)


def _parquet_rows(path: Path) -> Iterator[Row]:
    table = _polars().scan_parquet(path)
    number = 0
    while rows := table.slice(number, _SLICE).collect().to_dicts():
        for columns in rows:
            yield Row(number=number, columns=columns)
            number += 1


def count_rows(path: Path) -> int:
    """Return the number of rows of a file."""
    if format_of(path) == ".parquet":
        polars = _polars()
        return int(polars.scan_parquet(path).select(polars.len()).collect().item())
    if format_of(path) == ".csv":
        return sum(1 for _ in read_rows(path))
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())


class RowWriter(Protocol):
    """Writes rows in the format of a file."""

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Write one row."""
        ...


def write_rows(
    path: Path, columns: Sequence[str], *, source: Path | None = None, added: Collection[str] = ()
) -> AbstractContextManager[RowWriter]:
    """Return a writer of rows to a file, which replaces the target atomically once it is complete.

    Args:
        path: The file.
        columns: Names of all columns that a row may have, for a format whose first row names them.
        source: The file whose rows are written, from the first one on, with more columns.
        added: Names of these. All others go from one Parquet file to another with their types.

    Raises:
        MissingDependency: Parquet needs a package that isn't installed.
        OSError: It can't be written.
    """
    ending = format_of(path)
    if ending == ".csv":
        return _csv_writer(path, columns)
    if ending == ".jsonl":
        return _json_writer(path)
    is_widened = source is not None and format_of(source) == ".parquet"
    return _parquet_writer(path, source if is_widened else None, frozenset(added))


def json_line(row: Mapping[str, Any]) -> bytes:
    """Return a row as one line of JSON; values that JSON lacks, such as dates, become strings."""
    try:
        return orjson.dumps(row, default=str, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:
        # An unpaired surrogate or an integer beyond 64 bits is written as it was read.
        return json.dumps(_finite(row), default=str, allow_nan=False).encode() + b"\n"


def _finite(value: Any) -> Any:
    """Return a value without infinities and NaN, which JSON lacks: they become null, as above."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: _finite(one) for key, one in value.items()}
        case list():
            return [_finite(one) for one in value]
    return value


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    beside = path.with_name(f".{path.name}.new")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def _json_writer(path: Path) -> Iterator[RowWriter]:
    with _whole(path) as beside, beside.open("wb") as file:
        yield lambda row: _drop(file.write(json_line(row)))


@contextmanager
def _csv_writer(path: Path, columns: Sequence[str]) -> Iterator[RowWriter]:
    with _whole(path) as beside, beside.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        table = csv.DictWriter(file, list(columns))
        table.writeheader()
        yield lambda row: _drop(table.writerow({name: _cell(value) for name, value in row.items()}))


def _cell(value: Any) -> Any:
    return json.dumps(value, default=str) if isinstance(value, list | dict) else value


@contextmanager
def _parquet_writer(path: Path, source: Path | None, added: Collection[str]) -> Iterator[RowWriter]:
    # Converted from JSON Lines, so that memory is bounded and each column gets one type for all rows.
    lines, written = path.with_name(f".{path.name}.jsonl"), 0
    try:
        with _json_writer(lines) as write:

            def write_row(row: Mapping[str, Any]) -> None:
                nonlocal written
                written += 1
                if source is not None:
                    row = {name: value for name, value in row.items() if name in added}
                write(_without_surrogates(row))

            yield write_row
        with _whole(path) as beside:
            _to_parquet(lines, beside, None if source is None else _polars().scan_parquet(source).head(written))
    finally:
        lines.unlink(missing_ok=True)


def _to_parquet(lines: Path, target: Path, widened: Any) -> None:
    """Convert JSON Lines, put beside the rows of a table if one is given."""
    polars = _polars()

    def convert() -> None:
        table = polars.scan_ndjson(lines, infer_schema_length=None)
        if widened is not None:
            table = _side_by_side(widened, table)
        table.sink_parquet(target)

    try:
        convert()
    except polars.exceptions.PolarsError:
        # Lists and objects that no single type fits become JSON texts, as in a CSV file; so do all other mixed values.
        rows = (row.columns for row in read_rows(lines))
        with _json_writer(lines) as write:
            for columns in rows:
                write({name: _as_text(name, value) for name, value in columns.items()})
        try:
            convert()
        except polars.exceptions.PolarsError as error:
            raise ValueError(f"no Parquet file can hold these rows ({error}): choose a .jsonl or .csv file") from error


def _side_by_side(one: Any, other: Any) -> Any:
    try:
        return _polars().concat([one, other], how="horizontal_extend")
    except ValueError:  # the name before polars 1.42
        return _polars().concat([one, other], how="horizontal")


def _as_text(name: str, value: Any) -> Any:
    if value is None or isinstance(value, str) or name.startswith("answer"):
        return value
    return json.dumps(value)


def _without_surrogates(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row for a format that takes no half of a surrogate pair: it is written as its escape sequence."""
    try:
        orjson.dumps(row, default=str, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:
        text = json.dumps(row, default=str, ensure_ascii=False)
        fixed: Mapping[str, Any] = json.loads(_SURROGATE.sub(lambda found: f"\\\\u{ord(found[0]):04x}", text))
        return fixed
    return row


def _drop(_: object) -> None:
    """Return nothing, as writers do."""


def _polars() -> Any:
    try:
        import polars
    except ImportError as error:
        raise MissingDependency.of("Parquet", extra="eval") from error
    return polars
