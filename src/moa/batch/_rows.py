"""Rows of a file of prompts, read one after another, and answers written beside them; nothing is held as a whole."""

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import orjson

from moa.errors import MissingDependency, UsageError

FORMATS = (".jsonl", ".csv", ".parquet")

_SLICE = 2_000
"""Rows of a Parquet file that are read at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the prompts' file.

    Attributes:
        number: Its place, from 0.
        columns: What it holds; empty if it can't be read.
        fault: Why it can't be read, None if it can.
    """

    number: int
    columns: Mapping[str, Any]
    fault: str | None = None


def format_of(path: Path) -> str:
    """Return how a file is written, by its ending.

    Raises:
        UsageError: It has none that is known.
    """
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise UsageError(f"{path}: expected a file that ends in {', '.join(FORMATS)}")
    return ending


def read_rows(path: Path) -> Iterator[Row]:
    """Give the rows of a file.

    Raises:
        UsageError: It can't be read.
        MissingDependency: Parquet needs a package that isn't installed.
    """
    ending = format_of(path)
    try:
        if ending == ".parquet":
            yield from _parquet_rows(path)
        elif ending == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as file:
                yield from _csv_rows(file)
        else:
            with path.open("rb") as binary:
                yield from json_rows(binary)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: {error}") from error


def json_rows(file: IO[bytes]) -> Iterator[Row]:
    """Give the rows of JSON Lines; a row ends at a line feed only, whatever else a string holds."""
    number = 0
    for line in file:
        if not line.strip():
            continue
        yield _json_row(number, line)
        number += 1


def _json_row(number: int, line: bytes) -> Row:
    try:
        # Python's own parser takes half of a surrogate pair, which is then refused as a prompt and not as a row.
        value = json.loads(line.decode("utf-8").removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        return Row(number=number, columns={}, fault=f"not JSON: {error}")
    if isinstance(value, str):
        value = {"prompt": value}
    if not isinstance(value, dict):
        return Row(number=number, columns={}, fault="expected an object with a prompt, or a text")
    return Row(number=number, columns=value)


def _csv_rows(file: IO[str]) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    for number, columns in enumerate(csv.DictReader(file)):
        surplus = columns.pop(None, None)
        fault = "more cells than the first row names columns" if surplus else None
        yield Row(number=number, columns=columns, fault=fault)


def _parquet_rows(path: Path) -> Iterator[Row]:
    table = _polars().scan_parquet(path)
    number = 0
    while rows := table.slice(number, _SLICE).collect().to_dicts():
        for columns in rows:
            yield Row(number=number, columns=columns)
            number += 1


def count_rows(path: Path) -> int:
    """Return how many rows a file has."""
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


def write_rows(path: Path) -> AbstractContextManager[RowWriter]:
    """Return what writes rows to a file, which takes its place only once it is whole.

    Raises:
        MissingDependency: Parquet needs a package that isn't installed.
        OSError: It can't be written.
    """
    return {".jsonl": _json_writer, ".csv": _csv_writer, ".parquet": _parquet_writer}[format_of(path)](path)


def json_line(row: Mapping[str, Any]) -> bytes:
    """Return a row as one line of JSON; what JSON doesn't have, such as a date, becomes text."""
    try:
        return orjson.dumps(row, default=str, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:
        # Half of a surrogate pair, or a number beyond 64 bits: as it came.
        return json.dumps(row, default=str).encode() + b"\n"


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
def _csv_writer(path: Path) -> Iterator[RowWriter]:
    with _whole(path) as beside, beside.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        table: csv.DictWriter[str] | None = None

        def write(row: Mapping[str, Any]) -> None:
            nonlocal table
            if table is None:
                table = csv.DictWriter(file, list(row), extrasaction="ignore")
                table.writeheader()
            table.writerow({name: _cell(value) for name, value in row.items()})

        yield write


def _cell(value: Any) -> Any:
    return json.dumps(value, default=str) if isinstance(value, list | dict) else value


@contextmanager
def _parquet_writer(path: Path) -> Iterator[RowWriter]:
    # By way of JSON Lines, so that nothing is held as a whole and columns get one type for all rows.
    lines = path.with_name(f".{path.name}.jsonl")
    try:
        with _json_writer(lines) as write:
            yield write
        with _whole(path) as beside:
            _polars().scan_ndjson(lines, infer_schema_length=None).sink_parquet(beside)
    finally:
        lines.unlink(missing_ok=True)


def _drop(_: object) -> None:
    """Return nothing, as writers do."""


def _polars() -> Any:
    try:
        import polars
    except ImportError as error:
        raise MissingDependency.of("Parquet", extra="eval") from error
    return polars
