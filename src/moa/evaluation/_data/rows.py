"""Rows of files: JSON, JSON Lines, CSV, Parquet."""

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from moa._runtime.csv_rows import csv_rows
from moa._validation.file_errors import os_reason
from moa.errors import EvaluationDataError, MissingDependency

T = TypeVar("T")

_CSV_SUFFIXES = (".csv", ".csv.gz")
FORMATS = (".json", ".jsonl", ".json.gz", ".jsonl.gz", *_CSV_SUFFIXES, ".parquet")
"""How names of files that can be read end."""

_GZIP = b"\x1f\x8b"
"""How packed bytes begin, whatever the file is called. Source: RFC 1952, section 2.3.1."""

_PACKED = {b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"PK\x03\x04": "zip"}
"""How files begin that are packed in ways that aren't read. Source: the formats' documents."""

_LFS = "version https://git-lfs.github.com/"


def read_rows(path: Path) -> list[Any]:
    """Return a file's rows, packed by gzip or not; the name's ending tells the format, and any unknown one means JSON.

    Raises:
        EvaluationDataError: The file can't be read or holds no rows of this format.
        MissingDependency: It is a Parquet file and polars isn't installed.
    """
    name = path.name.lower()
    try:
        if name.endswith(".parquet"):
            return _parquet_rows(path)
        text = _text(path)
        if name.endswith(_CSV_SUFFIXES):
            return _whole_rows(path, csv_rows(io.StringIO(text, newline="")))
    except UnicodeError as error:
        raise EvaluationDataError("is not UTF-8 text: save it as UTF-8", path=path) from error
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        reason = os_reason(error) if isinstance(error, OSError) else str(error)
        raise EvaluationDataError(f"can't be read: {reason}", path=path) from error
    if text.startswith(_LFS):
        raise EvaluationDataError("is only Git LFS's pointer to the file: fetch that by `git lfs pull`", path=path)
    if _are_lines(text, by_name=name.removesuffix(".gz").endswith(".jsonl")):
        # Not splitlines: U+2028 and its like end no row.
        return [_parsed(line, path, number) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    rows = _parsed(text, path, None)
    if not isinstance(rows, list):
        found = f"an object with {', '.join([*rows][:5])}" if isinstance(rows, dict) and rows else type(rows).__name__
        raise EvaluationDataError(f"holds {found} where a list of rows is expected", path=path)
    return rows


def rows_as(kind: TypeAdapter[list[T]], rows: Sequence[object], path: Path | None, what: str) -> list[T]:
    """Return rows as values of one kind.

    Args:
        kind: What they are to be.
        rows: As they were read.
        path: The file that they are from, if any.
        what: What the error says that they are not.

    Raises:
        EvaluationDataError: A row can't be that; row and field are named.
    """
    try:
        return kind.validate_python(rows)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        row, *key = first["loc"] or (None,)
        raise EvaluationDataError(
            f"is not {what}: {first['msg']}",
            path=path,
            row=row + 1 if isinstance(row, int) else None,
            key=".".join(map(str, key)) or None,
        ) from error


def _text(path: Path) -> str:
    raw = path.read_bytes()
    if packed := next((name for start, name in _PACKED.items() if raw.startswith(start)), None):
        raise EvaluationDataError(f"is packed by {packed}: unpack it first, or pack it by gzip", path=path)
    data = gzip.decompress(raw) if raw.startswith(_GZIP) else raw
    return data.decode("utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig")


def _are_lines(text: str, *, by_name: bool) -> bool:
    """Whether each line is a row: a name says so, but programs write either kind under either name."""
    first, more = text.lstrip().partition("\n")[::2]
    if by_name:
        return not first.startswith("[") or (first.rstrip().endswith("]") and bool(more.strip()))
    if not first.startswith("{") or not more.strip():
        return False
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return True


def _parsed(text: str, path: Path, row: int | None) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        hint = "" if path.name.lower().endswith(FORMATS) else f" (files are read as {', '.join(FORMATS)})"
        raise EvaluationDataError(f"is not JSON: {error}{hint}", path=path, row=row) from error


def _whole_rows(path: Path, rows: Iterable[tuple[dict[str, Any], list[str]]]) -> list[Any]:
    found = []
    for number, (columns, surplus) in enumerate(rows, 1):
        if surplus:
            raise EvaluationDataError(f"more cells than the first row names columns: {surplus}", path=path, row=number)
        found.append(columns)
    return found


def _parquet_rows(path: Path) -> list[Any]:
    try:
        import polars
    except ModuleNotFoundError as error:
        raise MissingDependency.of("reading Parquet files", extra="eval") from error
    try:
        return polars.read_parquet(path).to_dicts()
    except polars.exceptions.PolarsError as error:
        raise EvaluationDataError(f"can't be read: {error}", path=path) from error
