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
import traceback
from pathlib import Path

from tests.docs.blocks import BLOCKS, Block

OUTCOMES = "outcomes.json"


def run(block: Block, folder: Path) -> str:
    """Run a block; return its traceback, empty if it ran."""
    for other in BLOCKS:
        if other.page == block.page and other.title and other is not block:
            (folder / other.title).write_text(other.code, encoding="utf-8")
    # A notebook awaits at the top level; a block may too.
    code = compile(block.code, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        try:
            result = eval(code, {"__name__": "__main__"})
            if inspect.iscoroutine(result):
                asyncio.run(result)
        except Exception:
            return traceback.format_exc()
    return ""


def main(folder: Path) -> None:
    """Run all blocks that are to be run."""
    outcomes = {}
    for number, block in enumerate(BLOCKS):
        if block.language == "python" and not block.reason:
            own = folder / str(number)
            own.mkdir()
            outcomes[str(block)] = run(block, own)
    (folder / OUTCOMES).write_text(json.dumps(outcomes), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
