"""The three standard streams, made robust against whatever they are connected to."""

import os
import sys
from io import TextIOWrapper


def prepare() -> None:
    """Give every stream a file, escape what the output encoding lacks, and refuse input that is not text."""
    # In this order: a file takes the first free number, and so that of the stream that it replaces.
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115  (open as long as the process)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, TextIOWrapper):
            # What an encoding lacks is written as an escape; by default it would be a crash.
            output.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdin, TextIOWrapper):
        # In the C locale, Python would let bytes through that are no text, or take ASCII only.
        is_ascii = sys.stdin.encoding.lower() in ("ascii", "ansi_x3.4-1968", "us-ascii")
        sys.stdin.reconfigure(encoding="utf-8" if is_ascii else None, errors="strict")


def give_up_output() -> None:
    """Redirect the unwritable standard output to the null device, so that nothing fails again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
