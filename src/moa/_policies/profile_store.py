"""What services refuse and how fast they are, by endpoint and model, in a small file that processes share."""

import logging
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moa._policies.call_statistics import MEASURES, CallStatistics
from moa.errors import Rejection

log = logging.getLogger(__name__)

GOOD_FOR_S = 7 * 24 * 3600.0
"""Seconds after which one call tries again whether the service still refuses what was learnt."""

EARLIER_CALLS = 50.0
"""Calls by which what was measured before counts, beside what is measured now: services change."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS refused (
    endpoint TEXT, model TEXT, part TEXT, beside TEXT, learnt_at REAL, message TEXT,
    PRIMARY KEY (endpoint, model, part, beside)
);
CREATE TABLE IF NOT EXISTS taken (endpoint TEXT, model TEXT, parts TEXT, PRIMARY KEY (endpoint, model, parts));
CREATE TABLE IF NOT EXISTS measured (
    endpoint TEXT, model TEXT, kind TEXT,
    calls REAL, input_tokens REAL, cached_input_tokens REAL, output_tokens REAL, reasoning_tokens REAL, seconds REAL,
    PRIMARY KEY (endpoint, model, kind)
);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """One part that a service refuses for a model.

    Attributes:
        endpoint: The endpoint's name and address.
        model: The model's id there.
        rejection: The part.
        learnt_at: Seconds since 1970 at which a request without the part was taken.
        message: The service's own words.
    """

    endpoint: str
    model: str
    rejection: Rejection
    learnt_at: float
    message: str


class ProfileStore:
    """Lessons and requests that were taken, of all endpoints.

    A file that can't be read or written is no reason to fail a call: then only this process remembers.

    Args:
        path: The SQLite file, made when the first thing is remembered; None remembers in memory only.
        now: The time of day in seconds since 1970.
    """

    def __init__(self, path: Path | None = None, now: Callable[[], float] = time.time) -> None:
        self.now = now
        self._path = path

    def lessons(self) -> tuple[Lesson, ...]:
        """Return everything that was learnt, by endpoint, model and part."""
        rows = self._execute("SELECT * FROM refused ORDER BY endpoint, model, part", read=True)
        return tuple(
            Lesson(
                endpoint=endpoint,
                model=model,
                rejection=Rejection(part, beside or None),
                learnt_at=learnt_at,
                message=message,
            )
            for endpoint, model, part, beside, learnt_at, message in rows
        )

    def taken(self, endpoint: str, model: str) -> set[frozenset[str]]:
        """Return the requests that the model's service has taken, as the names of their parts."""
        query = "SELECT parts FROM taken WHERE endpoint = ? AND model = ?"
        return {frozenset(parts.split(",")) - {""} for (parts,) in self._execute(query, endpoint, model, read=True)}

    def note_taken(self, endpoint: str, model: str, parts: frozenset[str]) -> None:
        """Remember that a request of these parts was taken."""
        self._execute("INSERT OR IGNORE INTO taken VALUES (?, ?, ?)", endpoint, model, ",".join(sorted(parts)))

    def learn(self, lesson: Lesson) -> None:
        """Remember a lesson; requests that were taken before may no longer be."""
        part, beside = lesson.rejection.part, lesson.rejection.beside or ""
        row = (lesson.endpoint, lesson.model, part, beside, lesson.learnt_at, lesson.message)
        self._execute("INSERT OR REPLACE INTO refused VALUES (?, ?, ?, ?, ?, ?)", *row)
        self._execute("DELETE FROM taken WHERE endpoint = ? AND model = ?", lesson.endpoint, lesson.model)

    def unlearn(self, endpoint: str, model: str, rejection: Rejection) -> None:
        """Forget a lesson that no longer holds."""
        query = "DELETE FROM refused WHERE endpoint = ? AND model = ? AND part = ? AND beside = ?"
        self._execute(query, endpoint, model, rejection.part, rejection.beside or "")

    def statistics(self) -> dict[tuple[str, str, str], CallStatistics]:
        """Return what was measured of replies, by endpoint, model and kind of call."""
        rows = self._execute("SELECT * FROM measured", read=True)
        return {
            (endpoint, model, kind): CallStatistics(**dict(zip(MEASURES, sums, strict=True)))
            for endpoint, model, kind, *sums in rows
        }

    def add_statistics(self, measured: Mapping[tuple[str, str, str], CallStatistics]) -> None:
        """Add what was measured; of what was measured before, as much as `EARLIER_CALLS` calls goes on counting."""
        weight = f"MIN(1.0, {EARLIER_CALLS} / measured.calls)"
        sums = ", ".join(f"{column} = excluded.{column} + {weight} * measured.{column}" for column in MEASURES)
        marks = ", ".join("?" * len(MEASURES))
        query = f"INSERT INTO measured VALUES (?, ?, ?, {marks}) ON CONFLICT DO UPDATE SET {sums}"
        for key, each in measured.items():
            self._execute(query, *key, *(getattr(each, column) for column in MEASURES))

    def forget(self) -> int:
        """Forget everything, and return how many lessons there were."""
        count = len(self.lessons())
        for table in ("refused", "taken"):
            self._execute(f"DELETE FROM {table}", read=True)
        return count

    def _execute(self, query: str, *values: Any, read: bool = False) -> list[Any]:
        """Run one statement; nothing is made where there is no file yet and none is needed."""
        # Opened for each use: there are few, and processes start and end.
        if self._path is None or (read and not self._path.exists()):
            return []
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=2.0, isolation_level=None)) as file:
                file.execute("PRAGMA synchronous = OFF")  # a lesson that a power cut takes away is learnt again
                file.executescript(_SCHEMA)
                return file.execute(query, values).fetchall()
        except (sqlite3.Error, OSError) as error:
            log.debug("what services refuse can't be kept in %s: %s", self._path, error)
            return []
