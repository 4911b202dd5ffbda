"""Export and import of the cache as JSON Lines: for a copy, another machine, or inspection."""

import json
from collections.abc import Iterator
from pathlib import Path

from moa._policies.cache.entry import Entry, entry_from
from moa._policies.cache.store import Store
from moa._validation.file_errors import os_reason
from moa.errors import ConfigError

HEADER = {"moa_cache": 1}
"""First line of a file: its kind and format version."""

KEY_DIGITS = 64


def write_entries(store: Store, path: Path) -> int:
    """Write all entries of a store to a file, one JSON object per line, and return their number.

    Raises:
        ConfigError: The store can't be read, or the file can't be written.
    """
    written = 0
    try:
        with path.open("w", encoding="ascii") as file:
            file.write(json.dumps(HEADER) + "\n")
            for key, entry in store.entries():
                file.write(json.dumps({"key": key, **entry.as_dict()}) + "\n")
                written += 1
    except OSError as error:
        raise ConfigError(f"the entries can't be written: {os_reason(error)}", path=path) from error
    return written


def read_entries(store: Store, path: Path) -> tuple[int, int]:
    """Add the entries of a file to a store, all or none; existing entries stay unchanged.

    Returns:
        Number of entries that were added, and number in the file.

    Raises:
        ConfigError: The file can't be read, a line is not an entry (the error names it), or the store can't be written.
    """
    held = 0

    def counted() -> Iterator[tuple[str, Entry]]:
        nonlocal held
        for keyed in _keyed_entries(path):
            held += 1
            yield keyed

    return store.put(counted()), held


def _keyed_entries(path: Path) -> Iterator[tuple[str, Entry]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if number == 1:
                    _check_header(line, path)
                else:
                    yield _keyed_entry(line, path, number)
    except OSError as error:
        raise ConfigError(f"the entries can't be read: {os_reason(error)}", path=path) from error
    except UnicodeDecodeError as error:
        raise ConfigError("this is not a file of cache entries: it is not UTF-8 text", path=path) from error


def _check_header(line: str, path: Path) -> None:
    try:
        is_ours = json.loads(line) == HEADER
    except json.JSONDecodeError:
        is_ours = False
    if not is_ours:
        raise ConfigError(f"this is not a file of cache entries: its first line is not {json.dumps(HEADER)}", path=path)


def _keyed_entry(line: str, path: Path, number: int) -> tuple[str, Entry]:
    try:
        data = json.loads(line)
        key = data.get("key") if isinstance(data, dict) else None
        if not isinstance(key, str) or len(key) != KEY_DIGITS or not set(key) <= set("0123456789abcdef"):
            raise ValueError(f"a key of {KEY_DIGITS} hexadecimal digits is missing")
        return key, entry_from(data)
    except ValueError as error:
        raise ConfigError(f"not a cache entry: {error}; nothing was added", path=path, line=number) from error
