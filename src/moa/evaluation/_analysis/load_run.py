"""A run directory read back: every system with its outputs, books and annotations, and how it was measured."""

import json
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from moa.errors import EvaluationDataError
from moa.evaluation._analysis.collected import Collected, Evaluated
from moa.evaluation._analysis.human import HumanCheck, human_check
from moa.evaluation._analysis.measured import Scores, scores_of, scores_of_judge
from moa.evaluation._data.annotations import judgements_of
from moa.evaluation._data.datasets import ALPACA_EVAL
from moa.evaluation._data.outputs import file_name, read_outputs
from moa.evaluation._data.reference_data import BASELINE
from moa.evaluation._data.rows import read_rows
from moa.evaluation._judges.self_preference import conflicts
from moa.evaluation._runner.labels import labels_of
from moa.evaluation._runner.manifest import FORMAT, JudgeEntry, Manifest, Protocol, Session, SystemEntry
from moa.evaluation._runner.preparing import BASELINE_FILE
from moa.evaluation._runner.records import RECORDS, TRACES, AnswerTrace, Record
from moa.evaluation._runner.run_directory import RunDirectory
from moa.evaluation._runner.store import CellStore
from moa.evaluation._runner.table import Table


def collect(folder: RunDirectory) -> Collected:
    """Return what an evaluation has left in its folder so far.

    Args:
        folder: Its run directory, of this format or of the one before.

    Raises:
        EvaluationDataError: It is no run directory, nothing has been answered yet, or a file can't be read.
    """
    manifest = folder.manifest()
    protocol, judge = manifest.protocol, manifest.protocol.judge
    human: tuple[HumanCheck, ...] = ()
    scores: tuple[Scores, ...] = ()
    damaged: list[str] = []
    if manifest.format == FORMAT:
        store = CellStore(folder.cells, read_only=True)
        try:
            table = table_in(manifest, store)
            systems, human = _systems(folder, protocol, table), _human(table, store)
            scores = (*scores_of(table, protocol.measures), *_by_former_judges(manifest, store))
            damaged = store.damaged
        finally:
            store.close()
    else:
        systems = tuple(_system_of_format_1(folder.path, one) for one in protocol.systems)
    if not any(system.name == protocol.candidate and system.outputs for system in systems):
        raise EvaluationDataError("nothing has been answered yet: run the evaluation first", path=folder.path)
    asked = tuple(dict.fromkeys((*(judge.models if judge is not None else ()), *protocol.graders)))
    return Collected(
        systems=systems,
        about=protocol.candidate,
        opponent=None if judge is None else judge.against,
        judge=None if judge is None else judge.name,
        comparable=judge is not None and judge.comparable,
        warnings=(
            *conflicts(asked, {one.name: one.models for one in systems}),
            *_head_to_head(protocol),
            *(f"The {one} was damaged on the disk, and is left out: run the evaluation again." for one in damaged),
        ),
        how=_how(protocol, manifest.session),
        settlement=folder.settlement(),
        planned=protocol.prompts.count,
        human=human,
        scores=scores,
        baseline=protocol.baseline,
        rests_on=next(iter(protocol.measures), None),
    )


def table_in(manifest: Manifest, store: CellStore) -> Table:
    """Return what a run has, by what its manifest says; errors as in `collect`."""
    return _table(manifest, store, manifest.protocol.judge, manifest.measures)


def _table(manifest: Manifest, store: CellStore, judge: JudgeEntry | None, measures: Sequence[str] = ()) -> Table:
    names = [one.name for one in manifest.protocol.systems]
    opponent, name = (None, None) if judge is None else (judge.against, judge.name)
    return Table(store.prompts(), names, store, opponent=opponent, judge=name, measures=measures)


def _by_former_judges(manifest: Manifest, store: CellStore) -> Iterator[Scores]:
    protocol = manifest.protocol
    names = [one.name for one in protocol.systems]
    for judge, opponent in manifest.judges.items():
        if judge != (protocol.judge and protocol.judge.name) and opponent in names:
            found = scores_of_judge(_table(manifest, store, JudgeEntry(name=judge, against=opponent)))
            yield from (found,) if found.points else ()


def _traces(
    cells: Path, system: str, keys: Mapping[str, Sequence[int]], known: Container[int]
) -> dict[int, AnswerTrace]:
    """How answers came about, but for those that another process has added since the others were read."""
    store = CellStore(cells, read_only=True)
    try:
        found = {key: TRACES.validate_python(body) for key, body in store.traces(system)}
    finally:
        store.close()
    return {index: trace for key, trace in found.items() for index in keys.get(key, ()) if index in known}


