"""State in this process's memory: the default, and the reference that tests compare the other stores with."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from moa._state.counters import AccountState, WindowState, exchange, permits
from moa._state.store import MAX_ITEM_BYTES, Claim, PermitClaim, Permits, Share


class _StoredValue(NamedTuple):
    expires_at: float
    group: str
    value: bytes


class MemoryStore:
    """Shares state within one process.

    Args:
        now: Seconds since 1970.
        max_item_bytes: Maximum bytes of all items.
    """

    def __init__(self, now: Callable[[], float] = time.time, *, max_item_bytes: int = MAX_ITEM_BYTES) -> None:
        self._now, self._max_item_bytes = now, max_item_bytes
        self._accounts: dict[str, AccountState] = {}
        self._windows: dict[str, WindowState] = {}
        self._items: dict[str, _StoredValue] = {}
        self._groups: dict[str, OrderedDict[str, None]] = {}
        self._group_bytes: Counter[str] = Counter()
        self._item_bytes = 0

    async def exchange(self, account: str, claim: Claim) -> Share:
        """Report the spending on an account, and claim a block of the rest."""
        state = self._accounts.get(account, AccountState())
        self._accounts[account], share = exchange(state, claim, self._now())
        return share

    async def permits(self, window: str, claim: PermitClaim) -> Permits:
        """Claim permits of a rate limit for the current slot."""
        self._windows[window], granted = permits(self._windows.get(window, {}), claim, self._now())
        return granted

    async def get(self, key: str) -> bytes | None:
        """Return an item, or None if it does not exist or has expired."""
        item = self._items.get(key)
        return item.value if item is not None and item.expires_at > self._now() else None

    async def put(self, key: str, value: bytes, *, ttl_s: float, group: str = "", most: int | None = None) -> None:
        """Store an item."""
        now = self._now()
        if (old := self._items.get(key)) is not None:
            self._remove(key, old)
        self._items[key] = _StoredValue(now + ttl_s, group, value)
        members = self._groups.setdefault(group, OrderedDict())
        members[key] = None
        self._count(group, len(value))
        # Items are in the order of insertion, and those of a group have the same time to live.
        while members and (first := next(iter(members))) != key:
            if (most is None or len(members) <= most) and self._items[first].expires_at > now:
                break
            self._remove(first, self._items[first])
        while self._item_bytes > self._max_item_bytes:
            largest = max(self._group_bytes, key=self._group_bytes.__getitem__)
            oldest = next(iter(self._groups[largest]))
            self._remove(oldest, self._items[oldest])

    def _remove(self, key: str, item: _StoredValue) -> None:
        del self._items[key], self._groups[item.group][key]
        self._count(item.group, -len(item.value))
        if not self._groups[item.group]:
            del self._groups[item.group], self._group_bytes[item.group]

    def _count(self, group: str, size: int) -> None:
        self._group_bytes[group] += size
        self._item_bytes += size

    async def aclose(self) -> None:
        """Delete everything."""
        self._accounts.clear()
        self._windows.clear()
        self._items.clear()
        self._groups.clear()
        self._group_bytes.clear()
        self._item_bytes = 0
