"""The folder of one evaluation: what it is (the manifest), its cells, its replies, and what others read."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from pydantic import TypeAdapter, ValidationError

from moa._validation.file_errors import os_reason
from moa.errors import EvaluationDataError, UsageError
from moa.evaluation._data.outputs import UNFINISHED, file_name, write_json
from moa.evaluation._metrics.stopping import Settlement
from moa.evaluation._runner.manifest import (
    FORMAT,
    Manifest,
    Protocol,
    Session,
    SystemEntry,
    as_json,
    changes,
    continued,
    parsed,
)

_SETTLEMENTS = TypeAdapter(Settlement)


class RunDirectory:
    """The paths and files of one evaluation.

    Args:
        path: The folder; made when it is opened.

    Attributes:
        cells: Answers and scores; see `store.CellStore`.
        replies: The engine's cache: the record of every call that was bought.
        verdict_jobs: The batch jobs of judges and measures that are under way; `moa batch -o RUN/verdicts --status`
            shows them.
        manifest_path: What the evaluation is: `protocol` (the last session's), and one entry in `sessions` for each
            start.
        settlement_path: What the last session's verdicts have settled, if it was to stop early.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cells, self.replies = path / "cells.sqlite", path / "replies.sqlite"
        self.verdict_jobs = path / "verdicts.jobs"
        self.manifest_path, self.settlement_path = path / "manifest.json", path / "settlement.json"

    def settlement(self) -> Settlement | None:
        """What the last session's verdicts have settled; None if it was not to stop early.

        Raises:
            EvaluationDataError: The file can't be read.
        """
        if not self.settlement_path.exists():
            return None
        try:
            return _SETTLEMENTS.validate_json(self.settlement_path.read_bytes())
        except (OSError, ValidationError) as error:
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

    @contextmanager
    def opened(self, protocol: Protocol, session: Session) -> Iterator[None]:
        """Make the folder, or make sure that this evaluation may fill it; nobody else may use it meanwhile.

        Raises:
            UsageError: Another process works in it, or its seed or a system of it was another one.
            EvaluationDataError: It can't be read or written.
        """
        with self._locked():
            known = self.manifest() if self.exists else None
            if known is not None and known.format != FORMAT:
                raise UsageError(
                    f"{self.path} was made by another version of this program, and can't be gone on with: give another "
                    "--out (`moa eval report` still reads it)"
                )
            self._write(known, continued(known, protocol, session))
            for folder in (self.path / "outputs", self.path / "annotations"):
                for unfinished in folder.glob(f".*{UNFINISHED}"):
                    unfinished.unlink()
            yield

    def add_systems(self, systems: Iterable[SystemEntry]) -> None:
        """Note systems that the run has come to have besides; errors as in `opened`."""
        known = self.manifest()
        self._write(known, replace(known, systems={**known.systems, **{one.name: one for one in systems}}))

    def _write(self, known: Manifest | None, manifest: Manifest) -> None:
        changed = changes(known, manifest) if known is not None else ()
        if changed:
            more = f" (and {len(changed) - 3} more)" if len(changed) > 3 else ""
            raise UsageError(
                f"{self.path} was begun with other settings and can't be resumed with these: "
                f"{'; '.join(changed[:3])}{more}. Give the former settings, a system another name, or another --out"
            )
        write_json(self.manifest_path, as_json(manifest))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with ExitStack() as held:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                _lock(held.enter_context((self.path / ".lock").open("ab")))
            except BlockingIOError as error:
                raise UsageError(f"{self.path}: another process is working in this run directory") from error
            except OSError as error:
                message = f"can't be used as run directory: {os_reason(error)}"
                raise EvaluationDataError(message, path=self.path) from error
            yield

    @property
    def exists(self) -> bool:
        """Whether an evaluation was begun in it."""
        return self.manifest_path.exists()

    def manifest(self) -> Manifest:
        """The manifest.

        Raises:
            EvaluationDataError: It is missing or can't be read.
        """
        try:
            return parsed(json.loads(self.manifest_path.read_bytes()))
        except OSError as error:
            message = f"can't be read ({os_reason(error)}): is this the --out of an evaluation?"
            raise EvaluationDataError(message, path=self.manifest_path) from error
        except (ValueError, KeyError, TypeError) as error:
            raise EvaluationDataError(f"is no manifest of an evaluation: {error}", path=self.manifest_path) from error


def _lock(file: BinaryIO) -> None:
    """Take a lock that the operating system gives back however the process ends."""
    if os.name == "posix":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
