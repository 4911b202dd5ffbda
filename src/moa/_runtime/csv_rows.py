"""Rows of a CSV file of prompts, none of which is lost."""

import codecs
import csv
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any

_DELIMITERS = ",;\t"


def open_csv(path: Path) -> IO[str]:
    """Open a CSV file: UTF-8 with or without a mark at its beginning, or UTF-16 with one, as Excel writes it.

    Raises:
        OSError: It can't be read.
    """
    with path.open("rb") as binary:
        is_utf_16 = binary.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return path.open(newline="", encoding="utf-16" if is_utf_16 else "utf-8-sig")


def csv_rows(file: IO[str]) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Yield the rows of an open file by column, each with the cells that it has beyond the columns.

    Cells are separated by what separates most cells of the first row: commas, or semicolons or tabs, as Excel writes
    where the comma is the decimal point. Excel's `sep=;` above that row says the same.

    Raises:
        csv.Error: A quote is never closed, two columns have one name, or the like.
    """
    csv.field_size_limit(sys.maxsize)
    first, skipped = file.readline(), 0
    if first.startswith("sep="):
        first, skipped = file.readline(), 1
    delimiter = max(_DELIMITERS, key=lambda one: len(next(csv.reader([first], delimiter=one), [])))
    # Strict: a quote that is never closed would make one prompt of all the rest.
    rows = csv.DictReader(chain([first], file), strict=True, delimiter=delimiter)
    names = Counter(rows.fieldnames or ())
    if double := [name for name, count in names.items() if count > 1]:
        raise csv.Error(f"two columns are called {double[0]!r}: rename one")
    try:
        for columns in rows:
            surplus = columns.pop(None, None)
            yield columns, list(surplus or ())
    except csv.Error as error:
        raise csv.Error(f"the row that begins in line {rows.line_num + skipped + 1}: {error}") from error
