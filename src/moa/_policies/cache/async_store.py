"""The store as an event loop uses it: in a thread of its own, so that nobody waits for a disk."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from moa._policies.cache.entry import Entry
from moa._policies.cache.settings import CacheSettings
from moa._policies.cache.store import Store
from moa.errors import ConfigError

log = logging.getLogger(__name__)


class AsyncStore:
    """Kept replies, for all models of one engine.

    Args:
        settings: Which file, and how it is used.

    Raises:
        ConfigError: The file can't be used.
    """

    def __init__(self, settings: CacheSettings) -> None:
        self._settings = settings
        self._store = Store(settings)
        self._thread = ThreadPoolExecutor(1, "moa-cache")
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """Let one call at a time be under way for a key: whoever asks the same meanwhile gets its reply afterwards."""
        if self._settings.mode != "read_write":
            yield
            return
        lock = self._turns.get(key) or self._turns.setdefault(key, asyncio.Lock())
        async with lock:
            yield

    async def find(self, key: str) -> Entry | None:
        """Return what is kept under a key, if replies that are kept are used at all.

        Raises:
            ConfigError: The file can't be read.
        """
        if not self._settings.reads:
            return None
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._store.get, key)

    async def keep(self, key: str, make: Callable[[], Entry]) -> None:
        """Keep a reply, if replies that were bought are kept at all.

        A file that can't be written makes a warning in the log and no error: the reply is there and was paid for.

        Args:
            key: Its key.
            make: Makes the entry; called in the store's thread, as a first look at the table of prices takes a while.
        """
        if self._settings.writes:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._keep, key, make)

    def _keep(self, key: str, make: Callable[[], Entry]) -> None:
        try:
            self._store.put([(key, make())], replace=self._settings.mode == "refresh")
        except ConfigError as error:
            log.warning("a reply was not kept: %s", error)

    async def aclose(self) -> None:
        """Close the file."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._store.close)
        finally:
            self._thread.shutdown(wait=False)
