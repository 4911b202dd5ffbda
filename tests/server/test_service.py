"""What the server's handlers share."""

import asyncio
import threading

from moa._server.service import Turns


async def test_callers_take_turns_in_the_thread_however_much_each_of_them_asks_for() -> None:
    turns, done = Turns(), []
    begun, gate = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def wait() -> None:
        loop.call_soon_threadsafe(begun.set)
        gate.wait()

    first = asyncio.ensure_future(turns.run("greedy", wait))
    await begun.wait()
    greedy = [asyncio.ensure_future(turns.run("greedy", lambda: done.append("greedy"))) for _ in range(20)]
    others = [asyncio.ensure_future(turns.run(name, lambda name=name: done.append(name))) for name in "ab"]  # type: ignore[misc]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *greedy, *others)

    assert set(done[:3]) >= {"a", "b"}
    assert len(done) == 22
    assert not turns._caller_locks
