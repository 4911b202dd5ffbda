"""State in this process's memory: the default, and the model that the other stores are compared with."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from moa._state.counters import AccountState, WindowState, exchange, permits
from moa._state.store import Claim, PermitClaim, Permits, Share


class _StoredValue(NamedTuple):
    expires_at: float
    group: str
    value: bytes


class MemoryStore:
    """Shares state among the parts of one process.

    Args:
        now: Seconds since 1970.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._accounts: dict[str, AccountState] = {}
        self._windows: dict[str, WindowState] = {}
        self._items: dict[str, _StoredValue] = {}
        self._groups: dict[str, OrderedDict[str, None]] = {}

    async def exchange(self, account: str, claim: Claim) -> Share:
        """Tell what was spent of an account, and take a block of what is left."""
        state = self._accounts.get(account, AccountState())
        self._accounts[account], share = exchange(state, claim, self._now())
        return share

    async def permits(self, window: str, claim: PermitClaim) -> Permits:
        """Take permits of a rate limit for the slot that runs."""
        self._windows[window], granted = permits(self._windows.get(window, {}), claim, self._now())
        return granted

    async def get(self, key: str) -> bytes | None:
        """Return an item, None if there is none or it has expired."""
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
        # The oldest come first, and the items of a group live equally long.
        while members and (first := next(iter(members))) != key:
            if (most is None or len(members) <= most) and self._items[first].expires_at > now:
                break
            self._remove(first, self._items[first])

    def _remove(self, key: str, item: _StoredValue) -> None:
        del self._items[key], self._groups[item.group][key]
        if not self._groups[item.group]:
            del self._groups[item.group]

    async def aclose(self) -> None:
        """Forget everything."""
        self._accounts.clear()
        self._windows.clear()
        self._items.clear()
        self._groups.clear()
