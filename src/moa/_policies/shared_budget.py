"""A budget that processes share: each claims a block of the total before it spends it.

The hot path stays in the process. It calls the store when its block is used up, and once a second while it works: then
it reports its spending and returns the unused part of its block. The committed part of a process that crashed counts
as spent, as its real use is unknown; the rest of its block is released. So the total is exceeded by no more than the
estimates of prompts were too low.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from typing import Literal
from uuid import uuid4

from moa._policies.budget import not_enough
from moa._state.memory import MemoryStore
from moa._state.store import Claim, Share, StateStore
from moa.errors import StateUnavailable
from moa.providers._call_context import Settle

Period = Literal["day", "month", "forever"]
"""The period after which a budget is refilled: a calendar day or month in UTC, by the store's clock."""

OnFailure = Literal["refuse", "local"]
"""While the store is unavailable: allow no new spending, or let each process continue alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSettings:
    """An amount that may be spent, and its period.

    Attributes:
        usd: US dollars.
        per: The period after which it is refilled.
        account: Its name: processes with the same name and store share the budget.
    """

    usd: Decimal
    per: Period = "forever"
    account: str = "settings"

    def open(self, store: StateStore | None, on_failure: OnFailure = "refuse") -> "SharedBudget":
        """Return the budget; without a store it belongs to this process alone."""
        return SharedBudget(
            self.usd, store=store or MemoryStore(), account=self.account, per=self.per, on_failure=on_failure
        )


NANO = Decimal(1_000_000_000)
"""The unit of accounts: billionths of a US dollar."""

LEASE_S = 10.0
"""Length of a process's lease, in seconds: without another exchange its block is then released."""

SYNC_S = 1.0
"""Seconds between two exchanges of an active process."""

POLL_S = 0.2
"""Seconds between two checks for amounts that other processes have returned."""

log = logging.getLogger(__name__)


