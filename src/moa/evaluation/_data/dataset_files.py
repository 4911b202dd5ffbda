"""Rows of the users' own files: JSON, JSON Lines, CSV, Parquet."""

import csv
from pathlib import Path
from typing import Any

from moa._runtime.csv_rows import csv_rows, open_csv
from moa.errors import EvaluationDataError, MissingDependency, UsageError
from moa.evaluation._data.outputs import SUFFIXES, read_rows

FORMATS = (*SUFFIXES, ".csv", ".parquet")
"""How names of files that can be read end."""


def read_table(path: Path) -> list[Any]:
    """Return a file's rows; the name's ending tells the format.

    Raises:
        EvaluationDataError: The file can't be read.
        UsageError: The ending is unknown.
        MissingDependency: It is a Parquet file and polars isn't installed.
    """
    name = path.name.lower()
    if name.endswith(".csv"):
        return _read_csv(path)
    if name.endswith(".parquet"):
        return _read_parquet(path)
    if name.endswith(SUFFIXES):
        return read_rows(path)
    raise UsageError(f"{path}: the name ends in none of {', '.join(FORMATS)}")


def _read_csv(path: Path) -> list[Any]:
    try:
        with open_csv(path) as file:
            rows = list(csv_rows(file))
    except UnicodeError as error:
        raise EvaluationDataError("is not UTF-8 text: save it as UTF-8", path=path) from error
    except (OSError, csv.Error) as error:
        raise EvaluationDataError(f"can't be read: {error}", path=path) from error
    for number, (_, surplus) in enumerate(rows, 1):
        if surplus:
            raise EvaluationDataError(f"more cells than the first row names columns: {surplus}", path=path, row=number)
    return [columns for columns, _ in rows]


def _read_parquet(path: Path) -> list[Any]:
    try:
        import polars
    except ModuleNotFoundError as error:
        raise MissingDependency.of("reading Parquet files", extra="eval") from error
    try:
        return polars.read_parquet(path).to_dicts()
    except (OSError, polars.exceptions.PolarsError) as error:
        raise EvaluationDataError(f"can't be read: {error}", path=path) from error
