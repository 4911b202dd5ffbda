"""Files of JSON lines that survive being killed: a line counts once it is on the disk."""

import asyncio
import os
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from moa.errors import EvaluationDataError

Line = Mapping[str, Any]


class Journal:
    """Appends lines to files; one thread writes and syncs them in batches, so that the event loop never waits for it.

    Lines reach the disk in the order of appending, also across files.
    """

    def __init__(self) -> None:
        self._pending: list[tuple[Path, bytes]] = []
        self._noted = self._written = 0
        self._batch: asyncio.Future[None] | None = None
        self._files: dict[Path, BinaryIO] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")

    def note(self, path: Path, line: Line) -> None:
        """Append a line without waiting; it is on the disk before any line that is appended later."""
        self._pending.append((path, orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)))
        self._noted += 1

    async def append(self, path: Path, *lines: Line) -> None:
        """Append lines; comes back when they, and all that were noted before, are on the disk.

        Raises:
            EvaluationDataError: They can't be written.
        """
        for line in lines:
            self.note(path, line)
        await self._written_up_to(self._noted)

    async def _written_up_to(self, number: int) -> None:
        while self._written < number:
            # Whoever comes while a batch is being written waits for the next one, which takes all that came meanwhile.
            if self._batch is None:
                self._batch = asyncio.ensure_future(self._write_batch())
            await asyncio.shield(self._batch)

    async def _write_batch(self) -> None:
        batch, self._pending = self._pending, []
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._write, batch)
            self._written += len(batch)
        finally:
            self._batch = None

    def _write(self, batch: list[tuple[Path, bytes]]) -> None:
        by_path: defaultdict[Path, list[bytes]] = defaultdict(list)
        for path, line in batch:
            by_path[path].append(line)
        for path, lines in by_path.items():
            try:
                file = self._open(path)
                file.write(b"".join(lines))
                file.flush()
                os.fsync(file.fileno())
            except OSError as error:
                raise EvaluationDataError(f"can't be written: {error.strerror}", path=path) from error

    def _open(self, path: Path) -> BinaryIO:
        if path not in self._files:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._files[path] = path.open("ab")
            _sync_folder(path.parent)
        return self._files[path]

    async def aclose(self) -> None:
        """Write what is left and close the files."""
        try:
            await self._written_up_to(self._noted)
        finally:
            self._thread.shutdown()
            for file in self._files.values():
                file.close()


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
