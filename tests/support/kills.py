"""Commands that are killed at random moments and begun again, as machines do to long ones."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.loopback import LoopbackServer


async def killed_and_finished(
    *arguments: str,
    folder: Path,
    server: LoopbackServer,
    chance: random.Random,
    kills: int = 20,
    steps: int = 12,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run `moa` so often: kill it (SIGKILL) once the server had some more requests, and let the last one end.

    Args:
        arguments: The command's.
        folder: Where it runs.
        server: Which service it uses.
        chance: Draws the moments.
        kills: Number of kills.
        steps: Most requests between a start and its kill.
        environment: Further environment variables.
    """
    command = [sys.executable, "-c", "from moa._cli.main import main; main()", *arguments]
    for kill in range(kills + 1):
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, stderr=subprocess.PIPE, env={**os.environ, **(environment or {})}
        )
        if kill == kills:
            _, errors = await process.communicate()
            assert process.returncode == 0, errors.decode()
            return
        wanted = server.requests + chance.randint(1, steps)
        waiting = asyncio.ensure_future(server.until(lambda wanted=wanted: server.requests >= wanted))
        ending = asyncio.ensure_future(process.communicate())
        await asyncio.wait([waiting, ending], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await ending
