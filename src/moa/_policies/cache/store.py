"""The file: one SQLite database that several processes read and write concurrently.

Its write-ahead log allows reads during a write. With `synchronous=NORMAL` a stored reply survives the end of its
process, even by SIGKILL; a power failure may lose the latest replies, but does not corrupt the file. Each row has a
checksum: an altered row counts as missing, and its call is made again. A lease tells the other processes that a call is
in progress.
"""

import hashlib
import json
import logging
import os
import socket
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from moa._policies.cache.entry import Entry, entry_from
from moa._policies.cache.settings import DEFAULT_MODE, CacheSettings
from moa._sqlite import connected, transaction, use_log
from moa._validation.file_errors import os_reason
from moa.errors import ConfigError

log = logging.getLogger(__name__)

T = TypeVar("T")

APPLICATION_ID = 0x6D6F6163
"""SQLite application id of this kind of file: "moac"."""

FORMAT = 2
"""Version of the tables; a file of version 1, which had no checksums, is converted when it is opened for writing."""

LEASE_S = 15.0
"""Seconds until a lease expires unless it is renewed: how long others wait for a machine that crashed."""

BUSY_S = 5.0
"""Seconds to wait for another process that is writing."""

MOST_TOUCHED = 256
"""Number of uses that are recorded together: otherwise every read would cause a write."""

EVICTION_TARGET = 0.99
"""Share of the maximum size to which an eviction shrinks the file, so that not every new reply causes one."""

SHRINK_PAGES = 1000
"""Number of pages that are freed at a time if the file exceeds its maximum size (because that was lowered)."""

