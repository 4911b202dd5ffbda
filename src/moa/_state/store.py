"""The interface of shared state. Three stores have it: memory, one SQLite file, and Redis or Valkey.

Amounts are whole numbers in the account's own unit (budgets: billionths of a US dollar), so that every store adds them
exactly. Every operation is atomic, and idempotent: it tells absolute totals, so that one whose answer was lost can be
sent again. Times are the store's own clock: hosts need not agree on theirs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

SLOT_S = 5.0
"""Seconds for which permits of a rate limit are handed out; they can't be kept for longer."""

SLOTS_PER_MINUTE = 13
"""Slots of which any minute overlaps at most so many: the limit holds for their sum, hence in any minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a holder tells of an account, and what it wants of it.

    Attributes:
        holder: Who asks: one process for one account, under a new name after its lease was lost.
        limit: All that may be spent.
        spent: What this holder has spent in all.
        reserved: What it has reserved for calls under way.
        headroom: How much more it may reserve before it asks again; counted as spent if it dies meanwhile.
        block: How much beyond `spent` it would like to hold.
        least: How much of that is of use to it. Where there is less, it keeps only what it has reserved: two holders
            that each keep too little for their next call would wait for each other for ever.
        ttl_s: Seconds after which it is taken for dead if it isn't heard of.
        renews: Whether it holds something already; then an unknown holder has lost its lease.
    """

    holder: str
    limit: int
    spent: int
    reserved: int
    headroom: int
    block: int
    least: int
    ttl_s: float
    renews: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a holder has of an account.

    Attributes:
        held: Its total: what it has spent, has reserved, and may still use.
        committed: The total up to which it may reserve without asking again.
        spent: What all holders have spent, those that died included.
        others: What other holders hold and may give back.
        is_lost: Its lease had expired: nothing is held, and what it had committed counts as spent.
        now_s: The store's clock, in seconds since 1970.
    """

    held: int
    committed: int
    spent: int
    others: int
    is_lost: bool
    now_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PermitClaim:
    """Permits that a holder wants of a rate limit.

    Attributes:
        holder: Who asks.
        limit: Most within any minute.
        want: How many permits it could use in this slot, those that it has of it included.
        used: What it really used in earlier slots, by slot; what was not used comes back.
    """

    holder: str
    limit: int
    want: int
    used: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Permits:
    """Permits of one slot.

    Attributes:
        slot: Number of the slot.
        granted: Permits that the holder has of this slot in all.
        ends_in_s: Seconds until the slot ends, and with it what was not used.
        holders: Who had permits of this slot or the one before, this holder included.
    """

    slot: int
    granted: int
    ends_in_s: float
    holders: int


class StateStore(Protocol):
    """State that processes share.

    Every method raises `StateUnavailable` where the store can't be reached or doesn't answer in time.
    """

    async def exchange(self, account: str, claim: Claim) -> Share:
        """Tell what was spent of an account, and take a block of what is left."""
        ...

    async def permits(self, window: str, claim: PermitClaim) -> Permits:
        """Take permits of a rate limit for the slot that runs."""
        ...

    async def get(self, key: str) -> bytes | None:
        """Return an item, None if there is none or it has expired."""
        ...

    async def put(self, key: str, value: bytes, *, ttl_s: float, group: str = "", most: int | None = None) -> None:
        """Store an item.

        Args:
            key: Its key.
            value: The item.
            ttl_s: Seconds until it expires.
            group: Whose it is.
            most: Items of the group that are stored at most; the oldest go.
        """
        ...

    async def aclose(self) -> None:
        """Close the connection."""
        ...
