"""The jobs on disk: which requests are in which job, and the replies that have come.

A job is written down before it is sent, and a reply before anybody gets it. So a process that is killed leaves nothing
at the service that the next one doesn't know of, and nothing that was paid for is asked for again.
"""

import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any

from moa._sqlite import connected, transaction, use_log
from moa.errors import UsageError

FORMAT = 1
"""Version of the tables."""

BUSY_S = 10.0
"""Seconds to wait for another process that writes."""

_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    token TEXT PRIMARY KEY, endpoint TEXT NOT NULL, model TEXT NOT NULL, requests INTEGER NOT NULL,
    created_at REAL NOT NULL, file_id TEXT, remote_id TEXT, cancelled INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS requests (
    endpoint TEXT NOT NULL, key TEXT NOT NULL, token TEXT, reply BLOB, PRIMARY KEY (endpoint, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS requests_by_job ON requests (token);
CREATE TABLE IF NOT EXISTS at_once (
    endpoint TEXT NOT NULL, key TEXT NOT NULL, reply TEXT NOT NULL, PRIMARY KEY (endpoint, key)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchJob:
    """A job that was sent, or is about to be.

    Attributes:
        token: Our own name for it, which the service is told, too.
        endpoint: Name of its endpoint.
        model: The model's id as its service knows it.
        requests: Number of requests.
        created_at: When it was written down, in seconds since 1970.
        file_id: The service's name of its input; None before the upload.
        remote_id: The service's name of the job; None before the service has answered.
        cancelled: Whether the user has ended it.
    """

    token: str
    endpoint: str
    model: str
    requests: int
    created_at: float
    file_id: str | None = None
    remote_id: str | None = None
    cancelled: bool = False

    @property
    def reference(self) -> str:
        """The reference of its model, for errors."""
        return f"{self.endpoint}/{self.model}"


_COLUMNS = tuple(field.name for field in fields(BatchJob))
"""Those of `jobs` are named as a job's fields; SQLite's 0 and 1 are as good as false and true."""


class JobStore:
    """The jobs and replies of one batch, in a folder of its own.

    Args:
        folder: Created if missing. It contains prompts and replies: only its owner may read it.
        shared: Whether another process may work with it at the same time: for looking and cancelling only.

    Raises:
        UsageError: The folder can't be used, or another process works with it.
    """

    def __init__(self, folder: Path, *, shared: bool = False) -> None:
        self.is_temporary = False
        self._folder = folder
        self._lock: IO[bytes] | None = None
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not shared:
                self._lock = _locked(folder)
            self._db = connected(folder / "jobs.sqlite", busy_s=BUSY_S)
            self._prepare()
            if not shared:
                self._remove_unsent_inputs()
        except (OSError, sqlite3.Error) as error:
            raise UsageError(f"{folder} can't hold batch jobs: {error}") from error

    def _prepare(self) -> None:
        use_log(self._db, busy_s=BUSY_S)
        # What is written down must survive a power failure, too: a job that is forgotten would be sent and paid twice.
        self._db.execute("PRAGMA synchronous = FULL")
        [(version,)] = self._db.execute("PRAGMA user_version").fetchall()
        if version not in (0, FORMAT):
            raise UsageError(f"{self._folder} was written by another version: remove it, or use that version")
        self._db.executescript(f"{_TABLES} PRAGMA user_version = {FORMAT};")

    def input_of(self, token: str) -> Path:
        """Return the path of a job's input file."""
        return self._folder / f"{token}.jsonl"

    def jobs(self, endpoint: str | None = None) -> list[BatchJob]:
        """Return the jobs that haven't ended, the oldest first."""
        query = f"SELECT {', '.join(_COLUMNS)} FROM jobs WHERE ?1 IS NULL OR endpoint = ?1 ORDER BY created_at"
        return [BatchJob(**dict(zip(_COLUMNS, row, strict=True))) for row in self._db.execute(query, (endpoint,))]

    def add(self, job: BatchJob, keys: Sequence[str]) -> None:
        """Write a job down, before it is sent."""
        with transaction(self._db):
            self._db.execute(
                "INSERT INTO jobs (token, endpoint, model, requests, created_at) VALUES (?, ?, ?, ?, ?)",
                (job.token, job.endpoint, job.model, job.requests, job.created_at),
            )
            self._db.executemany(
                "INSERT INTO requests (endpoint, key, token) VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET token = excluded.token, reply = NULL",
                ((job.endpoint, key, job.token) for key in keys),
            )

    def note(self, token: str, *, file_id: str | None = None, remote_id: str | None = None) -> None:
        """Write down what the service calls a job or its input."""
        self._db.execute(
            "UPDATE jobs SET file_id = coalesce(?, file_id), remote_id = coalesce(?, remote_id) WHERE token = ?",
            (file_id, remote_id, token),
        )

    def mark_cancelled(self, token: str) -> None:
        """Write down that the user has ended a job."""
        self._db.execute("UPDATE jobs SET cancelled = 1 WHERE token = ?", (token,))

    def keys(self, token: str) -> set[str]:
        """Return the keys of a job's requests that have no reply yet."""
        return {key for (key,) in self._db.execute("SELECT key FROM requests WHERE token = ?", (token,))}

    def put(self, endpoint: str, replies: Mapping[str, bytes]) -> None:
        """Write down replies, as the service sent them."""
        with transaction(self._db):
            self._db.executemany(
                "UPDATE requests SET reply = ?, token = NULL WHERE endpoint = ? AND key = ?",
                ((reply, endpoint, key) for key, reply in replies.items()),
            )

    def reply(self, endpoint: str, key: str) -> bytes | None:
        """Return the reply to a request; None if there is none yet."""
        found = self._db.execute(
            "SELECT reply FROM requests WHERE endpoint = ? AND key = ?", (endpoint, key)
        ).fetchone()
        return None if found is None else found[0]

    def forget(self, endpoint: str, key: str) -> None:
        """Forget the reply to a request: the next one that is equal gets a reply of its own."""
        self._db.execute("DELETE FROM requests WHERE endpoint = ? AND key = ? AND token IS NULL", (endpoint, key))

    def store_reply(self, endpoint: str, key: str, reply: str) -> None:
        """Write down the reply to a request that went into no job."""
        self._db.execute("INSERT OR IGNORE INTO at_once VALUES (?, ?, ?)", (endpoint, key, reply))

    def stored_reply(self, endpoint: str, key: str) -> str | None:
        """Return the reply to a request that went into no job; None if there is none."""
        found = self._db.execute("SELECT reply FROM at_once WHERE endpoint = ? AND key = ?", (endpoint, key)).fetchone()
        return None if found is None else found[0]

    def end(self, token: str) -> None:
        """Forget a job, with those of its requests that got no reply, and its input file."""
        with transaction(self._db):
            self._db.execute("DELETE FROM requests WHERE token = ?", (token,))
            self._db.execute("DELETE FROM jobs WHERE token = ?", (token,))
        self.input_of(token).unlink(missing_ok=True)

    def _remove_unsent_inputs(self) -> None:
        """Remove input files that belong to no job: their process ended while it wrote them."""
        known = {job.token for job in self.jobs()}
        for path in self._folder.glob("moa-*.jsonl"):
            if path.stem not in known:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file, and let other processes use it; remove it if it was temporary."""
        anything = "SELECT 1 FROM requests UNION ALL SELECT 1 FROM at_once LIMIT 1"
        is_unused = self.is_temporary or not self._db.execute(anything).fetchall()
        self._db.close()
        if is_unused and self._lock is not None:
            self._remove()
        if self._lock is not None:
            self._lock.close()

    def _remove(self) -> None:
        for path in (*self._folder.glob("jobs.sqlite*"), *self._folder.glob("moa-*.jsonl"), self._folder / "lock"):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # it holds what isn't ours
            self._folder.rmdir()


def new_job(token: str, endpoint: str, model: str, requests: int) -> BatchJob:
    """Return a job of now."""
    return BatchJob(token=token, endpoint=endpoint, model=model, requests=requests, created_at=time.time())


def _locked(folder: Path) -> IO[bytes]:
    file = (folder / "lock").open("ab")
    if os.name != "posix":
        return file
    import fcntl

    try:
        # The operating system gives the lock back however the process ends.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise UsageError(f"another process works with the jobs in {folder}: wait for its end, or stop it") from error
    return file


def sync(file: IO[Any]) -> None:
    """Bring a file to disk."""
    file.flush()
    os.fsync(file.fileno())