_TABLES = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    entry TEXT NOT NULL,
    size INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    checksum BLOB
);
CREATE INDEX IF NOT EXISTS replies_by_use ON replies (used_at, size);
"""
_LEASES = "CREATE TABLE IF NOT EXISTS leases (key TEXT PRIMARY KEY, owner TEXT NOT NULL, until INTEGER NOT NULL);"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """Statistics of a cache.

    Attributes:
        entries: Number of replies.
        used_bytes: Their size, in bytes.
        models: Number of replies of each model, by reference.
    """

    entries: int
    used_bytes: int
    models: Mapping[str, int]


class Store:
    """Stored replies by key. Its methods block; only one thread at a time may use it.

    Args:
        settings: Path, maximum size and mode of the file.
        now: Nanoseconds since 1970, the same for all processes: for the order of uses and the expiry of leases.

    Raises:
        ConfigError: The file can't be opened, or is another kind of file; then it is unchanged.
    """

    def __init__(self, settings: CacheSettings, now: Callable[[], int] = time.time_ns) -> None:
        self._settings, self._now = settings, now
        self._max_bytes = settings.max_size_mb * 1_000_000
        self._touched: dict[str, int] = {}
        self._owner = f"{socket.gethostname()}/{os.getpid()}/{uuid4().hex}"
        self._damage_reported = self._is_rebuilt = False
        with self._translated_errors():
            self._db = _open(settings)

    def get(self, key: str) -> Entry | None:
        """Return the reply of a key; None also if it can't be read or was altered, which is reported once."""
        query = "SELECT entry, checksum FROM replies WHERE key = ?"
        try:
            with self._translated_errors():
                row = self._repairing(lambda: self._db.execute(query, (key,)).fetchone())
        except ConfigError as error:
            self._report_damage(str(error))
            return None
        if row is None:
            return None
        try:
            entry = _checked_entry(key, *row)
        except ValueError as error:
            self._report_damage(str(error))
            self._remove(key)
            return None
        if self._settings.writes:
            self._touch(key)
        return entry

    def _report_damage(self, what: str) -> None:
        if not self._damage_reported:
            self._damage_reported = True
            log.warning(
                "the cache %s is damaged: %s; calls with such replies are made again (further ones are not reported)",
                self._settings.path,
                what,
            )

    def _repairing(self, work: Callable[[], T]) -> T:
        """Run an operation on the file; if its pages are corrupt, rebuild it (once) and run the operation again."""
        try:
            return work()
        except sqlite3.DatabaseError as error:
            if not error.sqlite_errorname.startswith("SQLITE_CORRUPT") or self._is_rebuilt or not self._settings.writes:
                raise
            self._is_rebuilt = True
            self._report_damage(str(error))
            self._rebuild()
        return work()

    def _rebuild(self) -> None:
        """Copy every readable row to a new database, and that database over the corrupt one.

        By SQLite's backup, so that other processes with the open file see the new pages under SQLite's own locks.
        """
        with tempfile.TemporaryDirectory(dir=self._settings.path.parent) as folder:
            sound = sqlite3.connect(Path(folder) / "rebuilt.sqlite", isolation_level=None)
            try:
                _make_tables(sound)
                sound.execute("BEGIN")
                for rowid in range(1, _last_row(self._db) + 1):
                    with suppress(sqlite3.Error):
                        row = self._db.execute("SELECT * FROM replies WHERE rowid = ?", (rowid,)).fetchone()
                        if row is not None and _checksum(row[0], row[2]) == row[5]:
                            sound.execute("INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?, ?)", row)
                sound.execute("COMMIT")
                sound.backup(self._db)
            finally:
                sound.close()

    def _remove(self, key: str) -> None:
        """Delete a corrupt reply, so that a new one can be stored."""
        if self._settings.writes:
            with suppress(ConfigError), self._translated_errors(), self._writing():
                self._db.execute("DELETE FROM replies WHERE key = ?", (key,))

    def claim(self, key: str) -> bool:
        """Take the lease of a key, and return whether this process has to make the call.

        A lease that has expired, or whose process has ended, can be taken.

        Raises:
            ConfigError: The file can't be written.
        """
        with self._translated_errors():
            held = self._db.execute("SELECT owner, until FROM leases WHERE key = ?", (key,)).fetchone()
            if held is not None and held[0] != self._owner and held[1] > self._now() and not _has_ended(held[0]):
                return False
            with self._writing():
                # Only over the lease that was read: another process may have been faster.
                changed = self._db.execute(
                    "INSERT INTO leases VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE "
                    "SET owner = excluded.owner, until = excluded.until WHERE (owner, until) = (?, ?)",
                    (key, self._owner, self._now() + int(LEASE_S * 1e9), *(held or (None, None))),
                )
                return changed.rowcount > 0

    def renew_leases(self) -> None:
        """Renew all leases of this process for another `LEASE_S` seconds.

        Raises:
            ConfigError: The file can't be written.
        """
        with self._translated_errors(), self._writing():
            until = self._now() + int(LEASE_S * 1e9)
            self._db.execute("UPDATE leases SET until = ? WHERE owner = ?", (until, self._owner))

    def release(self, key: str) -> None:
        """Release a lease.

        Raises:
            ConfigError: The file can't be written; the lease then expires.
        """
        with self._translated_errors(), self._writing():
            self._db.execute("DELETE FROM leases WHERE key = ? AND owner = ?", (key, self._owner))

    def _touch(self, key: str) -> None:
        self._touched[key] = self._now()
        if len(self._touched) >= MOST_TOUCHED:
            # A use that can't be recorded now is recorded later: a read must not fail because of it.
            with suppress(sqlite3.Error), self._writing():
                pass

    def put(self, entries: Iterable[tuple[str, Entry]], *, replace: bool = False) -> int:
        """Store replies, all or none; after the return they survive the end of this process.

        Args:
            entries: Keys and replies. A reply that alone exceeds the maximum size is not stored.
            replace: Whether they replace existing replies.

        Returns:
            Number of stored replies.

        Raises:
            ConfigError: The file can't be written.
        """
        how = "REPLACE" if replace else "IGNORE"
        statement = f"INSERT OR {how} INTO replies VALUES (?, ?, ?, ?, ?, ?)"

        def write() -> int:
            with self._writing():
                before = self._db.total_changes
                self._db.executemany(statement, self._rows(entries))
                stored = self._db.total_changes - before
                self._make_room()
            self._shrink()
            return stored

        with self._translated_errors():
            return self._repairing(write)

    def _rows(self, entries: Iterable[tuple[str, Entry]]) -> Iterator[tuple[str, str, str, int, int, bytes]]:
        for key, entry in entries:
            text = json.dumps(entry.as_dict(), separators=(",", ":"))
            if len(text) < self._max_bytes * EVICTION_TARGET:
                yield key, entry.model, text, len(text), self._now(), _checksum(key, text)

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """Yield all intact replies in the order of the keys; corruption is reported once.

        Raises:
            ConfigError: The file can't be read.
        """
        with self._translated_errors():
            query = "SELECT key, entry, checksum FROM replies ORDER BY key"
            for key, text, checksum in self._db.execute(query):
                try:
                    entry = _checked_entry(key, text, checksum)
                except ValueError as error:
                    self._report_damage(str(error))
                else:
                    yield key, entry

    def stats(self) -> CacheStats:
        """Return the statistics of the file.

        Raises:
            ConfigError: The file can't be read.
        """
        with self._translated_errors():
            rows = self._db.execute("SELECT model, count(*) FROM replies GROUP BY model ORDER BY model")
            models = dict(rows.fetchall())
            return CacheStats(entries=sum(models.values()), used_bytes=self._used_bytes(), models=models)

    def cost_usd(self) -> float:
        """Return the total original cost of all replies, in US dollars, without those of unknown price.

        Raises:
            ConfigError: The file can't be read.
        """
        with self._translated_errors():
            query = "SELECT total(json_extract(entry, '$.cost_usd')) FROM replies"
            return float(self._db.execute(query).fetchone()[0])

    def clear(self) -> int:
        """Delete all replies and return their number.

        Raises:
            ConfigError: The file can't be written.
        """
        with self._translated_errors():
            with self._writing():
                gone = self._db.execute("DELETE FROM replies").rowcount
            self._db.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")
            return gone

    def close(self) -> None:
        """Record the latest uses, release all leases and close the file."""
        try:
            if self._settings.writes:
                with self._translated_errors(), self._writing():
                    self._db.execute("DELETE FROM leases WHERE owner = ?", (self._owner,))
        finally:
            self._db.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Open a transaction, which also records the pending uses."""
        with transaction(self._db):
            uses = [(used_at, key) for key, used_at in self._touched.items()]
            self._db.executemany("UPDATE replies SET used_at = ? WHERE key = ?", uses)
            yield
        self._touched.clear()

    def _make_room(self) -> None:
        if self._used_bytes() > self._max_bytes:
            goal = int(self._max_bytes * EVICTION_TARGET)
            while (excess := self._used_bytes() - goal) > 0 and self._forget(excess):
                pass

    def _shrink(self) -> None:
        if _pragma(self._db, "page_count") * _pragma(self._db, "page_size") > self._max_bytes:
            # As a script: as a single statement it would stop after the first page.
            self._db.executescript(f"PRAGMA incremental_vacuum({SHRINK_PAGES})")

    def _forget(self, excess: int) -> int:
        """Delete the least recently used replies, about the given number of bytes."""
        victims: list[tuple[int]] = []
        for rowid, size in self._db.execute("SELECT rowid, size FROM replies ORDER BY used_at"):
            victims.append((rowid,))
            excess -= size
            if excess <= 0:
                break
        self._db.executemany("DELETE FROM replies WHERE rowid = ?", victims)
        return len(victims)

    def _used_bytes(self) -> int:
        return (_pragma(self._db, "page_count") - _pragma(self._db, "freelist_count")) * _pragma(self._db, "page_size")

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        path = self._settings.path
        try:
            yield
        except sqlite3.OperationalError as error:
            raise ConfigError(f"the cache can't be used: {error}: {_hint(error)}", path=path) from error
        except (sqlite3.Error, ValueError) as error:
            what = f"this is not a cache of this version, or it is damaged ({error}); nothing in it was changed"
            raise ConfigError(f"{what}: give another path, or delete the file to start again", path=path) from error


def _last_row(db: sqlite3.Connection) -> int:
    """Return the largest row id that can be read from a corrupt file, from its table or else from an index."""
    for place in ("", " INDEXED BY replies_by_use WHERE used_at >= 0"):
        with suppress(sqlite3.DatabaseError):
            return db.execute(f"SELECT max(rowid) FROM replies{place}").fetchone()[0] or 0
    return 0


def _has_ended(owner: str) -> bool:
    """Whether the holder of a lease was a process of this machine that has ended."""
    host, _, rest = owner.partition("/")
    pid = rest.partition("/")[0]
    if os.name != "posix" or host != socket.gethostname() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def _checksum(key: object, text: object) -> bytes:
    return hashlib.blake2b(f"{key}\0{text}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _checked_entry(key: object, text: str, checksum: object) -> Entry:
    """Return the entry of a row.

    Raises:
        ValueError: It was altered.
    """
    if _checksum(key, text) != checksum:
        raise ValueError("a stored reply differs from its checksum")
    return entry_from(json.loads(text))


def _hint(error: sqlite3.Error) -> str:
    if error.sqlite_errorname in ("SQLITE_BUSY", "SQLITE_LOCKED"):
        return "another process has been writing to it for too long"
    if error.sqlite_errorname == "SQLITE_FULL":
        return "the disk is full"
    return "check that its folder exists and may be written"


def _open(settings: CacheSettings) -> sqlite3.Connection:
    path = settings.path
    try:
        if settings.writes:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Replies are private; SQLite gives its auxiliary files the same permissions.
            path.touch(mode=0o600)
        elif not path.is_file():
            raise ConfigError(
                f"there is no cache here; it is created with the first reply (mode: {DEFAULT_MODE})",
                path=path,
            )
    except OSError as error:
        raise ConfigError(f"the cache can't be used: {os_reason(error)}", path=path) from error
    db = connected(path, busy_s=BUSY_S, mode="rw" if settings.writes else "ro")
    # Text that is no longer UTF-8 differs from its checksum, like any corruption.
    db.text_factory = lambda raw: raw.decode("utf-8", "replace")
    try:
        _prepare(db, settings)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, settings: CacheSettings) -> None:
    found, empty = _format_of(db)
    if empty and settings.writes:
        _make_tables(db)
    elif found == FORMAT - 1 and settings.writes:
        _convert(db)
    elif found == FORMAT - 1:
        what = "an earlier version wrote this cache, without checksums, and it can't be converted while it is only read"
        raise ConfigError(f"{what}: use it once with mode: read_write", path=settings.path)
    elif found != FORMAT:
        raise sqlite3.DatabaseError("it belongs to another program or version")
    if settings.writes:
        use_log(db, busy_s=BUSY_S)
        db.execute("PRAGMA synchronous = NORMAL")


def _format_of(db: sqlite3.Connection) -> tuple[int | None, bool]:
    """Return the version of a cache's tables (None: not a cache), and whether the database is empty."""
    # In one transaction: another process may be creating the tables.
    with transaction(db, "BEGIN"):
        mark, version = _pragma(db, "application_id"), _pragma(db, "user_version")
        things = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return version if mark == APPLICATION_ID else None, (mark, version) == (0, 0) and not things


def _convert(db: sqlite3.Connection) -> None:
    """Add checksums to the rows of version 1."""
    db.create_function("checksum_of", 2, _checksum, deterministic=True)
    with transaction(db):
        if _pragma(db, "user_version") == FORMAT:  # another process was faster
            return
        db.execute("ALTER TABLE replies ADD COLUMN checksum BLOB")
        db.execute("UPDATE replies SET checksum = checksum_of(key, entry)")
        db.execute(_LEASES)
        db.execute(f"PRAGMA user_version = {FORMAT}")


def _make_tables(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.executescript(
        f"BEGIN IMMEDIATE; {_TABLES} {_LEASES} "
        f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; COMMIT;"
    )


def _pragma(db: sqlite3.Connection, name: str) -> int:
    value: Any = db.execute(f"PRAGMA {name}").fetchone()[0]
    return int(value)
