"""The operations of a store on its counters, as pure functions; the memory and the SQLite store share them.

The scripts of the Redis store do the same; a test compares both on random sequences of operations.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from moa._state.store import SLOT_S, SLOTS_PER_MINUTE, Claim, PermitClaim, Permits, Share


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One holder's share of an account; totals as in `Share`."""

    spent: int
    committed: int
    held: int
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """An account: the spending of former holders, and the shares of current ones."""

    gone: int = 0
    holdings: Mapping[str, Holding] = field(default_factory=dict)


def exchange(state: AccountState, claim: Claim, now_s: float) -> tuple[AccountState, Share]:
    """Return an account after a claim, and the claimant's share.

    The committed part of an expired holder counts as spent, as its real use is unknown; the rest of its block is
    released. A holder never gets less than what it has spent and reserved: that money can't be taken back.
    """
    expired = [held for held in state.holdings.values() if held.expires_at <= now_s]
    alive = {name: held for name, held in state.holdings.items() if held.expires_at > now_s}
    gone = state.gone + sum(held.committed for held in expired)
    mine = alive.pop(claim.holder, None)
    others_held = sum(held.held for held in alive.values())
    others_spent = sum(held.spent for held in alive.values())
    if claim.renews and mine is None:
        share = Share(
            held=0, committed=0, spent=gone + others_spent, others=others_held - others_spent, is_lost=True, now_s=now_s
        )
        return AccountState(gone=gone, holdings=alive), share
    free = max(0, claim.limit - gone - others_held - claim.spent)
    block = min(claim.block, free)
    held = claim.spent + max(claim.reserved, block if block >= claim.least else 0)
    committed = min(held, claim.spent + claim.reserved + claim.headroom)
    if held:
        alive[claim.holder] = Holding(spent=claim.spent, committed=committed, held=held, expires_at=now_s + claim.ttl_s)
    share = Share(
        held=held,
        committed=committed,
        spent=gone + others_spent + claim.spent,
        others=others_held - others_spent,
        is_lost=False,
        now_s=now_s,
    )
    return AccountState(gone=gone, holdings=alive), share


WindowState = Mapping[int, Mapping[str, int]]
"""Permits by slot and holder."""


def permits(state: WindowState, claim: PermitClaim, now_s: float) -> tuple[WindowState, Permits]:
    """Return a window after a claim, and the claimant's permits.

    Competing holders share the remaining permits: each claim gets at most an equal part.
    """
    slot = int(now_s // SLOT_S)
    window = {number: dict(by) for number, by in state.items() if number > slot - SLOTS_PER_MINUTE}
    for number, used in claim.used.items():
        if number in window and claim.holder in window[number]:
            window[number][claim.holder] = used
    here = window.setdefault(slot, {})
    mine = here.get(claim.holder, 0)
    holders = len({*here, *window.get(slot - 1, {}), claim.holder})
    left = claim.limit - sum(sum(by.values()) for by in window.values())
    here[claim.holder] = mine + max(0, min(claim.want - mine, -(-left // holders)))
    granted = Permits(slot=slot, granted=here[claim.holder], ends_in_s=(slot + 1) * SLOT_S - now_s, holders=holders)
    return window, granted
