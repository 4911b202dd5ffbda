"""State in one SQLite file: for the processes of one host, and for state that has to survive a restart."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from moa._sqlite import connected, transaction, use_log
from moa._state.counters import AccountState, Holding, WindowState, exchange, permits
from moa._state.store import MAX_ITEM_BYTES, Claim, PermitClaim, Permits, Share
from moa.errors import StateUnavailable

APPLICATION_ID = 0x6D6F6173
"""SQLite application id of this kind of file: "moas"."""

FORMAT = 1
"""Version of the tables."""

BUSY_S = 2.0
"""Seconds to wait for another process that is writing; each write takes well under a millisecond."""

_TABLES = """
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS items (
    key TEXT PRIMARY KEY, whose TEXT NOT NULL, expires_at REAL NOT NULL, value BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS items_by_owner ON items (whose);
CREATE INDEX IF NOT EXISTS items_by_expiry ON items (expires_at);
CREATE TABLE IF NOT EXISTS owners (whose TEXT PRIMARY KEY, bytes INTEGER NOT NULL) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS item_stored AFTER INSERT ON items BEGIN
    INSERT INTO owners VALUES (NEW.whose, LENGTH(NEW.value))
    ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER IF NOT EXISTS item_deleted AFTER DELETE ON items BEGIN
    UPDATE owners SET bytes = bytes - LENGTH(OLD.value) WHERE whose = OLD.whose;
    DELETE FROM owners WHERE whose = OLD.whose AND bytes <= 0;
END;
INSERT INTO owners SELECT whose, SUM(LENGTH(value)) FROM items
    WHERE NOT EXISTS (SELECT 1 FROM owners) GROUP BY whose;
"""

Result = TypeVar("Result")


class SqliteStore:
    """Shares state among the processes of one host.

    Args:
        path: The file; created, with its folder, if missing. It contains conversations: only its owner may read it.
        now: Seconds since 1970.
        max_item_bytes: Maximum bytes of all items.

    Raises:
        StateUnavailable: The file can't be opened, or is another kind of file; then it is unchanged.
    """

    def __init__(
        self, path: Path, now: Callable[[], float] = time.time, *, max_item_bytes: int = MAX_ITEM_BYTES
    ) -> None:
        self._path, self._now, self._max_item_bytes = path, now, max_item_bytes
        self._thread = ThreadPoolExecutor(1, "moa-state")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._db = connected(path, busy_s=BUSY_S)
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            message = f"{path} can't hold shared state: {error}; `state` in moa.yaml or MOA_STATE names another place"
            raise StateUnavailable(message) from error

    def _prepare(self) -> None:
        [(application,)], [(version,)] = (
            self._db.execute(f"PRAGMA {name}").fetchall() for name in ("application_id", "user_version")
        )
        if (application, version) == (0, 0) and not self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
            self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._db.execute(f"PRAGMA user_version = {FORMAT}")
        elif (application, version) != (APPLICATION_ID, FORMAT):
            self._db.close()
            raise StateUnavailable(f"{self._path} is not a state file of this version: give another path")
        use_log(self._db, busy_s=BUSY_S)
        # A committed write survives the end of its process, even by SIGKILL, but not a power failure.
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(f"BEGIN IMMEDIATE;{_TABLES}COMMIT;")

    async def exchange(self, account: str, claim: Claim) -> Share:
        """Report the spending on an account, and claim a block of the rest."""

        def change() -> Share:
            with transaction(self._db):
                state, share = exchange(self._account(account), claim, self._now())
                self._set(f"account {account}", asdict(state))
                return share

        return await self._in_thread(change)

    async def permits(self, window: str, claim: PermitClaim) -> Permits:
        """Claim permits of a rate limit for the current slot."""

        def change() -> Permits:
            with transaction(self._db):
                state, granted = permits(self._window(window), claim, self._now())
                self._set(f"window {window}", state)
                return granted

        return await self._in_thread(change)

    async def get(self, key: str) -> bytes | None:
        """Return an item, or None if it does not exist or has expired."""

        def look() -> bytes | None:
            found = self._db.execute(
                "SELECT value FROM items WHERE key = ? AND expires_at > ?", (key, self._now())
            ).fetchone()
            return None if found is None else bytes(found[0])

        return await self._in_thread(look)

    async def put(self, key: str, value: bytes, *, ttl_s: float, group: str = "", most: int | None = None) -> None:
        """Store an item."""

        def change() -> None:
            now = self._now()
            with transaction(self._db):
                self._db.execute("DELETE FROM items WHERE expires_at <= ? OR key = ?", (now, key))
                self._db.execute("INSERT INTO items VALUES (?, ?, ?, ?)", (key, group, now + ttl_s, value))
                if most is not None:
                    self._db.execute(
                        "DELETE FROM items WHERE whose = ? AND rowid NOT IN "
                        "(SELECT rowid FROM items WHERE whose = ? ORDER BY rowid DESC LIMIT ?)",
                        (group, group, most),
                    )
                while self._db.execute("SELECT TOTAL(bytes) FROM owners").fetchone()[0] > self._max_item_bytes:
                    self._db.execute(
                        "DELETE FROM items WHERE rowid = (SELECT MIN(rowid) FROM items WHERE whose = "
                        "(SELECT whose FROM owners ORDER BY bytes DESC LIMIT 1))"
                    )

        await self._in_thread(change)

    async def aclose(self) -> None:
        """Close the file."""
        try:
            await self._in_thread(self._db.close)
        finally:
            self._thread.shutdown(wait=False)

    def _account(self, account: str) -> AccountState:
        state = self._state(f"account {account}") or {}
        holdings = {name: Holding(**held) for name, held in state.get("holdings", {}).items()}
        return AccountState(gone=state.get("gone", 0), holdings=holdings)

    def _window(self, window: str) -> WindowState:
        return {int(slot): by for slot, by in (self._state(f"window {window}") or {}).items()}

    def _state(self, name: str) -> dict | None:  # type: ignore[type-arg]
        found = self._db.execute("SELECT state FROM counters WHERE name = ?", (name,)).fetchone()
        return None if found is None else json.loads(found[0])

    def _set(self, name: str, state: object) -> None:
        self._db.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (name, json.dumps(state)))

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        def run() -> Result:
            with self._translated_errors():
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise StateUnavailable(f"{self._path}: {error}") from error
