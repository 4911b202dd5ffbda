"""All benchmarks, one after another, each in a process of its own: `uv run python -m bench [--quick] [NAME …]`.

Each is also a command of its own (`python -m bench.orchestration`), prints tables and writes `bench/results/NAME.json`.
"""

import argparse
import subprocess
import sys

NAMES = (
    "orchestration",
    "batch",
    "batch_file",
    "growth",
    "startup",
    "lc",
    "server",
    "caching",
    "heartbeat",
    "disconnect",
    "verdict",
    "labels",
    "evaluation",
)


def main() -> int:
    """Run the benchmarks; return how many failed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that they work, measures nothing")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    failed = [name for name in chosen.names or NAMES if not _run(name, quick=chosen.quick)]
    if failed:
        print(f"failed: {', '.join(failed)}")
    return len(failed)


def _run(name: str, *, quick: bool) -> bool:
    print(f"\n== {name}", flush=True)
    arguments = ["--quick"] if quick else []
    return subprocess.run([sys.executable, "-m", f"bench.{name}", *arguments]).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
