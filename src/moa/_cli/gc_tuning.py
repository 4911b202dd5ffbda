"""Python's garbage collector, for commands that do many runs at once."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_YOUNG, _MIDDLE, _OLD = 50_000, 20, 100


@contextmanager
def reduced_gc() -> Iterator[None]:
    """Have the collector look seldom, and hardly ever at what has been there for long; for processes of our own only.

    Each time it looks through what is alive, and with many runs at once that is a lot: by default it takes a fifth of
    the processor's time at 300 answers at once. Nearly nothing that a run leaves behind is a cycle: it finds little.
    """
    former = gc.get_threshold()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
    try:
        yield
    finally:
        gc.set_threshold(*former)
