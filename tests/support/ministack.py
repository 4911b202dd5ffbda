"""MiniStack, an emulator of AWS by others, in a process of its own."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ministack() -> Iterator[str]:
    """Give its address on loopback while it runs."""
    command = [sys.executable, "-m", "hypercorn", "ministack.app:app", "--bind", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            yield next(found[0] for line in process.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
        finally:
            process.kill()
