"""The input of a job while it is written: requests of one model, as lines of a file."""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO

from moa.providers._batch_jobs.store import JobStore


@dataclass(slots=True)
class JobInput:
    """The input of the next job of a model, while it is being written.

    Attributes:
        token: Our own name for the job.
        model: The model's id.
        file: The file, open for writing.
        started_at: When it was begun, as `time.monotonic` has it.
        added_at: When the last request was added.
        size: Bytes so far.
        keys: The requests' keys, in their order.
        untried: Of requests that the model is not known to take: the keys, by the parts that it may refuse.
        timer: Looks whether it is to be sent.
    """

    token: str
    model: str
    file: IO[bytes]
    started_at: float
    added_at: float
    size: int = 0
    keys: list[str] = field(default_factory=list)
    untried: dict[frozenset[str], list[str]] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None


def new_input(store: JobStore, model: str) -> JobInput:
    """Return an empty input.

    Raises:
        OSError: Its file can't be written.
    """
    token, now = f"moa-{secrets.token_hex(12)}", time.monotonic()
    return JobInput(token=token, model=model, file=store.input_of(token).open("xb"), started_at=now, added_at=now)


def copied(store: JobStore, token: str, model: str, keys: Sequence[str], key_of: Callable[[bytes], str]) -> JobInput:
    """Return an input of some requests of another one, in their order there.

    Raises:
        OSError: A file can't be read or written.
    """
    fresh, wanted = new_input(store, model), frozenset(keys)
    with store.input_of(token).open("rb") as lines:
        fresh.file.writelines(line for line in lines if key_of(line) in wanted)
    fresh.keys = list(keys)
    return fresh