def _systems(folder: RunDirectory, protocol: Protocol, table: Table) -> tuple[Evaluated, ...]:
    keys: defaultdict[str, list[int]] = defaultdict(list)
    for one in table.instructions:
        keys[one.key].append(one.index)
    return tuple(
        Evaluated(
            name=one.name,
            role=one.role,
            mixture=one.load(),
            parent=one.parent,
            records=table.records[one.name],
            outputs=table.outputs(one.name),
            is_precomputed=one.outputs is not None,
            traces=partial(_traces, folder.cells, one.name, keys, table.records[one.name]),
            annotations=table.judgements(one.name),
        )
        for one in protocol.systems
    )


def _human(table: Table, store: CellStore) -> tuple[HumanCheck, ...]:
    labels = labels_of(store)
    found = (
        human_check(name, str(table.opponent), table.preferences(name), table.of_pairs(name, labels))
        for name in (table.verdicts if labels else ())
    )
    return tuple(one for one in found if one is not None)


def _system_of_format_1(run: Path, entry: SystemEntry) -> Evaluated:
    """A system of a run of the first format: lines of JSON, and the files in AlpacaEval's format."""
    stem = file_name(entry.name)
    found, traces = dict[int, Record](), dict[int, AnswerTrace]()
    for line in _lines(run / "calls" / f"{stem}.jsonl"):
        record = RECORDS.validate_python(line)
        # Times of replies that were given again mean nothing there.
        record = replace(record, seconds=None, first_token_s=None) if line.get("replayed") else record
        if record.status != "stopped" and (record.has_output or record.index not in found):
            found[record.index], traces[record.index] = record, _trace_of_format_1(line)
    path = run / "annotations" / f"{stem}.json"
    rows = read_rows(path) if path.exists() else ()
    outputs = read_outputs(run / "outputs" / f"{stem}.json") if found else ()
    return Evaluated(
        name=entry.name,
        role=entry.role,
        mixture=entry.load(),
        parent=entry.parent,
        records=found,
        outputs=dict(zip(sorted(found), outputs, strict=False)),
        is_precomputed=entry.outputs is not None,
        traces=lambda: traces,
        annotations=judgements_of(rows, path),
    )


def _trace_of_format_1(line: Mapping[str, Any]) -> AnswerTrace:
    layers = [
        {
            "number": layer["layer"],
            "closed_by": "all" if layer["closed_by"] == "failure" else layer["closed_by"],
            "started_s": layer.get("started_s", 0.0),
            "duration_s": layer["duration_s"],
            "roster": [
                {**proposal, "layer": layer["layer"], "index": index, "attempts": ()}
                for index, proposal in enumerate(layer["proposals"])
            ],
        }
        for layer in line["layers"]
    ]
    return TRACES.validate_python({"calls": line["calls"], "layers": layers})


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file; the last one may have been under way when its process was killed."""
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    except ValueError as error:
        raise EvaluationDataError(f"is no file of JSON lines: {error}", path=path) from error


def _head_to_head(protocol: Protocol) -> tuple[str, ...]:
    against = None if protocol.judge is None else protocol.judge.against
    if protocol.prompts.source != ALPACA_EVAL or against in (None, BASELINE):
        return ()
    if protocol.baseline not in (None, against):
        return ()
    return (
        f"Judged head-to-head against {against}: AlpacaEval's difficulties were measured against {BASELINE} and do not "
        f"fit. With that system's outputs ({BASELINE_FILE} in --data-dir, or --reference FILE) both sides are judged "
        "against it and compared prompt by prompt.",
    )


def data_dir_of(manifest: Manifest) -> Path | None:
    """Return where the last session had AlpacaEval's files, if not from the hub and if they are still there."""
    folder = manifest.session.data_dir
    return Path(folder) if folder and Path(folder).is_dir() else None


def _how(protocol: Protocol, session: Session) -> dict[str, Any]:
    prompts, judge = protocol.prompts, protocol.judge
    described = "none"
    if judge is not None:
        asking = (
            f"asking {', '.join(judge.models)}" if judge.models else "as files of annotations have it, asking nobody"
        )
        described = f"{judge.name} {asking}, against {judge.against}"
    topics = {
        "Begun": session.started,
        "Python": session.python,
        "Platform": session.platform,
        "Versions": session.versions,
        "Endpoints": session.endpoints,
        "Prices": session.prices,
    }
    return {
        "Prompts": f"{prompts.count} of {prompts.source}, SHA-256 {prompts.sha256[:16]}…",
        "Judge": described,
        "Seed": str(protocol.seed),
        "Load": f"{session.concurrency} at once; all systems interleaved in random order",
        **{topic: value for topic, value in topics.items() if value},
        "Systems": [{"name": one.name, "role": one.role, "mixture": one.mixture} for one in protocol.systems],
    }
