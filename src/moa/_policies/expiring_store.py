"""Values that are kept for some minutes, each owner's within bounds of their own.

The interface is asynchronous so that a store which processes or hosts share can take the place of the one in memory.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol


class ExpiringStore(Protocol):
    """Keeps values by owner and key for a while; may forget any of them at any time."""

    async def get(self, owner: str, key: str) -> bytes | None:
        """Return a value; None if the owner has none of this key, or not any more."""
        ...

    async def put(self, owner: str, key: str, value: bytes) -> None:
        """Keep a value, in place of what the owner had under the key."""
        ...


@dataclass(slots=True)
class _Shelf:
    """What one owner has: values with the time at which they were put, oldest first."""

    values: OrderedDict[str, tuple[float, bytes]] = field(default_factory=OrderedDict)
    size: int = 0

    def remove(self, key: str) -> None:
        if (entry := self.values.pop(key, None)) is not None:
            self.size -= len(entry[1])


class MemoryStore:
    """An ExpiringStore in this process's memory; an owner's oldest values make room for new ones.

    Args:
        max_bytes: Most bytes of one owner's values.
        max_age_s: Seconds after which a value is forgotten.
        max_owners: Most owners; the one that put nothing for the longest time makes room.
        clock: The time, in seconds.
    """

    def __init__(
        self,
        *,
        max_bytes: int = 32_000_000,
        max_age_s: float = 1800.0,
        max_owners: int = 100,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_bytes, self._max_age_s, self._max_owners, self._clock = max_bytes, max_age_s, max_owners, clock
        self._owners: OrderedDict[str, _Shelf] = OrderedDict()

    async def get(self, owner: str, key: str) -> bytes | None:
        """Return a value; None if the owner has none of this key, or not any more."""
        shelf = self._owners.get(owner)
        entry = shelf.values.get(key) if shelf else None
        if shelf is None or entry is None:
            return None
        if self._clock() - entry[0] > self._max_age_s:
            shelf.remove(key)
            return None
        return entry[1]

    async def put(self, owner: str, key: str, value: bytes) -> None:
        """Keep a value, in place of what the owner had under the key; one that is larger than all bounds isn't kept."""
        now = self._clock()
        shelf = self._owners.setdefault(owner, _Shelf())
        self._owners.move_to_end(owner)
        while len(self._owners) > self._max_owners:
            self._owners.popitem(last=False)
        shelf.remove(key)
        if len(value) > self._max_bytes:
            return
        shelf.values[key] = (now, value)
        shelf.size += len(value)
        while shelf.size > self._max_bytes or now - next(iter(shelf.values.values()))[0] > self._max_age_s:
            shelf.remove(next(iter(shelf.values)))
