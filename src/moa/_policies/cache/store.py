"""The file: one SQLite database that several processes read and write at once.

Its write-ahead log lets readers go on while somebody writes. With `synchronous=NORMAL` a reply that was kept survives
the end of its process, `kill -9` included; when the machine itself loses power the latest ones may be lost, the file
stays whole.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from moa._policies.cache.entry import Entry, entry_from
from moa._policies.cache.settings import DEFAULT_MODE, CacheSettings
from moa.errors import ConfigError

APPLICATION_ID = 0x6D6F6163
"""Marks the file as ours: "moac"."""

FORMAT = 1
"""Version of the tables."""

BUSY_S = 5.0
"""Seconds to wait for another process that is writing."""

MOST_TOUCHED = 256
"""Uses that are noted together: each alone would make a write of every read."""

KEPT_SHARE = 0.99
"""How full the file may be once the oldest replies had to go, so that not every further one makes others go."""

SHRINK_PAGES = 1000
"""Pages given back to the file system at a time when the file is larger than it may be (its limit was lowered)."""

_TABLES = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    entry TEXT NOT NULL,
    size INTEGER NOT NULL,
    used_at INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS replies_by_use ON replies (used_at, size);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """What a cache holds.

    Attributes:
        entries: Replies.
        used_bytes: What they take.
        models: Replies of each model, by reference.
    """

    entries: int
    used_bytes: int
    models: Mapping[str, int]


class Store:
    """Kept replies by key. Blocks while it works; one thread at a time may use it.

    Args:
        settings: Where the file is, how large it may grow, whether it is written.
        now: Nanoseconds; which reply was used before which other one.

    Raises:
        ConfigError: The file can't be opened, or is something else; it has not been touched then.
    """

    def __init__(self, settings: CacheSettings, now: Callable[[], int] = time.time_ns) -> None:
        self._settings, self._now = settings, now
        self._max_bytes = settings.max_size_mb * 1_000_000
        self._touched: dict[str, int] = {}
        with self._translated_errors():
            self._db = _open(settings)

    def get(self, key: str) -> Entry | None:
        """Return what is kept under a key.

        Raises:
            ConfigError: The file can't be read.
        """
        with self._translated_errors():
            row = self._db.execute("SELECT entry FROM replies WHERE key = ?", (key,)).fetchone()
            if row is None:
                return None
            entry = entry_from(json.loads(row[0]))
            if self._settings.writes:
                self._touch(key)
            return entry

    def _touch(self, key: str) -> None:
        self._touched[key] = self._now()
        if len(self._touched) >= MOST_TOUCHED:
            # A use that can't be noted now is noted later: nobody's reading has to fail for it.
            with suppress(sqlite3.OperationalError), self._writing():
                pass

    def put(self, entries: Iterable[tuple[str, Entry]], *, replace: bool = False) -> int:
        """Keep replies, all or none of them; when it returns they survive the end of this process.

        Args:
            entries: Keys and replies. One that alone is larger than the file may be is not kept.
            replace: Whether they take the place of replies that are there already.

        Returns:
            How many were kept.

        Raises:
            ConfigError: The file can't be written.
        """
        how = "REPLACE" if replace else "IGNORE"
        with self._translated_errors():
            with self._writing():
                before = self._db.total_changes
                self._db.executemany(f"INSERT OR {how} INTO replies VALUES (?, ?, ?, ?, ?)", self._rows(entries))
                kept = self._db.total_changes - before
                self._make_room()
            self._shrink()
        return kept

    def _rows(self, entries: Iterable[tuple[str, Entry]]) -> Iterator[tuple[str, str, str, int, int]]:
        for key, entry in entries:
            text = json.dumps(entry.as_dict(), separators=(",", ":"))
            if len(text) < self._max_bytes * KEPT_SHARE:
                yield key, entry.model, text, len(text), self._now()

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """Give everything that is kept, in the order of the keys.

        Raises:
            ConfigError: The file can't be read.
        """
        with self._translated_errors():
            for key, text in self._db.execute("SELECT key, entry FROM replies ORDER BY key"):
                yield key, entry_from(json.loads(text))

    def stats(self) -> CacheStats:
        """Return what the file holds.

        Raises:
            ConfigError: The file can't be read.
        """
        with self._translated_errors():
            rows = self._db.execute("SELECT model, count(*) FROM replies GROUP BY model ORDER BY model")
            models = dict(rows.fetchall())
            return CacheStats(entries=sum(models.values()), used_bytes=self._used_bytes(), models=models)

    def clear(self) -> int:
        """Forget everything and return how many replies that were.

        Raises:
            ConfigError: The file can't be written.
        """
        with self._translated_errors():
            with self._writing():
                gone = self._db.execute("DELETE FROM replies").rowcount
            self._db.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")
            return gone

    def close(self) -> None:
        """Note the latest uses and close the file."""
        try:
            if self._touched:
                with self._translated_errors(), self._writing():
                    pass
        finally:
            self._db.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction; the uses that were not noted yet go with it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            uses = [(used_at, key) for key, used_at in self._touched.items()]
            self._db.executemany("UPDATE replies SET used_at = ? WHERE key = ?", uses)
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
        self._touched.clear()

    def _make_room(self) -> None:
        if self._used_bytes() > self._max_bytes:
            goal = int(self._max_bytes * KEPT_SHARE)
            while (excess := self._used_bytes() - goal) > 0 and self._forget(excess):
                pass

    def _shrink(self) -> None:
        if self._pragma("page_count") * self._pragma("page_size") > self._max_bytes:
            # As a script: a single statement would be stopped after its first page.
            self._db.executescript(f"PRAGMA incremental_vacuum({SHRINK_PAGES})")

    def _forget(self, excess: int) -> int:
        """Remove the replies that were not used for the longest time, about so many bytes of them."""
        victims: list[tuple[int]] = []
        for rowid, size in self._db.execute("SELECT rowid, size FROM replies ORDER BY used_at"):
            victims.append((rowid,))
            excess -= size
            if excess <= 0:
                break
        self._db.executemany("DELETE FROM replies WHERE rowid = ?", victims)
        return len(victims)

    def _used_bytes(self) -> int:
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._pragma("page_size")

    def _pragma(self, name: str) -> int:
        return _pragma(self._db, name)

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        path = self._settings.path
        try:
            yield
        except sqlite3.OperationalError as error:
            raise ConfigError(f"the cache can't be used: {error}: {_hint(error)}", path=path) from error
        except (sqlite3.Error, ValueError) as error:
            what = f"this is no cache of this version, or a damaged one ({error}); nothing in it was changed"
            raise ConfigError(f"{what}: give another path, or delete the file to begin anew", path=path) from error


def _hint(error: sqlite3.Error) -> str:
    if error.sqlite_errorname in ("SQLITE_BUSY", "SQLITE_LOCKED"):
        return "another process has been writing to it for too long"
    if error.sqlite_errorname == "SQLITE_FULL":
        return "the disk is full"
    return "check that its folder exists and may be written"


def _open(settings: CacheSettings) -> sqlite3.Connection:
    path, mode = settings.path, "rw" if settings.writes else "ro"
    try:
        if settings.writes:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Replies are nobody else's business; SQLite gives its side files the same rights.
            path.touch(mode=0o600)
        elif not path.is_file():
            raise ConfigError(
                f"there is no cache here; it is made when a reply is kept (mode: {DEFAULT_MODE})", path=path
            )
    except OSError as error:
        raise ConfigError(f"the cache can't be used: {error.strerror}", path=path) from error
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    # The store is opened in one thread and used in another, never in two at once.
    db = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        _prepare(db, settings)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, settings: CacheSettings) -> None:
    ours, empty = _is_ours_or_empty(db)
    if not ours and not (empty and settings.writes):
        raise sqlite3.DatabaseError("it belongs to another program or version")
    if empty:
        _make_tables(db)
    if settings.writes:
        _use_log(db)
        db.execute("PRAGMA synchronous = NORMAL")


def _is_ours_or_empty(db: sqlite3.Connection) -> tuple[bool, bool]:
    """Whether the database is ours, and whether it is empty."""
    marks = _pragma(db, "application_id"), _pragma(db, "user_version")
    things = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return marks == (APPLICATION_ID, FORMAT), marks == (0, 0) and not things


def _make_tables(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.executescript(
        f"BEGIN IMMEDIATE; {_TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; COMMIT;"
    )


def _use_log(db: sqlite3.Connection) -> None:
    # While another process turns to the log too, SQLite says "locked" at once, without the wait that was asked for.
    give_up_at = time.monotonic() + BUSY_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL").fetchall()
            return
        except sqlite3.OperationalError:
            if time.monotonic() >= give_up_at:
                raise
            time.sleep(0.01)


def _pragma(db: sqlite3.Connection, name: str) -> int:
    value: Any = db.execute(f"PRAGMA {name}").fetchone()[0]
    return int(value)
