"""Rows of a CSV file of prompts, none of which is lost."""

import csv
import sys
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any


def csv_rows(file: IO[str]) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Yield the rows of an open file by column, each with the cells that it has beyond the columns.

    Raises:
        csv.Error: A quote is never closed, two columns have one name, or the like.
    """
    csv.field_size_limit(sys.maxsize)
    # Strict: a quote that is never closed would make one prompt of all the rest.
    rows = csv.DictReader(file, strict=True)
    names = Counter(rows.fieldnames or ())
    if double := [name for name, count in names.items() if count > 1]:
        raise csv.Error(f"two columns are called {double[0]!r}: rename one")
    try:
        for columns in rows:
            surplus = columns.pop(None, None)
            yield columns, list(surplus or ())
    except csv.Error as error:
        raise csv.Error(f"the row that begins in line {rows.line_num + 1}: {error}") from error
