"""What every benchmark prints and writes: a table, the machine that it was measured on, and both as JSON."""

import argparse
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Figures of one kind.

    Attributes:
        title: What was measured, with its units.
        rows: Each with the same keys, which are the columns' names. None stands for what could not be measured.
        notes: What a reader has to know; also what was skipped, and why.
    """

    title: str
    rows: Sequence[Row]
    notes: Sequence[str] = ()


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "load": os.getloadavg()[0],
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def options(name: str, doc: str | None) -> argparse.ArgumentParser:
    """Return the command line that all benchmarks share."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=doc)
    parser.add_argument("--json", type=Path, default=RESULTS / f"{name}.json", help="where the figures go")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it works, measures nothing")
    return parser


def publish(name: str, path: Path, tables: Sequence[Table]) -> None:
    """Print tables and write them as JSON."""
    here = machine()
    print(f"{name}: {here['cpu']}, {here['cores']} cores, Python {here['python']}, load {here['load']:.1f}")
    for table in tables:
        print(f"\n{table.title}\n{_text(table.rows)}")
        for note in table.notes:
            print(f"  {note}")
    measured_at = datetime.now(UTC).isoformat(timespec="seconds")
    found = {"name": name, "measured_at": measured_at, "machine": here, "tables": [asdict(table) for table in tables]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
    print(f"\nwritten to {path}")


def _text(rows: Sequence[Row]) -> str:
    if not rows:
        return "  (nothing)"
    names = list(rows[0])
    cells = [names, *([_cell(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    return "\n".join("  " + "  ".join(_aligned(line, widths)) for line in cells)


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *rest = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
    return [first.strip().ljust(widths[0]), *rest]


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 100
        else f"{value:.0f}"
        if isinstance(value, float)
        else str(value)
    )
