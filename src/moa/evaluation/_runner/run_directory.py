"""The folder of one evaluation: what it is (the manifest), its cells, its replies, and what others read."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from moa._validation.file_errors import os_reason
from moa.errors import EvaluationDataError, UsageError
from moa.evaluation._data.outputs import UNFINISHED, file_name, write_json
from moa.evaluation._metrics.stopping import Settlement

FORMAT = 2
"""Of the folder; another one can't be filled."""

_LONGEST_SHOWN = 60


class RunDirectory:
    """The paths and files of one evaluation.

    Args:
        path: The folder; made when it is opened.

    Attributes:
        cells: Answers and scores; see `store.CellStore`.
        replies: The engine's cache: the record of every call that was bought.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cells, self.replies = path / "cells.sqlite", path / "replies.sqlite"
        self._lock: BinaryIO | None = None

    @property
    def manifest_path(self) -> Path:
        """What the evaluation is: `protocol` (the last session's), and one entry in `sessions` for each start."""
        return self.path / "manifest.json"

    @property
    def verdict_jobs(self) -> Path:
        """The batch jobs of judges and measures that are under way; `moa batch -o RUN/verdicts --status` shows them."""
        return self.path / "verdicts.jobs"

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

    def outputs(self, system: str) -> Path:
        """A system's outputs in AlpacaEval's format."""
        return self.path / "outputs" / f"{file_name(system)}.json"

    def annotations(self, system: str) -> Path:
        """A system's annotations in AlpacaEval's format."""
        return self.path / "annotations" / f"{file_name(system)}.json"

    def open(self, protocol: Mapping[str, Any], session: Mapping[str, Any]) -> None:
        """Make the folder, or make sure that this evaluation may fill it; nobody else may use it meanwhile.

        Prompts, systems and measures may come and go from session to session. What a system is under its name, and the
        seed, may not change: there are answers by them.

        Raises:
            UsageError: Another process works in it, or a system of it was another one.
            EvaluationDataError: It can't be read or written.
        """
        self._take()
        try:
            self._begin(protocol, session)
        except BaseException:
            self.close()
            raise

    def _begin(self, protocol: Mapping[str, Any], session: Mapping[str, Any]) -> None:
        known: dict[str, Any] = self.manifest() if self.manifest_path.exists() else {"format": FORMAT}
        if known.get("format") != FORMAT:
            raise UsageError(
                f"{self.path} was made by another version of this program, and can't be gone on with: give another "
                "--out (`moa eval report` still reads it)"
            )
        protocol = json.loads(json.dumps(protocol))
        systems = known.get("systems", {}) | {one["name"]: one for one in protocol["systems"]}
        again = {name: systems[name] for name in known.get("systems", {})}
        changed = list(differences(_fixed(known), _fixed({**known, "protocol": protocol, "systems": again})))
        if changed:
            more = f" (and {len(changed) - 3} more)" if len(changed) > 3 else ""
            raise UsageError(
                f"{self.path} was begun with other settings and can't be resumed with these: "
                f"{'; '.join(changed[:3])}{more}. Give the former settings, a system another name, or another --out"
            )
        sessions = [*known.get("sessions", ()), dict(session)]
        # What a former session's judge and measures said stays in the report, beside this one's.
        judge, former = protocol.get("judge"), known.get("protocol", {})
        judges = {one["name"]: one["against"] for one in (former.get("judge"), judge) if one}
        measured = (*protocol.get("measures", ()), *known.get("measures", former.get("measures", ())))
        manifest = {
            "format": FORMAT,
            "protocol": protocol,
            "systems": systems,
            "judges": {**known.get("judges", {}), **judges},
            "measures": list(dict.fromkeys(measured)),
            "sessions": sessions,
        }
        write_json(self.manifest_path, manifest)
        for folder in (self.path / "outputs", self.path / "annotations"):
            for unfinished in folder.glob(f".*{UNFINISHED}"):
                unfinished.unlink()

    def add_systems(self, systems: Sequence[Mapping[str, Any]]) -> None:
        """Note systems that the run has come to have besides; what one is under its name may not change.

        Raises:
            UsageError: One of them was another one.
            EvaluationDataError: The manifest can't be read or written.
        """
        known = self.manifest()
        changed = [
            line
            for one in json.loads(json.dumps(systems))
            if one["name"] in known["systems"]
            for line in differences(known["systems"][one["name"]], one, one["name"])
        ]
        if changed:
            raise UsageError(f"{self.path} was begun with other settings: {changed[0]}. Give another --out")
        added = {one["name"]: one for one in systems}
        write_json(self.manifest_path, {**known, "systems": {**known["systems"], **added}})

    def _take(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("ab")
            _lock(self._lock)
        except BlockingIOError as error:
            self.close()
            raise UsageError(f"{self.path}: another process is working in this run directory") from error
        except OSError as error:
            raise EvaluationDataError(f"can't be used as run directory: {os_reason(error)}", path=self.path) from error

    def manifest(self) -> dict[str, Any]:
        """The manifest.

        Raises:
            EvaluationDataError: It is missing or can't be read.
        """
        try:
            value = json.loads(self.manifest_path.read_text(encoding="utf-8"))
        except OSError as error:
            message = f"can't be read ({os_reason(error)}): is this the --out of an evaluation?"
            raise EvaluationDataError(message, path=self.manifest_path) from error
        except ValueError as error:
            raise EvaluationDataError(f"is not JSON: {error}", path=self.manifest_path) from error
        if not isinstance(value, dict) or not isinstance(value.get("protocol"), dict):
            raise EvaluationDataError("is no manifest of an evaluation", path=self.manifest_path)
        return value

    def close(self) -> None:
        """Let others use the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _fixed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What may not change while there are answers by it."""
    if "sessions" not in manifest:
        return {}
    return {key: manifest["protocol"][key] for key in ("seed", "shares_replies")} | {"systems": manifest["systems"]}


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
