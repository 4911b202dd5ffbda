"""Real processes that share a store: budgets, rates, kills, and a store that goes away."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from moa._state.redis import RedisStore
from moa.errors import StateUnavailable
from tests.state.conftest import RedisServer

WORKER = """
import asyncio, json, sys, time
from decimal import Decimal
from moa._policies.shared_budget import SharedBudget
from moa._state.opening import StateSettings, open_state
from moa.errors import BudgetExceeded

async def main(where, runs, seconds):
    store = open_state(StateSettings(where=where))
    budget = SharedBudget(Decimal("1"), store=store, account="team", lease_s=3)

    async def run():
        try:
            settle = await budget.reserve(Decimal("0.01"), "lab/m")
        except BudgetExceeded:
            return
        print("0.004", flush=True)  # paid from here on, whatever happens to this process
        await asyncio.sleep(seconds)
        settle(Decimal("0.004"))

    await asyncio.gather(*(run() for _ in range(runs)))
    await budget.aclose()
    await store.aclose()

asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
"""


@asynccontextmanager
async def workers(count: int, where: str, runs: int, seconds: float) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    started = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", WORKER, where, str(runs), str(seconds), stdout=asyncio.subprocess.PIPE
        )
        for _ in range(count)
    ]
    try:
        yield started
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def paid(processes: list[asyncio.subprocess.Process]) -> float:
    outputs = await asyncio.gather(*(process.communicate() for process in processes))
    return sum(float(line) for out, _ in outputs for line in out.split())


@pytest.fixture(params=["sqlite", "redis"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "state.sqlite")
    return str(request.getfixturevalue("redis_server").url) + f"?db={len(os.listdir(tmp_path.parent)) % 16}"


@pytest.mark.slow
async def test_four_processes_spend_one_budget_and_no_more(where: str) -> None:
    async with workers(4, where, 100, 0.05) as processes:
        total = await paid(processes)

    assert 0.95 <= total <= 1.0


@pytest.mark.slow
async def test_the_block_of_a_killed_process_comes_back(where: str) -> None:
    async with workers(1, where, 60, 1.0) as [killed]:
        assert killed.stdout is not None
        before = [await killed.stdout.readline() for _ in range(20)]
        killed.send_signal(signal.SIGKILL)
        before += (await killed.communicate())[0].split()
    spent = 0.004 * len(before)

    async with workers(1, where, 300, 0.01) as processes:
        total = spent + await paid(processes)

    # All but the worst case of what was under way.
    assert 1 - 60 * 0.01 + spent - 0.1 <= total <= 1.0


@pytest.mark.slow
async def test_a_redis_that_is_killed_frozen_and_restarted_costs_errors_and_no_money(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    store = RedisStore(server.url)
    await store.put("conversation", b"kept", ttl_s=60)
    server.kill()
    with pytest.raises(StateUnavailable):
        await store.get("conversation")

    server.start()
    assert await store.get("conversation") == b"kept"
    server.signal(signal.SIGSTOP)
    begun = time.monotonic()
    with pytest.raises(StateUnavailable):
        await store.get("conversation")
    assert time.monotonic() - begun < 5
    server.signal(signal.SIGCONT)
    assert await store.get("conversation") == b"kept"
    await store.aclose()
    server.kill()
    assert json.dumps(repr(store)).find("@") == -1
