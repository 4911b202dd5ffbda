"""Files of JSON lines that survive being killed: a line counts once it is on the disk."""

import asyncio
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from moa.errors import EvaluationDataError

Line = Mapping[str, Any]


class Journal:
    """Appends lines to files, inside of an event loop that never waits for the disk.

    One thread writes what has come at once, so that a killed process leaves it behind; another one syncs what was
    written, which takes longer, so that a power cut does too. Lines reach the disk in the order of appending, also
    across files.
    """

    def __init__(self) -> None:
        self._pending: list[tuple[Path, bytes]] = []
        self._unsynced: set[Path] = set()
        self._noted = self._written = self._synced = 0
        self._writing: asyncio.Future[None] | None = None
        self._syncing: asyncio.Future[None] | None = None
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._error: BaseException | None = None
        self._files: dict[Path, BinaryIO] = {}
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._syncer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal-sync")

    def note(self, path: Path, line: Line) -> None:
        """Append a line without waiting; it is on the disk before any line that is appended later."""
        self._pending.append((path, orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)))
        self._noted += 1
        self._go_on()

    async def append(self, path: Path, *lines: Line) -> None:
        """Append lines; comes back when they, and all that were noted before, are on the disk.

        Raises:
            EvaluationDataError: They can't be written.
        """
        for line in lines:
            self.note(path, line)
        await self._synced_up_to(self._noted)

    async def _synced_up_to(self, number: int) -> None:
        if self._error is not None:
            raise self._error
        if self._synced < number:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append((number, waiting))
            await waiting

    def _go_on(self) -> None:
        """Begin each stage that has work and is not at work: whoever comes meanwhile is part of its next batch."""
        if self._error is not None:
            return
        # Futures with callbacks, no tasks: an event loop that is being closed cancels those, half-way.
        loop = asyncio.get_running_loop()
        if self._writing is None and self._pending:
            batch, self._pending = self._pending, []
            self._writing = loop.run_in_executor(self._writer, self._write, batch)
            self._writing.add_done_callback(partial(self._wrote, batch))
        if self._syncing is None and self._unsynced:
            paths, self._unsynced = self._unsynced, set()
            self._syncing = loop.run_in_executor(self._syncer, self._sync, paths)
            self._syncing.add_done_callback(partial(self._did_sync, self._written))

    def _wrote(self, batch: list[tuple[Path, bytes]], done: asyncio.Future[None]) -> None:
        self._writing, self._error = None, self._error or done.exception()
        if self._error is None:
            self._written += len(batch)
            self._unsynced |= {path for path, _ in batch}
        self._go_on()
        if self._error is not None:
            self._tell()

    def _did_sync(self, number: int, done: asyncio.Future[None]) -> None:
        self._syncing, self._error = None, self._error or done.exception()
        if self._error is None:
            self._synced = number
        self._go_on()
        self._tell()

    def _tell(self) -> None:
        """Let those go on whose lines are on the disk; if nothing can be written any more, all of them."""
        waiting, self._waiting = self._waiting, []
        for number, future in waiting:
            if future.done():
                continue  # whoever waited was cancelled
            if self._error is not None:
                future.set_exception(self._error)
            elif number <= self._synced:
                future.set_result(None)
            else:
                self._waiting.append((number, future))

    def _write(self, batch: list[tuple[Path, bytes]]) -> None:
        by_path: defaultdict[Path, list[bytes]] = defaultdict(list)
        for path, line in batch:
            by_path[path].append(line)
        for path, lines in by_path.items():
            with _told_of(path):
                left = memoryview(b"".join(lines))
                while left:  # a disk that is nearly full takes a part
                    left = left[self._open(path).write(left) :]

    def _open(self, path: Path) -> BinaryIO:
        if path not in self._files:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._files[path] = path.open("ab", buffering=0)
            _sync_folder(path.parent)
        return self._files[path]

    def _sync(self, paths: set[Path]) -> None:
        for path in paths:
            with _told_of(path):
                os.fsync(self._files[path].fileno())

    async def aclose(self) -> None:
        """Write what is left and close the files."""
        try:
            await self._synced_up_to(self._noted)
        finally:
            self._writer.shutdown()
            self._syncer.shutdown()
            for file in self._files.values():
                file.close()


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EvaluationDataError(f"can't be written: {error.strerror}", path=path) from error


def _sync_folder(folder: Path) -> None:
    """Make a new file's name durable too; Windows has no such thing."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_journal(path: Path, *, repair: bool = False) -> list[dict[str, Any]]:
    """Return a journal's lines, without a last one that was being written when the process was killed.

    Args:
        path: The file; none has no lines.
        repair: Cut such a line off, so that others can be appended; for whoever has the file to himself.

    Raises:
        EvaluationDataError: The file can't be read, or a line before the last one is no JSON object.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise EvaluationDataError(f"can't be read: {error.strerror}", path=path) from error
    lines = raw.split(b"\n")
    parsed = [_object(line) for line in lines[:-1]]
    whole = len(raw) - len(lines[-1])
    if parsed and parsed[-1] is None:
        # After a power cut the last line may have its end but not all that was before it.
        parsed.pop()
        whole -= len(lines[-2]) + 1
    if repair and whole < len(raw):
        os.truncate(path, whole)
    if None in parsed:
        row = parsed.index(None) + 1
        raise EvaluationDataError("is no JSON object: the file was changed by something else", path=path, row=row)
    return [line for line in parsed if line is not None]


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