class SharedBudget:
    """A budget in US dollars that the calls of several processes share; implements the interface of `Budget`.

    Args:
        limit_usd: Maximum that may be spent in a period.
        store: Contains the account.
        account: Its name: processes with the same name share the budget.
        per: The period after which it is refilled.
        on_failure: What happens while the store is unavailable. `local` spends the rest as of the store's last answer,
            so that several processes may exceed the total together.
        lease_s: Length of the lease, in seconds: without another exchange the block is then released.
        now: Monotonic clock, in seconds.
    """

    def __init__(
        self,
        limit_usd: Decimal,
        *,
        store: StateStore,
        account: str,
        per: Period = "forever",
        on_failure: OnFailure = "refuse",
        lease_s: float = LEASE_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit_usd = limit_usd
        self._limit = int(limit_usd * NANO)
        self._store, self._account, self._per, self._on_failure, self._now = store, account, per, on_failure, now
        # None until the store's clock is known; a budget without a period needs no clock.
        self._clock_offset_s: float | None = 0.0 if per == "forever" else None
        self._lease_s = lease_s
        self._turn, self._exchanging = asyncio.Lock(), asyncio.Lock()
        self._changed = asyncio.Event()
        self._syncing: asyncio.Task[None] | None = None
        self._failed_at, self._failure = -math.inf, StateUnavailable("the store has not been called yet")
        self._pace, self._waiting, self._is_closing = 0.0, 0, False
        self._begin_lease()

    def _begin_lease(self) -> None:
        """Start a new lease: the committed part of an earlier one counts as spent already."""
        self._holder, self._period = uuid4().hex, self._current_period()
        self._spent = self._reserved = self._spent_at_sync = 0
        self._synced_at = self._now()
        self._committed = self._confirmed = 0
        self._share: Share | None = None

    def _current_period(self) -> str:
        if self._per == "forever" or self._clock_offset_s is None:
            return ""
        today = datetime.fromtimestamp(self._now() + self._clock_offset_s, UTC)
        return f"{today:%Y-%m-%d}" if self._per == "day" else f"{today:%Y-%m}"

    @property
    def spent_usd(self) -> Decimal:
        """Total that all processes have spent, as of the last exchange."""
        others = 0 if self._share is None else self._share.spent - self._spent_at_sync
        return (others + self._spent) / NANO

    @property
    def left_usd(self) -> Decimal:
        """Amount that is neither spent nor reserved, as of the last exchange."""
        return self.limit_usd - self.spent_usd - self._reserved / NANO

    async def reserve(self, amount_usd: Decimal, reference: str) -> Settle:
        """Reserve an amount, waiting while calls in progress may still return enough.

        Raises:
            BudgetExceeded: The amount exceeds the budget even if all reservations are returned.
            StateUnavailable: The store is unavailable, and `on_failure` refuses calls without it.
        """
        amount = int((amount_usd * NANO).to_integral_value(ROUND_CEILING))
        if self._current_period() != self._period:
            self._begin_lease()
        self._waiting += amount
        try:
            # One call at a time claims more; the others queue and are admitted in order.
            async with self._turn:
                while not self._has_room(amount):
                    self._changed.clear()
                    await self._exchange(amount)
                    if not self._has_room(amount):
                        await self._wait_for_more(amount_usd, amount, reference)
        finally:
            self._waiting -= amount
        self._reserved += amount
        self._keep_in_sync()
        holder = self._holder
        return lambda charged_usd: self._settle(holder, amount, charged_usd)

    def _has_room(self, amount: int) -> bool:
        return self._spent + self._reserved + amount <= self._committed

    async def _wait_for_more(self, amount_usd: Decimal, amount: int, reference: str) -> None:
        """Wait until an amount may have been returned.

        Raises:
            BudgetExceeded: No amount can be returned any more.
        """
        if amount > self._limit - int(self.spent_usd * NANO):
            raise not_enough(amount_usd, self.left_usd, self.limit_usd, reference)
        try:
            async with asyncio.timeout(POLL_S):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _settle(self, holder: str, reserved: int, charged_usd: Decimal) -> None:
        charged = int((charged_usd * NANO).to_integral_value(ROUND_CEILING))
        if holder == self._holder:
            self._reserved -= reserved
            self._spent += charged
        else:
            # The reservations of an expired lease count as spent already; only the excess over them does not.
            self._spent += max(0, charged - reserved)
        self._changed.set()

    async def _exchange(self, need: int) -> None:
        """Report the spending to the store, and claim what is needed.

        Raises:
            StateUnavailable: The store is unavailable, and `on_failure` refuses calls without it.
        """
        async with self._exchanging:
            if need and self._has_room(need):
                return  # another call's exchange has claimed enough
            if self._now() - self._failed_at < SYNC_S:
                self._go_on_without(need)
                return
            try:
                if self._clock_offset_s is None:
                    await self._learn_clock()
                claim = self._claim(need)
                # Until the answer arrives, commit no more than the store surely has of this claim: it may be lost.
                self._committed = min(self._committed, self._certain(claim))
                share = await self._store.exchange(f"{self._account}@{self._period}", claim)
            except StateUnavailable as error:
                self._failed_at, self._failure = self._now(), error
                self._go_on_without(need)
                return
            if share.is_lost:
                # The store counts the reported part as spent; the rest starts the next lease.
                unheard = max(0, self._spent + self._reserved - self._confirmed)
                self._begin_lease()
                self._spent = unheard
                return
            self._share = share
            self._committed = self._confirmed = share.committed
            self._spent_at_sync, self._synced_at = claim.spent, self._now()
            if self._per != "forever":
                self._clock_offset_s = share.now_s - self._now()

    async def _learn_clock(self) -> None:
        """Read the store's clock, to determine the first period; claims nothing."""
        nothing = replace(self._claim(0), block=0, headroom=0, spent=0, reserved=0)
        share = await self._store.exchange(self._account, nothing)
        self._clock_offset_s = share.now_s - self._now()
        self._period = self._current_period()

    def _claim(self, need: int) -> Claim:
        wanted = self._waiting if need else 0
        seconds = max(0.001, self._now() - self._synced_at)
        self._pace += (1 - math.exp(-seconds / 3)) * ((self._spent - self._spent_at_sync) / seconds - self._pace)
        if self._is_closing or (self._spent == self._spent_at_sync and not self._reserved):
            self._pace = 0.0  # idle: other processes need its block more
        pace = int(self._pace * SYNC_S)
        left = self._limit - (self._share.spent if self._share else 0)
        return Claim(
            holder=self._holder,
            limit=self._limit,
            spent=self._spent,
            reserved=self._reserved,
            headroom=wanted + 3 * pace // 2,
            block=self._reserved + max(wanted, min(wanted + 4 * pace, left // 4)),
            least=self._reserved + need,
            ttl_s=self._lease_s,
            # The store does not keep a holder that holds nothing, and then none has been lost.
            renews=self._share is not None and self._share.held > 0,
        )

    def _certain(self, claim: Claim) -> int:
        """What the store holds at least for this process once it has read the claim, as `counters.exchange` decides."""
        block = min(claim.block, max(0, self._committed - claim.spent))
        if block < claim.least:
            block = 0
        return claim.spent + min(max(claim.reserved, block), claim.reserved + claim.headroom)

    def _go_on_without(self, need: int) -> None:
        if not need:
            return
        if self._on_failure == "refuse":
            raise StateUnavailable(f"the budget can't be checked: {self._failure.args[0]}") from self._failure
        # The whole rest as of the store's last answer.
        known = 0 if self._share is None else self._share.spent - self._spent_at_sync
        self._committed = self._limit - known

    def _keep_in_sync(self) -> None:
        if self._syncing is None or self._syncing.done():
            self._syncing = asyncio.get_running_loop().create_task(self._sync())

    async def _sync(self) -> None:
        """Exchange while there is spending to report or an unused block to return."""
        while self._reserved or self._spent != (self._share.held if self._share else 0):
            await asyncio.sleep(SYNC_S)
            await self._exchange(0)
            self._changed.set()

    async def aclose(self) -> None:
        """Report the last spending and return the rest."""
        if self._syncing is not None:
            self._syncing.cancel()
            await asyncio.gather(self._syncing, return_exceptions=True)
        if self._share is not None or self._spent:
            self._is_closing, self._reserved = True, 0
            await self._exchange(0)
