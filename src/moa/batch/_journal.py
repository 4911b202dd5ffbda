"""The journal of a batch, from which it resumes: one line per answered row, in the order of completion.

A line is written before its answer is reported, so that no answer is paid for twice after SIGKILL. The journal takes
16 bytes of memory per row.
"""

import hashlib
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from moa._validation.file_errors import os_reason
from moa.errors import UsageError

FORMAT = 1
"""Version of the format."""


def row_key(prompt: object) -> int:
    """Return the first 64 bits of a digest of the prompt, which identify it."""
    digest = hashlib.blake2b(repr(prompt).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


class Journal:
    """The answers of a batch on disk.

    Args:
        path: Its file; created if missing.
        identity: What the answers depend on besides the prompts: a batch with another identity can't resume from it.
        retries_failed: Whether rows that have failed count as not answered.

    Raises:
        UsageError: The file can't be used, or belongs to another batch.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], *, retries_failed: bool = False) -> None:
        self.path = path
        self.failed = 0
        self._offsets, self._keys = array("q"), array("Q")
        try:
            self._file = path.open("a+b")
        except OSError as error:
            raise UsageError(f"{path}: {os_reason(error)}") from error
        try:
            self._read(dict(identity), retries_failed=retries_failed)
        except BaseException:
            self._file.close()
            raise

    def _read(self, identity: dict[str, Any], *, retries_failed: bool) -> None:
        self._file.seek(0)
        head = self._file.readline()
        if not head.endswith(b"\n"):
            self._file.truncate(0)
            self._file.write(orjson.dumps({"moa_batch": FORMAT, **identity}) + b"\n")
            self._file.flush()
            return
        try:
            known = orjson.loads(head)
        except ValueError:
            known = None
        if known != {"moa_batch": FORMAT, **identity}:
            raise UsageError(
                f"{self.path} belongs to a batch with another mixture or seed: give another file with -o, or remove it"
            )
        at = self._file.tell()
        for line in self._file:
            if not line.endswith(b"\n"):  # the process ended during the write
                self._file.truncate(at)
                break
            record = orjson.loads(line)
            if not (record["answer_status"] == "failed" and retries_failed):
                self._note(record["row"], record["key"], at)
                self.failed += record["answer_status"] == "failed"
            at += len(line)
        self._file.seek(0, 2)

    def _note(self, number: int, key: int, offset: int) -> None:
        missing = number + 1 - len(self._offsets)
        if missing > 0:
            self._offsets.extend([-1] * missing)
            self._keys.extend([0] * missing)
        self._offsets[number], self._keys[number] = offset, key

    def has(self, number: int, key: int) -> bool:
        """Return whether a row was answered.

        Raises:
            UsageError: Its prompt has changed since then.
        """
        if number >= len(self._offsets) or self._offsets[number] < 0:
            return False
        if self._keys[number] != key:
            raise UsageError(
                f"row {number + 1} has another prompt than when it was answered: rows may be added at the end only; "
                f"remove {self.path} to begin from the start"
            )
        return True

    def add(self, number: int, key: int, answer: Mapping[str, Any]) -> None:
        """Append an answer; after the return, the answer survives the end of this process.

        Raises:
            OSError: It can't be written.
        """
        offset = self._file.seek(0, 2)
        self._file.write(orjson.dumps({"row": number, "key": key, **answer}) + b"\n")
        self._file.flush()
        self._note(number, key, offset)

    def get(self, number: int) -> Mapping[str, Any] | None:
        """Return a row's answer, or None if there is none."""
        if number >= len(self._offsets) or self._offsets[number] < 0:
            return None
        self._file.seek(self._offsets[number])
        record = orjson.loads(self._file.readline())
        return {name: value for name, value in record.items() if name not in ("row", "key")}

    def close(self) -> None:
        """Close the file."""
        self._file.close()
