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
class _OwnerValues:
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
        self._owners: OrderedDict[str, _OwnerValues] = OrderedDict()

    async def get(self, owner: str, key: str) -> bytes | None:
        """Return a value; None if the owner has none of this key, or not any more."""
        owned = self._owners.get(owner)
        entry = owned.values.get(key) if owned else None
        if owned is None or entry is None:
            return None
        if self._clock() - entry[0] > self._max_age_s:
            owned.remove(key)
            return None
        return entry[1]

    async def put(self, owner: str, key: str, value: bytes) -> None:
        """Keep a value, in place of what the owner had under the key; one that is larger than all bounds isn't kept."""
        now = self._clock()
        owned = self._owners.setdefault(owner, _OwnerValues())
        self._owners.move_to_end(owner)
        while len(self._owners) > self._max_owners:
            self._owners.popitem(last=False)
        owned.remove(key)
        if len(value) > self._max_bytes:
            return
        owned.values[key] = (now, value)
        owned.size += len(value)
        while owned.size > self._max_bytes or now - next(iter(owned.values.values()))[0] > self._max_age_s:
            owned.remove(next(iter(owned.values)))
