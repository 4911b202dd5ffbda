"""The folder of one evaluation: what it is (the manifest), what was bought (journals), and what others read."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from moa.errors import EvaluationDataError, UsageError
from moa.evaluation._data.outputs import UNFINISHED, Output, file_name, write_json, write_outputs
from moa.evaluation._metrics.stopping import Settlement
from moa.evaluation._runner.journal import read_journal
from moa.evaluation._runner.records import Record

FORMAT = 1
"""Of the folder; another one can't be resumed."""

_LONGEST_SHOWN = 60


class RunDirectory:
    """The paths and files of one evaluation.

    Args:
        path: The folder; made when it is opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.replies = path / "journal" / "replies.jsonl"
        self._lock: BinaryIO | None = None

    @property
    def manifest_path(self) -> Path:
        """What the evaluation is: `protocol`, which must not change, and one entry in `sessions` for each start."""
        return self.path / "manifest.json"

    @property
    def settlement_path(self) -> Path:
        """What the last session's verdicts have settled, if it was to stop early."""
        return self.path / "settlement.json"

    def settlement(self) -> Settlement | None:
        """What the last session's verdicts have settled; None if it was not to stop early.

        Raises:
            EvaluationDataError: The file can't be read.
        """
        if not self.settlement_path.exists():
            return None
        try:
            return Settlement.of(json.loads(self.settlement_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise EvaluationDataError(f"is no settlement: {error}", path=self.settlement_path) from error

    def write_settlement(self, settlement: Settlement | None) -> None:
        """Write what is settled, in place of what was: it holds for one way of looking only."""
        if settlement is not None:
            write_json(self.settlement_path, settlement.as_dict())
        else:
            self.settlement_path.unlink(missing_ok=True)

    def calls(self, system: str) -> Path:
        """The journal of a system's records: its ledger."""
        return self.path / "calls" / f"{file_name(system)}.jsonl"

    def verdicts(self, system: str) -> Path:
        """The journal of the verdicts on a system."""
        return self.path / "journal" / "verdicts" / f"{file_name(system)}.jsonl"

    def outputs(self, system: str) -> Path:
        """A system's outputs in AlpacaEval's format."""
        return self.path / "outputs" / f"{file_name(system)}.json"

    def annotations(self, system: str) -> Path:
        """A system's annotations in AlpacaEval's format."""
        return self.path / "annotations" / f"{file_name(system)}.json"

    def open(self, protocol: Mapping[str, Any], session: Mapping[str, Any]) -> None:
        """Make the folder, or make sure that it is of this very evaluation; nobody else may use it meanwhile.

        Raises:
            UsageError: Another process works in it, or it belongs to an evaluation with other settings.
            EvaluationDataError: It can't be read or written.
        """
        self._take()
        try:
            self._begin(protocol, session)
        except BaseException:
            self.close()
            raise

    def _begin(self, protocol: Mapping[str, Any], session: Mapping[str, Any]) -> None:
        known = self.manifest() if self.manifest_path.exists() else None
        if known is not None:
            self._require_same(known, protocol)
        sessions = [*(known or {}).get("sessions", ()), dict(session)]
        write_json(self.manifest_path, {"format": FORMAT, "protocol": protocol, "sessions": sessions})
        for journal in (*self.path.glob("calls/*.jsonl"), *self.path.glob("journal/**/*.jsonl")):
            read_journal(journal, repair=True)
        for folder in (self.path / "outputs", self.path / "annotations"):
            for unfinished in folder.glob(f".*{UNFINISHED}"):
                unfinished.unlink()

    def _take(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("ab")
            _lock(self._lock)
        except BlockingIOError as error:
            self.close()
            raise UsageError(f"{self.path}: another process is working in this run directory") from error
        except OSError as error:
            raise EvaluationDataError(f"can't be used as run directory: {error.strerror}", path=self.path) from error

    def _require_same(self, known: Mapping[str, Any], protocol: Mapping[str, Any]) -> None:
        if known.get("format") != FORMAT:
            raise UsageError(f"{self.path} was made by another version of this program: give another --out")
        # What was begun without a judge may be judged later.
        if known["protocol"].get("judge") is None:
            known = {**known, "protocol": {**known["protocol"], "judge": protocol.get("judge")}}
        changed = list(differences(_compared(known["protocol"]), _compared(json.loads(json.dumps(protocol)))))
        if changed:
            more = f" (and {len(changed) - 3} more)" if len(changed) > 3 else ""
            raise UsageError(
                f"{self.path} was begun with other settings and can't be resumed with these: "
                f"{'; '.join(changed[:3])}{more}. Give the former settings, or another --out"
            )

    def manifest(self) -> dict[str, Any]:
        """The manifest.

        Raises:
            EvaluationDataError: It is missing or can't be read.
        """
        try:
            value = json.loads(self.manifest_path.read_text(encoding="utf-8"))
        except OSError as error:
            message = f"can't be read ({error.strerror}): is this the --out of an evaluation?"
            raise EvaluationDataError(message, path=self.manifest_path) from error
        except ValueError as error:
            raise EvaluationDataError(f"is not JSON: {error}", path=self.manifest_path) from error
        if not isinstance(value, dict) or not isinstance(value.get("protocol"), dict):
            raise EvaluationDataError("is no manifest of an evaluation", path=self.manifest_path)
        return value

    def records(self, system: str) -> dict[int, Record]:
        """A system's records by index; of several the last one that has an output, or else the last."""
        found: dict[int, Record] = {}
        for record in self.all_records(system):
            if record.status != "stopped" and (record.has_output or record.index not in found):
                found[record.index] = record
        return found

    def all_records(self, system: str) -> tuple[Record, ...]:
        """Every record of a system, also those that were stopped or asked again; the sum of what was bought.

        Raises:
            EvaluationDataError: The journal can't be read.
        """
        return tuple(Record.of(line) for line in read_journal(self.calls(system)))

    def verdict_rows(self, system: str) -> list[dict[str, Any]]:
        """The journal of verdicts on a system: annotations with the judge's calls.

        Raises:
            EvaluationDataError: The journal can't be read.
        """
        return read_journal(self.verdicts(system))

    def write_outputs(self, system: str, outputs: Iterable[Output]) -> None:
        """Write a system's outputs."""
        write_outputs(self.outputs(system), outputs)

    def close(self) -> None:
        """Let others use the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _compared(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """All of a protocol but where the prompts come from: what they are is told by their digest."""
    prompts = {key: value for key, value in protocol.get("prompts", {}).items() if key != "source"}
    return {**protocol, "prompts": prompts}


def _lock(file: BinaryIO) -> None:
    """Take a lock that the operating system gives back however the process ends."""
    if os.name == "posix":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def differences(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """Give what differs between two JSON values, each as `place was this, is that`."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            yield from differences(old.get(key), new.get(key), f"{place}.{key}" if place else key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            name = one.get("name") if isinstance(one, dict) else None
            yield from differences(one, other, f"{place}[{name or number}]")
    elif old != new:
        yield f"{place} was {_shown(old)}, is {_shown(new)}"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "empty"
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"
