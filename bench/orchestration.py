"""What a run costs beyond its calls: time, processor and memory, beside bare aiohttp and beside other packages.

A run is four proposers and an aggregator: five calls, not streamed. `floor` does the same calls with nothing but
`asyncio.gather`, aiohttp and `json`; it has no ledger and survives no failure. Read the ratios: milliseconds depend on
the machine, and the server has a process of its own that is not counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.contender import Work
from bench.model_process import Behaviour, model_process
from bench.peers import BY_DEFAULT, INSTALL, PeerMissing, interpreter
from bench.report import Row, Table, options, publish
from bench.rounds import HERE, ContenderFailed, Figures, measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """How much at once; `delay_s` is what the server takes for a call, longer where more has to be done meanwhile."""

    at_once: int
    runs: int
    delay_s: float
    rounds: int


LEVELS = (
    Level(at_once=1, runs=20, delay_s=0.05, rounds=6),
    Level(at_once=16, runs=160, delay_s=0.05, rounds=11),
    Level(at_once=64, runs=320, delay_s=0.25, rounds=7),
    Level(at_once=512, runs=512, delay_s=2.0, rounds=5),
)
QUICK = (Level(at_once=2, runs=4, delay_s=0.001, rounds=1),)

Pythons = Mapping[str, Sequence[str]]


def compare(levels: Sequence[Level], pythons: Pythons) -> Table:
    """Return what each contender needs at each level."""
    rows: list[Row] = []
    notes: list[str] = []
    for level in levels:
        for name, figures in _measured(level, pythons, notes):
            rows.append(_row(level, name, figures, floor=rows))
    return Table(title="five calls a run", rows=rows, notes=notes)


def _measured(level: Level, pythons: Pythons, notes: list[str]) -> list[tuple[str, Figures]]:
    with model_process(Behaviour(delay_s=level.delay_s)) as url:
        work = Work(url=url, at_once=level.at_once, runs=level.runs)
        ours = {name: python for name, python in pythons.items() if name not in INSTALL}
        found = list(measure(ours, work, level.rounds).items())
        for name in pythons.keys() - ours.keys():
            try:
                found += measure({name: pythons[name]}, work, min(2, level.rounds)).items()
            except ContenderFailed as error:
                notes.append(f"{name} failed at {level.at_once} at once: {error}")
        return found


def _row(level: Level, name: str, figures: Figures, *, floor: Sequence[Row]) -> Row:
    ideal_s = level.runs / level.at_once * 2 * level.delay_s
    floor_ms = next(
        (row["CPU ms/run"] for row in floor if row["at once"] == level.at_once and row["who"] == "floor"),
        figures.cpu_ms,
    )
    return {
        "who": name,
        "at once": level.at_once,
        "CPU ms/run": figures.cpu_ms,
        "x floor": figures.cpu_ms / floor_ms,
        "wall/critical path": figures.wall_s / ideal_s,
        "peak MB": figures.peak_mb,
        "kB per run at once": figures.extra_kb,
    }


def main() -> None:
    """Measure and publish."""
    parser = options("orchestration", __doc__)
    parser.add_argument("--peers", default=",".join(BY_DEFAULT), help=f"of {', '.join(INSTALL)}; empty for none")
    chosen = parser.parse_args()
    pythons: dict[str, Sequence[str]] = {"floor": HERE, "moa": HERE}
    skipped = []
    for peer in filter(None, chosen.peers.split(",") if not chosen.quick else ()):
        try:
            pythons[peer] = interpreter(peer)
        except PeerMissing as error:
            skipped.append(f"{peer} was skipped: {error}")
    table = compare(QUICK if chosen.quick else LEVELS, pythons)
    publish("orchestration", chosen.json, [Table(title=table.title, rows=table.rows, notes=[*table.notes, *skipped])])


if __name__ == "__main__":
    main()
