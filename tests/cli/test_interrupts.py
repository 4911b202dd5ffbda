import asyncio
import signal
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends signals")

SCRIPT = """
import asyncio
import signal
from moa._cli.interrupts import stoppable

async def work():
    print("begun", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("tidying", flush=True)
        await asyncio.sleep(TIDYING_S)
        print("tidied", flush=True)

async def main():
    try:
        await stoppable(work())
    except asyncio.CancelledError:
        print("cancelled", flush=True)

signal.signal(signal.SIGINT, signal.default_int_handler)
asyncio.run(main())
"""


async def started(tidying_s: float) -> asyncio.subprocess.Process:
    script = SCRIPT.replace("TIDYING_S", str(tidying_s))
    return await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)


async def test_ctrl_c_lets_work_be_put_down() -> None:
    process = await started(0)
    assert process.stdout
    assert await process.stdout.readline() == b"begun\n"

    process.send_signal(signal.SIGINT)
    out, _ = await process.communicate()

    assert (process.returncode, out.split()) == (0, [b"tidying", b"tidied", b"cancelled"])


async def test_a_second_ctrl_c_kills_the_process_at_once() -> None:
    process = await started(3600)
    assert process.stdout
    await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert await process.stdout.readline() == b"tidying\n"

    process.send_signal(signal.SIGINT)
    out, _ = await process.communicate()

    assert (process.returncode, out) == (-signal.SIGINT, b"")
