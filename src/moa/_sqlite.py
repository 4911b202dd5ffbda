"""What every SQLite file of this package does alike: opening, the write-ahead log, transactions."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal


def connected(path: Path, *, busy_s: float, mode: Literal["ro", "rw", "rwc"] = "rwc") -> sqlite3.Connection:
    """Return a connection that begins no transaction by itself.

    It may be opened in one thread and used in another, never in two at the same time.

    Args:
        path: The file.
        busy_s: Seconds to wait for another process that is writing.
        mode: To read it, to write it, or to write it and create it if it is missing.

    Raises:
        sqlite3.Error: It can't be opened.
    """
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=busy_s, isolation_level=None, check_same_thread=False)


def use_log(db: sqlite3.Connection, *, busy_s: float) -> None:
    """Switch a file to the write-ahead log, in which readers don't wait for a writer.

    Raises:
        sqlite3.Error: It can't be written.
    """
    # While another process switches, too, SQLite reports "locked" immediately, despite the busy timeout.
    give_up_at = time.monotonic() + busy_s
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL").fetchall()
            return
        except sqlite3.OperationalError:
            if time.monotonic() >= give_up_at:
                raise
            time.sleep(0.01)


@contextmanager
def transaction(db: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    """Commit what the block does; undo it if the block raises."""
    db.execute(begin)
    try:
        yield
    except BaseException:
        if db.in_transaction:  # some errors have ended it already
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
