"""A run directory read back: every system with its outputs, books and annotations, and how it was measured."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from moa.errors import EvaluationDataError
from moa.evaluation._analysis.collected import Collected, Evaluated, Texts
from moa.evaluation._analysis.human import HumanCheck, human_check
from moa.evaluation._analysis.measured import Scores, scores_of
from moa.evaluation._data.annotations import Judgement, judgements_of
from moa.evaluation._data.datasets import ALPACA_EVAL, Instruction
from moa.evaluation._data.outputs import file_name, read_outputs
from moa.evaluation._data.reference_data import BASELINE
from moa.evaluation._data.rows import read_rows
from moa.evaluation._judges.self_preference import conflicts
from moa.evaluation._metrics.verdicts import verdicts_of
from moa.evaluation._runner.labels import Label, labels_of
from moa.evaluation._runner.manifest import FORMAT, JudgeEntry, Manifest, Protocol, Session, SystemEntry
from moa.evaluation._runner.preparing import BASELINE_FILE
from moa.evaluation._runner.records import RECORDS, TRACES, AnswerColumns, AnswerTrace, Record
from moa.evaluation._runner.run_directory import RunDirectory
from moa.evaluation._runner.store import CellStore, outputs_key
from moa.evaluation._runner.table import Cells, Table


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
    reading: Callable[[], AbstractContextManager[Texts]]
    if manifest.format == FORMAT:
        with _reading(folder) as store:
            table = table_in(manifest, store)
            instructions, reading = table.instructions, partial(_cells, folder, table.instructions, judge)
            systems, scores = _systems(protocol, table), scores_of(table, protocol.measures)
            human, damaged = _human(table), store.damaged
    else:
        texts = TextsOfFormat1(folder.path, protocol.systems)
        instructions, systems, reading = texts.instructions, texts.systems, lambda: nullcontext(texts)
    if not any(system.name == protocol.candidate and system.answers.is_there.any() for system in systems):
        raise EvaluationDataError("nothing has been answered yet: run the evaluation first", path=folder.path)
    asked = tuple(dict.fromkeys((*(judge.models if judge is not None else ()), *protocol.graders)))
    return Collected(
        systems=systems,
        instructions=instructions,
        reading=reading,
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
    names, judge = [one.name for one in manifest.protocol.systems], manifest.protocol.judge
    opponent, name = (None, None) if judge is None else (judge.against, judge.name)
    former = {one: against for one, against in manifest.judges.items() if one != name and against in names}
    measures = manifest.measures
    return Table(store.prompts(), names, store, opponent=opponent, judge=name, measures=measures, former=former)


@contextmanager
def _reading(folder: RunDirectory) -> Iterator[CellStore]:
    store = CellStore(folder.cells, read_only=True)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _cells(folder: RunDirectory, prompts: Sequence[Instruction], judge: JudgeEntry | None) -> Iterator[Cells]:
    with _reading(folder) as store:
        yield Cells(store, prompts, *((judge.name, judge.against) if judge is not None else (None, None)))


def _systems(protocol: Protocol, table: Table) -> tuple[Evaluated, ...]:
    verdicts = {name: table.verdicts(table.judging, name) for name in table.judging.found}
    return tuple(
        Evaluated(
            name=one.name,
            role=one.role,
            mixture=one.load(),
            parent=one.parent,
            answers=table.answers[one.name],
            is_precomputed=one.outputs is not None,
            verdicts=verdicts[one.name] if len(verdicts.get(one.name, ())) else None,
        )
        for one in protocol.systems
    )


def _human(table: Table) -> tuple[HumanCheck, ...]:
    labels = labels_of(table.store)
    labelled = {key for key, _ in labels}
    found = list[HumanCheck | None]()
    for name in table.judging.found if labels else ():
        rows = table.judging.found[name]
        is_judged, known = ~np.isnan(rows.won), dict[int, Label]()
        for one in table.instructions:
            if one.key in labelled and (pair := table.cells.pair(name, one.index)) is not None:
                key = one.key, outputs_key(pair.output_1, pair.output_2)
                known |= {one.index: labels[key]} if key in labels else {}
        judged = dict(zip(rows.index[is_judged].tolist(), (1.0 + rows.won[is_judged]).tolist(), strict=True))
        found.append(human_check(name, str(table.opponent), judged, known))
    return tuple(one for one in found if one is not None)


class TextsOfFormat1:
    """A run of the first format: lines of JSON, and the files in AlpacaEval's format.

    Args:
        run: Its directory.
        entries: Its systems.

    Attributes:
        instructions: The prompts that were answered.
        systems: The systems.
    """

    def __init__(self, run: Path, entries: Sequence[SystemEntry]) -> None:
        self._traces = dict[tuple[str, int], AnswerTrace]()
        self._records = {one.name: self._read(run, one.name) for one in entries}
        self._rows = dict[str, dict[int, Judgement]]()
        prompts = dict[int, Instruction]()
        for one in entries:
            stem, indices = file_name(one.name), sorted(self._records[one.name])
            path = run / "annotations" / f"{stem}.json"
            rows = judgements_of(read_rows(path) if path.exists() else (), path)
            self._rows[one.name] = {row.index or 0: row for row in rows}
            outputs = read_outputs(run / "outputs" / f"{stem}.json") if indices else ()
            for index, output in zip(indices, outputs, strict=False):
                prompts[index] = Instruction(index=index, prompt=output.instruction, category=output.dataset)
        self.instructions = tuple(prompts[index] for index in sorted(prompts))
        self.systems = tuple(
            Evaluated(
                name=one.name,
                role=one.role,
                mixture=one.load(),
                parent=one.parent,
                answers=AnswerColumns.of(self._records[one.name].get(each.index) for each in self.instructions),
                is_precomputed=one.outputs is not None,
                verdicts=verdicts_of(tuple(found.values())) if (found := self._rows[one.name]) else None,
            )
            for one in entries
        )

    def _read(self, run: Path, system: str) -> dict[int, Record]:
        found = dict[int, Record]()
        for line in _lines(run / "calls" / f"{file_name(system)}.jsonl"):
            record = RECORDS.validate_python(line)
            # Times of replies that were given again mean nothing there.
            record = replace(record, seconds=None, first_token_s=None) if line.get("replayed") else record
            if record.status != "stopped" and (record.has_output or record.index not in found):
                found[record.index], self._traces[system, record.index] = record, _trace_of_format_1(line)
        return found

    def answers(self, system: str) -> Iterator[tuple[Record, AnswerTrace]]:
        """As in `Texts`; likewise the others."""
        for index, record in self._records[system].items():
            yield record, self._traces[system, index]

    def records(self, systems: Sequence[str], index: int) -> Mapping[str, Record]:
        """See `Texts`."""
        return {name: self._records[name][index] for name in systems if index in self._records[name]}

    def trace(self, system: str, index: int) -> AnswerTrace:
        """See `Texts`."""
        return self._traces.get((system, index), AnswerTrace())

    def judgements(self, systems: Sequence[str], records: Mapping[str, Record]) -> Mapping[str, Judgement]:
        """See `Texts`."""
        places = ((name, records[name].index) for name in systems if name in records)
        return {name: self._rows[name][index] for name, index in places if index in self._rows[name]}


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
