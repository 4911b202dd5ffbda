"""The interface of shared state. Three stores implement it: memory, one SQLite file, and Redis or Valkey.

Amounts are whole numbers in the account's own unit (budgets: billionths of a US dollar), so that every store adds them
exactly. Every operation is atomic and idempotent: it passes absolute totals, so that it can be repeated if its answer
was lost. Times are those of the store's clock: the hosts' clocks need not agree.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

SLOT_S = 5.0
"""Length of a slot, in seconds: permits of a rate limit are valid for one slot."""

SLOTS_PER_MINUTE = 13
"""Maximum number of slots that overlap any minute: the limit applies to their sum, and so to any minute."""

MAX_ITEM_BYTES = 512 * 1024 * 1024
"""Maximum bytes of all items of a store; beyond it, the group that has most of them loses its oldest ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A holder's report on an account, and its request.

    Attributes:
        holder: Name of the claimant: one process for one account, with a new name after its lease was lost.
        limit: Maximum that all holders together may spend.
        spent: Total that this holder has spent.
        reserved: Amount that it has reserved for calls in progress.
        headroom: Amount that it may reserve beyond that before its next claim; counted as spent if it crashes before.
        block: Amount beyond `spent` that it requests.
        least: Minimum of that which is useful. If less is left, it holds only what it has reserved: two holders
            that each hold too little for their next call would deadlock.
        ttl_s: Length of its lease, in seconds: without another claim its share then expires.
        renews: Whether it has a share already; then an unknown holder has lost its lease.
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
    """A holder's share of an account.

    Attributes:
        held: Its total: spent, reserved and still usable.
        committed: The total up to which it may reserve without another claim.
        spent: Total that all holders have spent, expired ones included.
        others: Amount that other holders hold and may return.
        is_lost: Whether its lease had expired: it holds nothing, and its committed total counts as spent.
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
    """A holder's request for permits of a rate limit.

    Attributes:
        holder: Name of the claimant.
        limit: Maximum within any minute.
        want: Number of permits that it can use in this slot, including those that it has.
        used: Number that it actually used in earlier slots, by slot; the rest is released.
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
        granted: Total permits of the holder in this slot.
        ends_in_s: Seconds until the slot ends and its unused permits expire.
        holders: Holders with permits of this slot or the previous one, including this one.
    """

    slot: int
    granted: int
    ends_in_s: float
    holders: int


class StateStore(Protocol):
    """State that processes share.

    Every method raises `StateUnavailable` if the store can't be reached or doesn't answer in time.
    """

    async def exchange(self, account: str, claim: Claim) -> Share:
        """Report the spending on an account, and claim a block of the rest."""
        ...

    async def permits(self, window: str, claim: PermitClaim) -> Permits:
        """Claim permits of a rate limit for the current slot."""
        ...

    async def get(self, key: str) -> bytes | None:
        """Return an item, or None if it does not exist or has expired."""
        ...

    async def put(self, key: str, value: bytes, *, ttl_s: float, group: str = "", most: int | None = None) -> None:
        """Store an item.

        Args:
            key: Its key.
            value: The item.
            ttl_s: Seconds until it expires.
            group: Its owner.
            most: Maximum number of items in the group; the oldest are deleted.
        """
        ...

    async def aclose(self) -> None:
        """Close the connection."""
        ...
