import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal

import pytest

from moa._policies.shared_budget import LEASE_S, SYNC_S, SharedBudget
from moa._state.memory import MemoryStore
from moa._state.store import Claim, Share
from moa.errors import BudgetExceeded, StateUnavailable
from tests.support.virtual_clock import loop_time, virtual_time


class Unreliable(MemoryStore):
    """A store that can go away, and that counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__(lambda: 1_800_000_000.0 + loop_time())
        self.is_gone, self.asked = False, 0
        self.answers_lost: Callable[[], bool] = lambda: False

    async def exchange(self, account: str, claim: Claim) -> Share:
        self.asked += 1
        await asyncio.sleep(0.001)
        if self.is_gone:
            raise StateUnavailable("lab: gone")
        share = await super().exchange(account, claim)
        if self.answers_lost():
            raise StateUnavailable("lab: it broke off before it answered")
        return share


def budget(store: MemoryStore, usd: str = "1", **options: str) -> SharedBudget:
    return SharedBudget(Decimal(usd), store=store, account="team", now=loop_time, **options)  # type: ignore[arg-type]


async def spend(shared: SharedBudget, worst: str, charged: str, seconds: float = 0.1) -> None:
    settle = await shared.reserve(Decimal(worst), "lab/m")
    await asyncio.sleep(seconds)
    settle(Decimal(charged))


@pytest.mark.slow
@virtual_time
async def test_processes_never_spend_more_than_the_total_and_can_spend_nearly_all_of_it() -> None:
    rng, store, spent = random.Random(3), Unreliable(), Decimal(0)

    async def run(shared: SharedBudget) -> None:
        nonlocal spent
        worst = Decimal(rng.randrange(5, 20)) / 1000
        settle = await shared.reserve(worst, "lab/m")
        await asyncio.sleep(rng.uniform(0.01, 3))
        charged = worst * Decimal(rng.randrange(1, 101)) / 100
        settle(charged)
        spent += charged
        assert spent <= 1

    processes = [budget(store) for _ in range(4)]
    ended = await asyncio.gather(*(run(shared) for shared in processes for _ in range(200)), return_exceptions=True)
    assert {type(error) for error in ended if error is not None} == {BudgetExceeded}
    assert Decimal("0.97") < spent <= 1
    assert processes[0].limit_usd - max(shared.spent_usd for shared in processes) < Decimal("0.02")
    assert store.asked < 2 * 800
    await asyncio.gather(*(shared.aclose() for shared in processes))


@pytest.mark.parametrize("seed", [0, 68, 573, 579, 580, 640])
@virtual_time
async def test_an_answer_of_the_store_that_is_lost_lets_nobody_spend_more(seed: int) -> None:
    rng, store, spent = random.Random(seed), Unreliable(), Decimal(0)
    store.answers_lost = lambda: rng.random() < 0.3

    async def run(shared: SharedBudget) -> None:
        nonlocal spent
        await asyncio.sleep(rng.uniform(0, 20))
        while True:
            worst = Decimal(rng.randrange(5, 20)) / 1000
            try:
                settle = await shared.reserve(worst, "lab/m")
            except StateUnavailable:
                await asyncio.sleep(SYNC_S)
                continue
            await asyncio.sleep(rng.uniform(0.01, 3))
            charged = worst * Decimal(rng.randrange(50, 101)) / 100
            settle(charged)
            spent += charged
            assert spent <= 1

    processes = [budget(store) for _ in range(4)]
    ended = await asyncio.gather(*(run(shared) for shared in processes for _ in range(10)), return_exceptions=True)
    assert {type(error) for error in ended} == {BudgetExceeded}
    assert Decimal("0.9") < spent <= 1
    await asyncio.gather(*(shared.aclose() for shared in processes), return_exceptions=True)


@virtual_time
async def test_the_block_of_a_process_that_died_comes_back_but_for_what_it_had_committed() -> None:
    store = Unreliable()
    dead, alive = budget(store), budget(store)
    for _ in range(20):
        await spend(dead, "0.01", "0.01")
    settle = await dead.reserve(Decimal("0.01"), "lab/m")
    assert dead._syncing is not None
    dead._syncing.cancel()  # as `kill -9` would

    await asyncio.sleep(LEASE_S + 1)
    paid = 0
    with suppress(BudgetExceeded):
        for _ in range(100):
            await spend(alive, "0.01", "0.01")
            paid += 1
    del settle
    assert 60 <= paid <= 79  # 20 were paid, one was under way, and a little more had been announced


@virtual_time
async def test_a_process_that_waits_for_more_holds_nothing_that_another_could_use_meanwhile() -> None:
    store = Unreliable()
    shared = budget(store)
    other = Claim(
        holder="other",
        limit=10**9,
        spent=8 * 10**8,
        reserved=0,
        headroom=0,
        block=10**8,
        least=0,
        ttl_s=60,
        renews=False,
    )
    await store.exchange("team@", other)
    waiting = asyncio.create_task(shared.reserve(Decimal("0.15"), "lab/m"))
    await asyncio.sleep(5)
    assert {name: held.held for name, held in store._accounts["team@"].holdings.items()} == {"other": 9 * 10**8}

    await store.exchange("team@", replace(other, block=0, renews=True))
    (await waiting)(Decimal("0.01"))
    await shared.aclose()


@virtual_time
async def test_an_idle_process_gives_back_its_block_within_seconds() -> None:
    store = Unreliable()
    idle, busy = budget(store), budget(store)
    for _ in range(30):
        await spend(idle, "0.01", "0.01")
    await asyncio.sleep(10 * SYNC_S)

    for _ in range(70):
        await spend(busy, "0.01", "0.01")
    with pytest.raises(BudgetExceeded, match="is left"):
        await busy.reserve(Decimal("0.001"), "lab/m")


@pytest.mark.parametrize(("charged", "spent"), [("0.1", "0.8"), ("0.15", "0.85")])
@virtual_time
async def test_a_process_that_slept_too_long_has_lost_its_lease_and_goes_on_with_another(
    charged: str, spent: str
) -> None:
    store = Unreliable()
    sleepy = budget(store)
    settle = await sleepy.reserve(Decimal("0.1"), "lab/m")
    assert sleepy._syncing is not None
    sleepy._syncing.cancel()
    await asyncio.sleep(2 * LEASE_S)
    other = budget(store)
    await spend(other, "0.5", "0.5")  # now the store has noticed

    await spend(sleepy, "0.2", "0.2", seconds=2)
    settle(Decimal(charged))
    await sleepy.aclose()
    assert sleepy.spent_usd == Decimal(spent)


@virtual_time
async def test_nothing_is_bought_while_the_store_is_gone_and_all_goes_on_by_itself_when_it_is_back() -> None:
    store = Unreliable()
    shared = budget(store)
    await spend(shared, "0.1", "0.1")
    store.is_gone = True
    await asyncio.sleep(5)

    with pytest.raises(StateUnavailable, match="lab: gone"):
        await shared.reserve(Decimal("0.1"), "lab/m")
    asked = store.asked
    with pytest.raises(StateUnavailable):
        await shared.reserve(Decimal("0.1"), "lab/m")
    assert store.asked == asked  # it isn't asked again at once
    store.is_gone = False
    await asyncio.sleep(2)
    await spend(shared, "0.1", "0.1")
    await shared.aclose()
    assert shared.spent_usd == Decimal("0.2")


@virtual_time
async def test_a_process_may_go_on_by_itself_and_tells_what_it_spent_afterwards() -> None:
    store = Unreliable()
    shared = budget(store, on_failure="local")
    await spend(shared, "0.1", "0.1")
    store.is_gone = True
    await asyncio.sleep(5)

    for _ in range(9):
        await spend(shared, "0.1", "0.1")
    with pytest.raises(BudgetExceeded):
        await shared.reserve(Decimal("0.01"), "lab/m")
    store.is_gone = False
    await asyncio.sleep(5)
    other = budget(store)
    with pytest.raises(BudgetExceeded):
        await other.reserve(Decimal("0.01"), "lab/m")


@virtual_time
async def test_a_budget_by_the_day_is_full_again_at_midnight_of_the_stores_clock() -> None:
    store = Unreliable()  # its clock begins at 08:00 UTC
    shared = budget(store, per="day")
    await spend(shared, "1", "1")
    with pytest.raises(BudgetExceeded):
        await shared.reserve(Decimal("0.1"), "lab/m")

    await asyncio.sleep(16 * 3600 + 1)
    await spend(shared, "1", "1")
    with pytest.raises(BudgetExceeded):
        await shared.reserve(Decimal("0.1"), "lab/m")


@virtual_time
async def test_a_restart_does_not_refill_a_budget() -> None:
    store = Unreliable()
    first = budget(store)
    await spend(first, "0.9", "0.7")
    await first.aclose()

    second = budget(store)
    await spend(second, "0.3", "0.3")
    with pytest.raises(BudgetExceeded):
        await second.reserve(Decimal("0.001"), "lab/m")


@virtual_time
async def test_calls_that_a_budget_used_up_by_others_refuses_do_not_wait_for_one_another() -> None:
    store = Unreliable()
    first, shared = budget(store), budget(store)
    await spend(first, "1", "1")
    await first.aclose()

    began = loop_time()
    refused = await asyncio.gather(
        *(shared.reserve(Decimal("0.01"), "lab/m") for _ in range(40)), return_exceptions=True
    )
    assert {type(each) for each in refused} == {BudgetExceeded}
    assert loop_time() - began < 0.1  # an exchange with the store takes 1 ms


@virtual_time
async def test_a_process_at_a_steady_pace_asks_the_store_about_once_a_second_and_not_for_each_call() -> None:
    store = Unreliable()
    shared = budget(store, "10")
    for _ in range(300):
        await spend(shared, "0.01", "0.01", seconds=0.05)

    assert store.asked <= 2 * loop_time() < 40
    await shared.aclose()
