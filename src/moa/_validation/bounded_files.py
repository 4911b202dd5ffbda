"""Bounded reading of complete files: regular files only, up to a maximum size."""

import errno
import os
import stat
from pathlib import Path

GIVEN_PIPES = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
"""Path prefixes of pipes that a shell passes, such as `<(command)`: they have a writer."""


def read_file(path: Path, max_bytes: int) -> bytes:
    """Return a file's bytes.

    Args:
        path: A regular file, or a pipe that a shell has made. A named pipe would block until a writer opens it, and
            a device may be endless.
        max_bytes: Maximum size, in bytes.

    Raises:
        OSError: It can't be read, is not a regular file, or is larger.
    """
    # Non-blocking: opening a named pipe would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISFIFO(mode) and str(path).startswith(GIVEN_PIPES):
            os.set_blocking(descriptor, True)
        elif not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"larger than {max_bytes:,} bytes, the maximum", str(path))
    return content
