"""Contenders side by side: one round of each in turn, so that whatever else the machine does hits all of them alike."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.contender import Work

SCRIPT = Path(__file__).parent / "contender.py"


class ContenderFailed(Exception):
    """A contender's process ended before it was done; says why in its own last words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one contender needed, per run.

    Attributes:
        cpu_ms: Milliseconds of processor time, in the middle round.
        wall_s: Seconds of a round, in the middle one.
        peak_mb: Most memory of its process.
        extra_kb: Kilobytes that its memory grew by over that after a single run, for each run at once.
    """

    cpu_ms: float
    wall_s: float
    peak_mb: float
    extra_kb: float


class Contender:
    """A process that does rounds of work on command."""

    def __init__(self, python: Sequence[str], name: str, work: Work) -> None:
        self.name, self._work = name, work
        self._process = subprocess.Popen(
            [*python, "-P", str(SCRIPT), name, json.dumps(asdict(work))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._rounds: list[Mapping[str, float]] = []
        self._alone_kb = 0.0

    def ready(self) -> None:
        """Wait until it has run once."""
        self._alone_kb = self._next()["peak_kb"]

    def round(self) -> None:
        """Have it do a round."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._rounds.append(self._next())

    def _next(self) -> Mapping[str, Any]:
        assert self._process.stdout is not None
        said = "it said nothing"
        for line in self._process.stdout:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
            said = line.strip() or said
        raise ContenderFailed(said[:200])

    def figures(self) -> Figures:
        """What it needed in the rounds so far. The first one opens connections and is left out if there are others."""
        rounds = self._rounds[1:] or self._rounds
        peak_kb = max(one["peak_kb"] for one in self._rounds)
        return Figures(
            cpu_ms=median(one["cpu_s"] for one in rounds) / self._work.runs * 1000,
            wall_s=median(one["wall_s"] for one in rounds),
            peak_mb=peak_kb / 1000,
            extra_kb=(peak_kb - self._alone_kb) / self._work.at_once,
        )

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def contenders(pythons: Mapping[str, Sequence[str]], work: Work) -> Iterator[list[Contender]]:
    """Start contenders by name, each with the interpreter of its environment; ready when they are given."""
    with ExitStack() as stack:
        started = [Contender(python, name, work) for name, python in pythons.items()]
        for contender in started:
            stack.callback(contender.close)
        for contender in started:
            contender.ready()
        yield started


def measure(pythons: Mapping[str, Sequence[str]], work: Work, rounds: int) -> dict[str, Figures]:
    """Return what each contender needs for the same work, in rounds that take turns."""
    with contenders(pythons, work) as started:
        for _ in range(rounds + 1):
            for contender in started:
                contender.round()
        return {contender.name: contender.figures() for contender in started}


HERE = (sys.executable,)
"""The interpreter of this project's own environment."""
