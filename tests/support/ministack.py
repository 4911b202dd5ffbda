"""MiniStack, an emulator of AWS by others, in a process of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ministack() -> Iterator[str]:
    """Give its address on loopback while it runs."""
    command = [sys.executable, "-m", "hypercorn", "ministack.app:app", "--bind", "127.0.0.1:0"]
    # In a group of its own: hypercorn serves from a child, which outlives it if it alone is killed.
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, text=True, start_new_session=True, **pipes) as process:
        try:
            assert process.stdout is not None
            yield next(found[0] for line in process.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
        finally:
            os.killpg(process.pid, signal.SIGKILL)
