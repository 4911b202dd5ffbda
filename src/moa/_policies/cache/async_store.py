"""Access to the store from an event loop, in a separate thread, so that the loop never blocks on the disk."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from weakref import WeakValueDictionary

from moa._policies.cache.entry import Entry
from moa._policies.cache.settings import CacheSettings
from moa._policies.cache.store import LEASE_S, Store
from moa.errors import ConfigError

log = logging.getLogger(__name__)

LEASE_WAIT_S = 120.0
"""Maximum wait for another process that makes the same call, in seconds; then this process makes it too."""

FIRST_LOOK_S, LAST_LOOK_S = 0.02, 0.5
"""First and longest interval between checks for another process's reply, in seconds; it grows by half each time."""


class AsyncStore:
    """Stored replies, for all models of one engine.

    Args:
        settings: The file, and how it is used.

    Raises:
        ConfigError: The file can't be used.
    """

    def __init__(self, settings: CacheSettings) -> None:
        self._settings = settings
        self._store = Store(settings)
        self._thread = ThreadPoolExecutor(1, "moa-cache")
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._leased: set[str] = set()
        self._renewal: asyncio.TimerHandle | None = None
        self._write_failed = self._is_closed = False

    @asynccontextmanager
    async def single_flight(self, key: str) -> AsyncIterator[None]:
        """Allow one call at a time for a key; concurrent callers with the same key get its reply afterwards.

        Within this process by a lock; among processes by a lease, which `find` takes and the end of the turn releases.
        """
        if self._settings.mode != "read_write":
            yield
            return
        lock = self._locks.get(key) or self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            try:
                yield
            finally:
                if key in self._leased:
                    self._leased.discard(key)
                    # Not awaited: the turn may end by cancellation, and a lease expires anyway.
                    self._submit(self._store.release, key)

    async def get(self, key: str) -> Entry | None:
        """Return the reply stored under a key, if the mode uses stored replies.

        None means that the call has to be made: within a turn, by this process alone. While another process makes it,
        this waits for its reply, for at most `LEASE_WAIT_S`.
        """
        if not self._settings.reads:
            return None
        loop = asyncio.get_running_loop()
        if self._settings.mode != "read_write":
            return await loop.run_in_executor(self._thread, self._store.get, key)
        give_up_at, pause_s = loop.time() + LEASE_WAIT_S, FIRST_LOOK_S
        while True:
            try:
                entry, claimed = await loop.run_in_executor(self._thread, self._get_or_claim, key)
            except asyncio.CancelledError:
                self._submit(self._store.release, key)
                raise
            if claimed:
                self._leased.add(key)
                if self._renewal is None:
                    self._renewal = loop.call_later(LEASE_S / 3, self._renew)
            if entry is not None or claimed or loop.time() >= give_up_at:
                return entry
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, LAST_LOOK_S)

    def _get_or_claim(self, key: str) -> tuple[Entry | None, bool]:
        entry = self._store.get(key)
        if entry is not None:
            return entry, False
        try:
            claimed = self._store.claim(key)
        except ConfigError as error:
            self._report_write_failure(error)
            return None, True
        # Another process may have stored it and released its lease since the first check.
        return (self._store.get(key), True) if claimed else (None, False)

    def _renew(self) -> None:
        self._renewal = None
        if self._leased:
            self._submit(self._store.renew_leases)
            self._renewal = asyncio.get_running_loop().call_later(LEASE_S / 3, self._renew)

    def _submit(self, work: Callable[..., None], *arguments: str) -> None:
        """Run a function in the thread without awaiting it; it may fail, as leases expire anyway."""

        def unfailing() -> None:
            with suppress(ConfigError):
                work(*arguments)

        if not self._is_closed:
            self._thread.submit(unfailing)

    async def put(self, key: str, make: Callable[[], Entry]) -> None:
        """Store a reply, if the mode stores replies.

        A file that can't be written causes one warning in the log and no error: the reply was paid for and is returned.

        Args:
            key: Its key.
            make: Makes the entry; called in the store's thread, as the first access to the price table is slow.
        """
        if self._settings.writes:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._put, key, make)

    def _put(self, key: str, make: Callable[[], Entry]) -> None:
        try:
            self._store.put([(key, make())], replace=self._settings.mode == "refresh")
        except ConfigError as error:
            self._report_write_failure(error)

    def _report_write_failure(self, error: ConfigError) -> None:
        if not self._write_failed:
            self._write_failed = True
            log.warning("replies are not stored (further failures are not reported): %s", error)

    async def aclose(self) -> None:
        """Close the file."""
        self._is_closed = True
        if self._renewal is not None:
            self._renewal.cancel()
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._store.close)
        finally:
            self._thread.shutdown(wait=False)
