"""The cells of one evaluation: answers, scores and what was spent, in one SQLite file that survives being killed.

A cell is there, whole, or it isn't. Every row carries a checksum, so that a row which was damaged on the disk is found
out, named, and filled again: the replies that it was made from are in the engine's cache beside it.
"""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from moa._sqlite import connected, transaction, use_log
from moa.errors import EvaluationDataError
from moa.evaluation._data.datasets import Instruction
from moa.providers._lenient_json import loads

T = TypeVar("T")

BUSY_S = 5.0
"""Seconds to wait for another process that is writing."""

_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    system TEXT, prompt TEXT, body BLOB NOT NULL, digest BLOB NOT NULL, trace BLOB NOT NULL,
    PRIMARY KEY (system, prompt)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS scores (
    measure TEXT, prompt TEXT, outputs TEXT, body BLOB NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (measure, prompt, outputs)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS prompts (
    place INTEGER PRIMARY KEY, key TEXT NOT NULL, text TEXT NOT NULL, category TEXT, reference TEXT, dataset TEXT,
    row TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS spent (kept_usd REAL NOT NULL, lost_usd REAL NOT NULL, unpriced INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paid:
    """What one cell has cost in this session, in US dollars.

    Attributes:
        cached_usd: Of replies that are in the cache: they aren't bought again.
        lost_usd: Of calls that brought no whole reply, by estimate where nothing was reported.
        unpriced: Whether the price of a call is unknown.
    """

    cached_usd: float = 0.0
    lost_usd: float = 0.0
    unpriced: bool = False


def outputs_key(*outputs: str) -> str:
    """Return what tells the outputs that a score is about from others."""
    return blake2b(_bytes(repr(outputs)), digest_size=16).hexdigest()


def keys_beside(output: str) -> Callable[[str], str]:
    """Return the `outputs_key` of an output and another one as a function of the other: half the work for many."""
    begun = blake2b(_bytes(f"({output!r}, "), digest_size=16)

    def key(other: str) -> str:
        found = begun.copy()
        found.update(_bytes(f"{other!r})"))
        return found.hexdigest()

    return key


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def row_text(instruction: Instruction) -> str:
    """Return what a prompt's row has for measures, as JSON: a score is about that, too."""
    return json.dumps(instruction.row, sort_keys=True, default=str)


class CellStore:
    """Answers by system and prompt, scores by measure, prompt and outputs. Every write is durable when it comes back.

    Args:
        path: The file; made if it isn't there.
        read_only: Nothing is written; for reports.

    Raises:
        EvaluationDataError: The file can't be opened.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path, self._read_only = path, read_only
        self.damaged: list[str] = []
        self._thread = ThreadPoolExecutor(1, "moa-cells")
        with self._translated_errors():
            self._db = connected(path, busy_s=BUSY_S, mode="ro" if read_only else "rwc")
            if not read_only:
                use_log(self._db, busy_s=BUSY_S)
                self._db.executescript(f"PRAGMA synchronous = NORMAL; {_TABLES}")
            # Writes are made in a thread of their own: what is read meanwhile goes through another connection.
            self._reading = self._db if read_only else connected(path, busy_s=BUSY_S, mode="ro")

    def write_prompts(self, prompts: Iterable[Instruction]) -> None:
        """Keep the prompts of this session, in their order, in place of those of the last one."""
        with self._translated_errors(), transaction(self._db):
            self._db.execute("DELETE FROM prompts")
            rows = (
                (one.index, one.key, one.text, one.category, one.reference, one.dataset, row_text(one))
                for one in prompts
            )
            self._db.executemany("INSERT OR REPLACE INTO prompts VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def prompts(self) -> tuple[Instruction, ...]:
        """Return the prompts of the last session in their order, as texts."""
        with self._translated_errors():
            rows = self._db.execute("SELECT * FROM prompts ORDER BY place").fetchall()
        return tuple(
            Instruction(
                index=place,
                prompt=text,
                category=category,
                reference=reference,
                dataset=dataset,
                known_key=key,
                row=json.loads(row),
            )
            for place, key, text, category, reference, dataset, row in rows
        )

    def answers(
        self, systems: Sequence[str], prompt: str | None = None
    ) -> Iterator[tuple[str, str, dict[str, Any], bytes]]:
        """Give the answers of some systems, to one prompt or all; damaged ones are left out and named.

        Yields:
            The system, the key of the prompt, the answer, and how it came about as JSON.
        """
        query = f"SELECT system, prompt, body, digest, trace FROM answers WHERE system IN ({_marks(systems)})"
        one = () if prompt is None else (prompt,)
        rows = self._rows(f"{query} AND prompt = ?" if one else query, *systems, *one)
        for system, key, body, digest, trace in rows:
            answer = self._whole(body, digest, trace, f"answer of {system} on prompt {key}")
            if answer is not None:
                yield system, key, answer, trace

    def scores(self, measure: str, *keys: str) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
        """Give the scores by one measure, each with the keys of prompt and outputs; as in `answers`.

        Args:
            measure: Its name.
            keys: Of the prompt, and of the outputs, if those of all are not wanted.
        """
        wanted = "".join(f" AND {column} = ?" for column, _ in zip(("prompt", "outputs"), keys, strict=False))
        query = f"SELECT prompt, outputs, body, digest FROM scores WHERE measure = ?{wanted}"
        for *key, body, digest in self._rows(query, measure, *keys):
            found = self._whole(body, digest, b"", f"score by {measure} on prompt {tuple(key)}")
            if found is not None:
                yield (key[0], key[1]), found

    def _rows(self, query: str, *values: str) -> Iterator[Any]:
        with self._translated_errors():
            yield from self._reading.execute(query, values)

    def _whole(self, body: bytes, digest: bytes, rest: bytes, what: str) -> dict[str, Any] | None:
        if _digest(body + rest) == digest:
            found: dict[str, Any] = loads(body)
            return found
        if what not in self.damaged:
            self.damaged.append(what)
        return None

    async def put_answer(
        self, system: str, prompt: str, body: Mapping[str, Any], trace: Mapping[str, Any], paid: Paid
    ) -> None:
        """Keep an answer, how it came about, and what it has cost; errors as in `CellStore`."""
        raw, how = (json.dumps(one).encode("ascii") for one in (body, trace))
        row = (system, prompt, raw, _digest(raw + how), how)
        await self._write("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", row, paid)

    async def put_score(self, measure: str, key: tuple[str, str], body: Mapping[str, Any], paid: Paid) -> None:
        """Keep a score, and what it has cost; errors as in `CellStore`."""
        raw = json.dumps(body).encode("ascii")
        row = (measure, *key, raw, _digest(raw))
        await self._write("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?)", row, paid)

    async def put_spent(self, paid: Paid) -> None:
        """Keep what was paid for something that has become no cell."""
        await self._write(None, (), paid)

    async def _write(self, statement: str | None, row: tuple[Any, ...], paid: Paid) -> None:
        def write() -> None:
            with self._translated_errors(), transaction(self._db):
                if statement is not None:
                    self._db.execute(statement, row)
                if paid != Paid():
                    values = (paid.cached_usd, paid.lost_usd, paid.unpriced)
                    self._db.execute("INSERT INTO spent VALUES (?, ?, ?)", values)

        await self.in_thread(write)

    async def in_thread(self, job: Callable[[], T]) -> T:
        """Return what a job comes to that uses the file, in the file's own thread."""
        # Shielded: a write about something that was paid for ends even if nobody waits for it any more.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, job))

    def spent(self) -> Paid:
        """Return what all cells have cost so far."""
        with self._translated_errors():
            query = "SELECT total(kept_usd), total(lost_usd), max(unpriced) FROM spent"
            cached_total, lost, unpriced = self._db.execute(query).fetchone()
        return Paid(cached_usd=cached_total, lost_usd=lost, unpriced=bool(unpriced))

    def close(self) -> None:
        """Write what is under way and close the file, which is all that is left, unless somebody else reads it."""
        self._thread.shutdown()
        self._reading.close()
        if not self._read_only:
            # Else a report, which may not write, would leave `-wal` and `-shm` files behind.
            with suppress(sqlite3.Error):
                self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.close()

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError) as error:
            raise EvaluationDataError(
                f"can't be used: {error}. The replies that were bought are in replies.sqlite beside it: if this file "
                f"is damaged, move it away, and the same command makes it again from them",
                path=self._path,
            ) from error


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=8).digest()
