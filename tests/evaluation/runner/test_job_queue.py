import asyncio
from functools import partial

import pytest

from moa.evaluation._runner.job_queue import Job, JobQueue


def job(log: list[int], number: int, gate: asyncio.Event | None = None) -> Job:
    async def work() -> None:
        log.append(number)
        if gate is not None:
            await gate.wait()

    return work


async def test_jobs_run_in_the_order_of_their_keys_not_of_adding() -> None:
    log: list[int] = []
    crew = JobQueue(1)
    for number in (3, 1, 2):
        crew.add((number,), job(log, number))

    await crew.run()

    assert log == [1, 2, 3]


async def test_no_more_than_its_size_run_at_once_and_a_jobs_own_jobs_are_run_too() -> None:
    crew, running, peak = JobQueue(3), 0, 0

    async def work(depth: int) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0)
        if depth:
            crew.add((0,), lambda: work(depth - 1))
        running -= 1

    for _ in range(10):
        crew.add((0,), lambda: work(2))

    await crew.run()

    assert peak == 3


async def test_a_slow_disk_holds_back_what_comes_next() -> None:
    log: list[int] = []
    written, crew = asyncio.Event(), JobQueue(2)

    async def answers(number: int) -> None:
        log.append(number)
        crew.tidy(job([], 0, written))

    for number in range(9):
        crew.add((number,), partial(answers, number))
    running = asyncio.ensure_future(crew.run())
    for _ in range(40):
        await asyncio.sleep(0)
    begun = len(log)
    written.set()
    await running

    assert begun == 4  # two that are tidied up after, and two that ran besides
    assert log == list(range(9))


async def test_stop_lets_running_jobs_end_and_begins_no_other() -> None:
    log: list[int] = []
    crew = JobQueue(1)

    async def stops() -> None:
        crew.stop()
        await asyncio.sleep(0)
        log.append(1)

    crew.add((1,), stops)
    crew.add((2,), job(log, 2))

    await crew.run()

    assert log == [1]


async def test_an_error_cancels_the_other_jobs_and_is_raised_but_tidying_ends() -> None:
    crew, tidied, cancelled = JobQueue(2), asyncio.Event(), asyncio.Event()

    async def hangs() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def tidies() -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        tidied.set()

    async def fails() -> None:
        crew.tidy(tidies)
        raise ValueError("no")

    crew.add((1,), hangs)
    crew.add((2,), fails)

    with pytest.raises(ValueError, match="no"):
        await crew.run()

    assert cancelled.is_set()
    assert tidied.is_set()


async def test_tidying_does_not_take_a_place() -> None:
    crew, gate, log = JobQueue(1), asyncio.Event(), list[int]()

    async def answers() -> None:
        crew.tidy(job(log, 1, gate))

    async def opens() -> None:
        gate.set()

    crew.add((1,), answers)
    crew.add((2,), opens)

    await crew.run()

    assert log == [1]
