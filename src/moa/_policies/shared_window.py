"""A rate limit that processes share: each claims permits, which are valid for a few seconds."""

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from moa._policies.shared_budget import OnFailure
from moa._policies.sliding_window import SlidingWindow, WindowEntry
from moa._state.store import SLOT_S, SLOTS_PER_MINUTE, PermitClaim, Permits, StateStore
from moa.errors import StateUnavailable

GUARD_S = 0.5
"""Seconds before the end of a slot in which its permits are no longer used: a call takes time to arrive."""

LOOK_S = 1.0
"""Seconds between two checks for permits that other processes have returned."""

AGAIN_S = 1.0
"""Seconds until a store that failed is tried again."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedRates:
    """The shared rate limits of one endpoint or model.

    Attributes:
        store: The store.
        name: Name of the limits: processes with the same name share them.
        on_failure: While the store is unavailable: admit nothing, or up to this process's last share of the limit.
    """

    store: StateStore
    name: str
    on_failure: OnFailure


class SharedWindow:
    """A rate limit across processes, in any minute; implements the interface of `SlidingWindow`.

    Args:
        limit: Maximum within any minute.
        shared: Source of the permits.
        what: The counted unit: requests or tokens.
        now: Monotonic clock, in seconds.
        on_change: Called when more may be admitted, or when the store failed.
    """

    def __init__(
        self,
        limit: int,
        shared: SharedRates,
        what: str,
        *,
        now: Callable[[], float],
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.limit = limit
        self.failure: StateUnavailable | None = None
        self._store, self._on_failure = shared.store, shared.on_failure
        self._name = f"{shared.name} {what}"
        self._now, self._on_change = now, on_change
        self._holder = uuid4().hex
        self._slot, self._granted, self._used, self._ends_at = -1, 0.0, 0.0, -math.inf
        self._used_before: dict[int, float] = {}
        self._holders = 1
        self._alone: SlidingWindow | None = None
        self._asking: asyncio.Task[None] | None = None

    def wait_s(self, amount: float, now: float) -> float:
        """Return the seconds until an amount fits, 0 if it does now; infinity during a call of the store."""
        amount = min(amount, self.limit)
        if self._alone is not None:
            if self._asking is None:
                self._ask(amount)
            return self._alone.wait_s(amount, now)
        if now < self._ends_at - GUARD_S and self._used + amount <= self._granted:
            return 0.0
        if self._asking is None:
            self._ask(amount)
        return math.inf

    def add(self, amount: float, now: float) -> WindowEntry:
        """Admit an amount."""
        if self._alone is not None:
            return self._alone.add(amount, now)
        self._used += min(amount, self.limit)
        return WindowEntry(now, min(amount, self.limit))

    async def take(self, amount: float) -> float:
        """Admit an amount if it fits, for callers that don't queue; calls the store at most once.

        Returns:
            0 if it was admitted, else the seconds after which to try again.

        Raises:
            StateUnavailable: The store is unavailable, and `on_failure` admits nothing without it.
        """
        if self._asking is not None:
            await asyncio.wait([self._asking], timeout=LOOK_S)
        wait_s = self.wait_s(amount, self._now())
        if wait_s == math.inf and self._asking is not None:
            await asyncio.wait([self._asking], timeout=LOOK_S)
            wait_s = self.wait_s(amount, self._now())
        if self.failure is not None:
            raise self.failure
        if wait_s == 0:
            self.add(amount, self._now())
        return min(wait_s, SLOT_S)

    def correct(self, entry: WindowEntry, amount: float) -> None:
        """Correct an admitted amount to the actual one, during its slot."""
        if self._alone is not None:
            self._alone.correct(entry, amount)
        elif entry.at > self._ends_at - SLOT_S:
            self._used += amount - entry.amount
            entry.amount = amount

    def _ask(self, amount: float) -> None:
        self._asking = asyncio.get_running_loop().create_task(self._refill(amount))

    async def _refill(self, amount: float) -> None:
        try:
            while True:
                if await self._take(amount):
                    break
                # Unused permits of other processes are released in the next slot.
                left_s = self._ends_at - self._now()
                await asyncio.sleep(left_s + 0.02 if 0 < left_s < LOOK_S else LOOK_S)
        except StateUnavailable as error:
            if self._on_failure == "refuse":
                self.failure = error
            elif self._alone is None:
                log.warning("rate limits continue without %s", error)
                self._alone = SlidingWindow(max(1, self.limit // self._holders))
                for used in (*self._used_before.values(), self._used):
                    self._alone.add(used, self._now())
            self._on_change()
            await asyncio.sleep(AGAIN_S)
            self.failure = self._asking = None
            self._on_change()
        else:
            self.failure, self._alone, self._asking = None, None, None
            self._on_change()

    async def _take(self, amount: float) -> bool:
        """Claim permits of the current slot; return whether they are enough for an amount."""
        asked_at = self._now()
        if asked_at >= self._ends_at and self._slot >= 0:
            self._used_before[self._slot] = self._used
        recent = max([self._used, *self._used_before.values()], default=0.0)
        have = self._used if asked_at < self._ends_at else 0.0
        claim = PermitClaim(
            holder=self._holder,
            limit=self.limit,
            want=math.ceil(have + max(4 * amount, recent)),
            used={slot: math.ceil(used) for slot, used in self._used_before.items()},
        )
        found = await self._store.permits(self._name, claim)
        if found.slot != self._slot:
            self._begin(found)
        self._granted, self._holders = found.granted, found.holders
        # The answer took some time, so the slot ends no later than this.
        self._ends_at = asked_at + found.ends_in_s
        return self._now() < self._ends_at - GUARD_S and self._used + amount <= self._granted

    def _begin(self, found: Permits) -> None:
        if self._slot >= 0:
            self._used_before[self._slot] = self._used
        oldest = found.slot - SLOTS_PER_MINUTE
        self._used_before = {slot: used for slot, used in self._used_before.items() if slot > oldest}
        self._slot, self._used = found.slot, 0.0
