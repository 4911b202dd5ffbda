"""Runs the documentation's Python blocks, each in a folder of its own with the files that its page shows.

`python -m tests.docs.run_blocks FOLDER` writes what became of them to FOLDER.
"""

import ast
import asyncio
import contextlib
import inspect
import io
import json
import sys
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

from moa._mixture.loading import load
from moa._runtime.engine import Engine
from moa._server.app import create_app
from moa._server.options import ServerOptions
from tests.docs.blocks import BLOCKS, OUTCOMES, Block
from tests.support.served import listening

SERVED_AT = "http://127.0.0.1:8080"
"""Where pages say that `moa serve` is; the blocks get the address where it really is."""


def run(block: Block, folder: Path, server: str) -> str:
    """Run a block; return its traceback, empty if it ran."""
    for other in BLOCKS:
        if other.page == block.page and other.title and other is not block:
            (folder / other.title).write_text(other.code, encoding="utf-8")
    text = block.code.replace(SERVED_AT, server)
    # A notebook awaits at the top level; a block may too.
    code = compile(text, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        try:
            result = eval(code, {"__name__": "__main__"})
            if inspect.iscoroutine(result):
                asyncio.run(result)
        except Exception:
            return traceback.format_exc()
    return ""


@contextlib.contextmanager
def served() -> Iterator[str]:
    """Serve the preset `local` in a thread of its own, and give the address."""
    address: Future[str] = Future()
    stop = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with listening(create_app(Engine(), ServerOptions(mixtures=(load("local"),)))) as url:
            address.set_result(url)
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        yield address.result(timeout=30)
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join()


def main(folder: Path) -> None:
    """Run all blocks that are to be run."""
    outcomes = {}
    with served() as server:
        for number, block in enumerate(BLOCKS):
            if block.language == "python" and not block.reason:
                own = folder / str(number)
                own.mkdir()
                outcomes[str(block)] = run(block, own, server)
    (folder / OUTCOMES).write_text(json.dumps(outcomes), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
