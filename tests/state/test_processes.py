"""Real processes that share a store: budgets, rates, kills, and a store that goes away."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
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
from moa.errors import BudgetExceeded, StateUnavailable

async def main(where, runs, seconds):
    store = open_state(StateSettings(where=where))
    budget = SharedBudget(Decimal("1"), store=store, account="team", lease_s=3)

    async def run():
        for _ in range(20):
            try:
                settle = await budget.reserve(Decimal("0.01"), "lab/m")
            except BudgetExceeded:
                return
            except StateUnavailable:
                await asyncio.sleep(0.5)
            else:
                break
        else:
            return
        print("0.009", flush=True)  # paid from here on, whatever happens to this process
        await asyncio.sleep(seconds)
        settle(Decimal("0.009"))

    await asyncio.gather(*(run() for _ in range(runs)))
    await budget.aclose()
    await store.aclose()

asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
"""


LIMITED = """
import asyncio, sys, time
from moa._policies.rate_limits import Limiter
from moa._policies.shared_window import SharedRates
from moa._state.opening import StateSettings, open_state
from moa.providers import LimitSettings

async def main(where, runs, seconds):
    store = open_state(StateSettings(where=where))
    shared = SharedRates(store=store, name="lab", on_failure="refuse")
    limits = Limiter(LimitSettings(requests_per_minute=60), time.monotonic, shared)
    try:
        async with asyncio.timeout(seconds):
            for _ in range(runs):
                limits.leave(await limits.enter("run", 0), used_tokens=None)
                print("1", flush=True)
    except TimeoutError:
        pass
    await store.aclose()

asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
"""


@asynccontextmanager
async def workers(
    count: int, where: str, runs: int, seconds: float, *, program: str = WORKER, hosts: Sequence[str] = ("",)
) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    started = []
    for number in range(count):
        host = hosts[number % len(hosts)]
        command = [*(("ip", "netns", "exec", host) if host else ()), sys.executable, "-c", program]
        started.append(
            await asyncio.create_subprocess_exec(
                *command, where, str(runs), str(seconds), stdout=asyncio.subprocess.PIPE
            )
        )
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
    return f"{request.getfixturevalue('redis_server').url}?prefix={tmp_path.name}"


@pytest.mark.slow
async def test_four_processes_spend_one_budget_and_no_more(where: str) -> None:
    async with workers(4, where, 40, 0.05) as processes:
        total = await paid(processes)

    assert 0.95 <= total <= 1.0


@pytest.mark.slow
async def test_four_processes_make_no_more_calls_in_a_minute_than_one_may(where: str) -> None:
    async with workers(4, where, 100, 6, program=LIMITED) as processes:
        total = await paid(processes)

    assert 50 <= total <= 60


@pytest.mark.slow
async def test_a_redis_that_restarts_in_mid_run_loses_no_count(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    async with workers(4, server.url, 40, 0.1) as processes:
        # Under load, all may be spent before one of the processes has begun.
        first = [asyncio.create_task(process.stdout.readline()) for process in processes if process.stdout is not None]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        server.kill()
        await asyncio.sleep(0.2)
        server.start()
        total = sum(float(line or 0) for line in await asyncio.gather(*first)) + await paid(processes)
    server.kill()

    assert 0.9 <= total <= 1.0


def run_each(commands: Sequence[str]) -> None:
    for command in commands:
        done = subprocess.run(command.split(), capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"this machine makes no network namespaces: {done.stderr.strip()}")


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and Debian's iproute2")
async def test_two_hosts_share_one_budget(tmp_path: Path) -> None:
    hosts = ["moa-one", "moa-two", "moa-store"]
    setup = ["ip netns add moa-store", "ip -n moa-store link add br0 type bridge", "ip -n moa-store link set br0 up"]
    setup.append("ip -n moa-store addr add 10.77.0.1/24 dev br0")
    for number, host in enumerate(hosts[:2], 2):
        setup += [
            f"ip netns add {host}",
            f"ip link add eth0 netns {host} type veth peer name veth{number} netns moa-store",
            f"ip -n moa-store link set veth{number} master br0 up",
            f"ip -n {host} addr add 10.77.0.{number}/24 dev eth0",
            f"ip -n {host} link set eth0 up",
        ]
    server = RedisServer(tmp_path, command=("ip", "netns", "exec", "moa-store"), listen="10.77.0.1")
    try:
        run_each(setup)
        server.start()
        async with workers(4, "redis://10.77.0.1:6379", 40, 0.05, hosts=hosts[:2]) as processes:
            total = await paid(processes)
    finally:
        server.kill()
        run_each([f"ip netns del {host}" for host in hosts])

    assert 0.95 <= total <= 1.0


@pytest.mark.slow
async def test_the_block_of_a_killed_process_comes_back(where: str) -> None:
    async with workers(1, where, 60, 1.0) as [killed]:
        assert killed.stdout is not None
        before = [await killed.stdout.readline() for _ in range(20)]
        killed.send_signal(signal.SIGKILL)
        before += (await killed.communicate())[0].split()
    spent = 0.009 * len(before)

    async with workers(1, where, 80, 0.01) as processes:
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
