import asyncio
import random

import pytest

from moa._policies.rate_limits import Limiter
from moa._policies.shared_window import SharedRates, SharedWindow
from moa._state.memory import MemoryStore
from moa._state.store import SLOT_S, PermitClaim, Permits
from moa.errors import StateUnavailable
from moa.providers._endpoint import LimitSettings
from tests.support.virtual_clock import loop_time, virtual_time


class Unreliable(MemoryStore):
    def __init__(self, skew_s: float = 0.0) -> None:
        super().__init__(lambda: 1_000_000.0 + skew_s + loop_time())
        self.is_gone, self.asked = False, 0

    async def permits(self, window: str, claim: PermitClaim) -> Permits:
        self.asked += 1
        await asyncio.sleep(0.002)
        if self.is_gone:
            raise StateUnavailable("lab: gone")
        return await super().permits(window, claim)


def limiter(store: MemoryStore, on_failure: str = "refuse", **limits: int) -> Limiter:
    shared = SharedRates(store=store, name="lab", on_failure=on_failure)  # type: ignore[arg-type]
    return Limiter(LimitSettings(**limits), loop_time, shared)


def most_in_any_minute(begun: list[tuple[float, float]]) -> float:
    return max(sum(n for at, n in begun if start <= at < start + 60) for start, _ in begun)


@virtual_time
async def test_processes_together_never_exceed_the_limit_in_any_minute_and_use_most_of_it() -> None:
    store, rng, begun = Unreliable(skew_s=60), random.Random(2), list[tuple[float, float]]()
    processes = [limiter(store, requests_per_minute=120) for _ in range(4)]

    async def worker(limits: Limiter) -> None:
        while loop_time() < 600:
            place = await limits.enter("run", 0)
            # A call takes a moment to arrive at its service.
            begun.append((loop_time() + rng.uniform(0, 0.4), 1))
            await asyncio.sleep(rng.uniform(0.1, 2))
            limits.leave(place, used_tokens=None)

    await asyncio.gather(*(worker(limits) for limits in processes for _ in range(5)))
    assert most_in_any_minute(begun) <= 120
    assert len(begun) / 10 > 0.85 * 120
    assert store.asked < 4 * 600 * 1.5  # about once a second and process, also while it waits


@virtual_time
async def test_tokens_that_a_call_did_not_use_come_back() -> None:
    store, begun = Unreliable(), list[tuple[float, float]]()
    processes = [limiter(store, tokens_per_minute=1000) for _ in range(2)]

    async def worker(limits: Limiter) -> None:
        while loop_time() < 300:
            place = await limits.enter("run", 100)
            begun.append((loop_time(), 20))
            await asyncio.sleep(0.5)
            limits.leave(place, used_tokens=20)

    await asyncio.gather(*(worker(limits) for limits in processes))
    assert most_in_any_minute(begun) <= 1000
    assert sum(n for _, n in begun) / 5 > 600


@virtual_time
async def test_tokens_come_back_to_the_slot_alone_that_they_were_taken_from() -> None:
    limits = limiter(Unreliable(), tokens_per_minute=1000)
    assert isinstance(limits._tokens, SharedWindow)
    old = await limits.enter("run", 100)
    await asyncio.sleep(2 * SLOT_S)
    await limits.enter("run", 50)
    used = limits._tokens._used
    limits.leave(old, used_tokens=0)

    assert limits._tokens._used == used


@virtual_time
async def test_a_process_alone_is_not_kept_from_a_limit_that_nobody_else_uses() -> None:
    limits = limiter(Unreliable(), requests_per_minute=10)

    places = [await limits.enter("run", 0) for _ in range(10)]
    assert len(places) == 10
    assert loop_time() < 6


@virtual_time
async def test_nothing_goes_out_while_the_store_is_gone_and_all_goes_on_when_it_is_back() -> None:
    store = Unreliable()
    limits = limiter(store, requests_per_minute=10)
    store.is_gone = True

    with pytest.raises(StateUnavailable, match="lab: gone"):
        await limits.enter("run", 0)
    store.is_gone = False
    await asyncio.sleep(1.1)
    assert await limits.enter("run", 0)


@virtual_time
async def test_a_process_may_go_on_with_its_last_share_of_the_limit() -> None:
    store, begun = Unreliable(), list[tuple[float, float]]()
    processes = [limiter(store, "local", requests_per_minute=60) for _ in range(2)]

    async def worker(limits: Limiter, until: float) -> None:
        while loop_time() < until:
            place = await limits.enter("run", 0)
            begun.append((loop_time(), 1))
            limits.leave(place, used_tokens=None)

    await asyncio.gather(*(worker(limits, 130) for limits in processes))
    store.is_gone = True
    started = len(begun)
    await asyncio.gather(*(worker(limits, 250) for limits in processes))
    alone = begun[started:]
    # Neither knows what the other had of the minute in which the store went away.
    assert most_in_any_minute(begun) <= 66
    assert most_in_any_minute(alone) <= 60
    assert 80 <= len(alone) <= 130
