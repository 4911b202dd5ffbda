"""Commands that are killed at random moments and begun again, as machines do to long ones."""

import asyncio
import random
from collections.abc import Mapping
from pathlib import Path

from tests.support.forked import exit_code, forked_moa
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
    log = folder / "moa.log"
    for kill in range(kills + 1):
        process = forked_moa(*arguments, folder=folder, log=log, environment=environment)
        ending = asyncio.ensure_future(exit_code(process))
        if kill == kills:
            assert await ending == 0, log.read_text()
            return
        wanted = server.requests + chance.randint(1, steps)
        waiting = asyncio.ensure_future(server.until(lambda wanted=wanted: server.requests >= wanted))
        await asyncio.wait([waiting, ending], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        process.kill()
        await ending
