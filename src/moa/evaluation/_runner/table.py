"""What a run has, out of its store: answers and what is said of them as columns, and whole cells on demand.

Texts are many times as large as all else. They are read a prompt at a time, and nothing here holds them.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from moa._ledger import ErrorInfo
from moa._usage import json_usd
from moa.evaluation._data.annotations import NO_BASELINE, NO_OUTPUT, Judgement
from moa.evaluation._data.datasets import Instruction
from moa.evaluation._judges.base import Pair, Verdict, dropped_of, judgement_of
from moa.evaluation._judges.judge_calls import UNPARSEABLE
from moa.evaluation._measures.base import Score
from moa.evaluation._metrics.verdicts import Annotations, won_by
from moa.evaluation._runner.generation import given_record
from moa.evaluation._runner.records import RECORDS, TRACES, AnswerColumns, AnswerTrace, Record
from moa.evaluation._runner.spec import Spec
from moa.evaluation._runner.store import CellStore, Paid, keys_beside, outputs_key, row_text
from moa.evaluation._statistics.array_types import Bools, Ints, Objects
from moa.providers._lenient_json import loads

JUDGED_AGAIN = "judged_again"
"""Code of a verdict that was given up, to be judged once more."""

LOST = 1.0
"""The preference where only the opponent has an output."""

_VERDICTS, _SCORES = TypeAdapter(Verdict), TypeAdapter(Score)


class Cells:
    """Whole cells of a run by system and prompt, read when they are asked for.

    Args:
        store: Where they are.
        instructions: The prompts.
        judge: The judge's name; None if nothing is judged.
        opponent: Name of the system against which it judges, likewise.
    """

    def __init__(
        self, store: CellStore, instructions: Sequence[Instruction], judge: str | None, opponent: str | None
    ) -> None:
        self.store, self.judge, self.opponent = store, judge, opponent
        self.by_index = {one.index: one for one in instructions}
        self._indices = defaultdict[str, list[int]](list)
        for one in instructions:
            self._indices[one.key].append(one.index)

    def records(self, systems: Sequence[str], index: int) -> dict[str, Record]:
        """The answers of some systems to a prompt, as far as they are there."""
        found = self.store.answers(systems, self.by_index[index].key)
        return {name: _at(RECORDS.validate_python(body), index) for name, _, body, _ in found}

    def texts(self, systems: Sequence[str], index: int) -> dict[str, str]:
        """The texts of their outputs."""
        return {name: one.output for name, one in self.records(systems, index).items() if one.has_output}

    def answers(self, system: str) -> Iterator[tuple[Record, AnswerTrace]]:
        """All answers of a system, one after another, and how they came about."""
        for _, key, body, trace in self.store.answers((system,)):
            record, how = RECORDS.validate_python(body), TRACES.validate_python(loads(trace))
            for index in self._indices.get(key, ()):
                yield _at(record, index), how

    def trace(self, system: str, index: int) -> AnswerTrace:
        """How an answer came about."""
        found = self.store.answers((system,), self.by_index[index].key)
        return next((TRACES.validate_python(loads(trace)) for *_, trace in found), AnswerTrace())

    def verdict(self, pair: Pair) -> Verdict | None:
        """What the judge said of a pair, with all that is known of it."""
        key = self.by_index[pair.index].key, outputs_key(pair.output_1, pair.output_2)
        found = self.store.scores(str(self.judge), *key)
        return next((_VERDICTS.validate_python(body) for _, body in found), None)

    def pair(self, system: str, index: int) -> Pair | None:
        """A system's and the opponent's output; None while one of them has none."""
        found = self.records((system, str(self.opponent)), index)
        if len(found) < 2 or not all(one.has_output for one in found.values()):
            return None
        return self._pair(found[system], found[str(self.opponent)])

    def judgements(self, systems: Sequence[str], records: Mapping[str, Record]) -> dict[str, Judgement]:
        """What the judge says of systems' outputs to a prompt, as far as it says something.

        A system that has no output loses. A prompt on which the opponent has none says nothing about the system: its
        preference is missing, and counted as such. (The official command knows no failures: it reads the same outputs
        files and has its judge compare an empty text.)

        Args:
            systems: Their names.
            records: The answers to that prompt, the opponent's too.
        """
        theirs, found = records.get(str(self.opponent)), dict[str, Judgement]()
        if theirs is None or self.judge is None:
            return {}
        key = self.by_index[theirs.index].key
        bodies = dict(self.store.scores(self.judge, key))
        for name in systems:
            if (mine := records.get(name)) is None:
                continue
            pair = self._pair(mine, theirs)
            if not theirs.has_output:
                row = judgement_of(pair, Verdict(preference=None), self.judge)
                found[name] = replace(row, verdict=NO_BASELINE)
            elif not mine.has_output:
                row = judgement_of(pair, Verdict(preference=LOST), self.judge)
                found[name] = replace(row, verdict=NO_OUTPUT)
            elif body := bodies.get((key, outputs_key(theirs.output, mine.output))):
                found[name] = judgement_of(pair, _VERDICTS.validate_python(body), self.judge)
        return found

    def _pair(self, mine: Record, theirs: Record) -> Pair:
        instruction = self.by_index[mine.index]
        return Pair(
            instruction=instruction.text,
            output_1=theirs.output,
            output_2=mine.output,
            generator_1=theirs.system,
            generator_2=mine.system,
            index=instruction.index,
            dataset=instruction.category or instruction.dataset,
        )


class Column:
    """What a judge, or a measure of one output, says of the outputs of systems, a row for each prompt.

    Args:
        name: The judge's name, or the measure's.
        opponent: Name of the system against which the judge judges; None for a measure.
        found: The rows of each system of which it says something.

    Attributes:
        is_known: By system, where something is said: also that it failed.
        count: How often something is said; `failed`: how often that it failed.
    """

    def __init__(self, name: str, opponent: str | None, found: Mapping[str, Annotations]) -> None:
        self.name, self.opponent, self.found = name, opponent, found
        self.is_known: Mapping[str, Bools] = {name: np.zeros(len(rows), np.bool_) for name, rows in found.items()}
        self.count = self.failed = 0

    @property
    def beside(self) -> tuple[str, ...]:
        """Whose output, besides a system's own, it is that something is said about."""
        return () if self.opponent is None else (self.opponent,)

    def add(self, system: str, row: int, value: Verdict | Score) -> None:
        """Take what is said of an output into its row."""
        self.forget(system, row)
        failure = None if value.failure is None else value.failure.as_dict()
        if isinstance(value, Score):
            self.found[system].won[row], self.found[system].failure[row] = value.value, failure
        else:
            self.found[system].put(
                row,
                won_by(value.preference),
                () if None in value.orders else value.orders,
                control=value.control,
                usd=json_usd(value.ledger.spend.cost_usd),
                seconds=value.seconds,
                failure=failure,
                by_judge=value.by_judge,
                dropped=dropped_of(value),
            )
        self.is_known[system][row] = True
        self.count, self.failed = self.count + 1, self.failed + (failure is not None)

    def forget(self, system: str, row: int) -> None:
        """Forget what is said of an output."""
        if self.is_known[system][row]:
            self.is_known[system][row] = False
            self.count, self.failed = self.count - 1, self.failed - (self.found[system].failure[row] is not None)
            self.found[system].put(row, None, failure=None)


class Table:
    """Answers and what is said of them, as far as they are there, as columns.

    Args:
        instructions: The prompts.
        systems: Names of the systems.
        store: Where all of it is.
        opponent: Name of the one against which all others are judged; None if nothing is.
        judge: The judge's name, likewise.
        measures: Names of the measures of one output.
        former: Judges of earlier sessions, with the system against which each judged.
        has_figures: Whether more is wanted of what the store has than where something is said, and where that failed.

    Attributes:
        answers: By system, a row for each prompt; `answered`: how many of them are there.
        rows: The row of each prompt, by its index.
        judging: What the judge says; of no system if nothing is judged.
        measuring: What each measure says, by its name.
        former: What former judges say.
        cells: The same, whole.
        unjudgeable: How many pairs there are in which a side has failed.
    """

    def __init__(
        self,
        instructions: Sequence[Instruction],
        systems: Sequence[str],
        store: CellStore,
        *,
        opponent: str | None = None,
        judge: str | None = None,
        measures: Sequence[str] = (),
        former: Mapping[str, str] | None = None,
        has_figures: bool = True,
    ) -> None:
        self.instructions, self.opponent, self.judge, self.store = tuple(instructions), opponent, judge, store
        self.cells = Cells(store, instructions, judge, opponent)
        self.rows = {one.index: row for row, one in enumerate(instructions)}
        self.answers = {name: AnswerColumns.empty(len(instructions)) for name in systems}
        self.answered = dict.fromkeys(systems, 0)
        self.unjudgeable, self._has_figures = 0, has_figures
        self._failed: dict[int, set[str]] = {}
        self._prompts = {
            "index": np.array([one.index for one in instructions], dtype=np.int64),
            "instruction": np.array([one.text for one in instructions], dtype=np.object_),
            "category": np.array([one.category or one.dataset for one in instructions], dtype=np.object_),
        }
        self.judging = self._column(judge or "", opponent) if judge and opponent else Column("", None, {})
        self.measuring = {name: self._column(name, None) for name in measures}
        self.former = tuple(self._column(name, against) for name, against in (former or {}).items())
        self.columns = (*((self.judging,) if self.judging.name else ()), *self.measuring.values(), *self.former)
        # In the order of the store, whose pages are then read once.
        for one in sorted(self.instructions, key=lambda one: one.key):
            self._load(one)

    def _column(self, name: str, opponent: str | None) -> Column:
        rows, equal = len(self.instructions), np.ones(len(self.instructions))
        found = {
            system: Annotations.empty(
                rows,
                systems=(system,),
                opponents=() if opponent is None else (opponent,),
                length=equal if opponent is None else answers.length,
                opponent_length=equal if opponent is None else self.answers[opponent].length,
                **self._prompts,
            )
            for system, answers in self.answers.items()
            if system != opponent
        }
        return Column(name, opponent, found)

    def _load(self, instruction: Instruction) -> None:
        records = self.cells.records(tuple(self.answers), instruction.index)
        for record in records.values():
            self.add(record)
        texts = {name: record.output for name, record in records.items() if record.has_output}
        for column in self.columns:
            for name, value in self._stored(column, instruction, texts).items():
                column.add(name, self.rows[instruction.index], value)

    def _stored(
        self, column: Column, instruction: Instruction, texts: Mapping[str, str]
    ) -> dict[str, Verdict] | dict[str, Score]:
        """What the store has of what is said of these outputs to a prompt, by system."""
        bodies = {outputs: body for (_, outputs), body in self.store.scores(column.name, instruction.key)}
        if not bodies or (column.opponent is not None and column.opponent not in texts):
            return {}
        kind: TypeAdapter[Any] = _SCORES if column.opponent is None else _VERDICTS
        read = kind.validate_python if self._has_figures else _without_figures
        key_of = _keys(column, instruction, texts)
        keys = {name: key_of(name) for name in column.found if name in texts}
        values = {outputs: read(bodies[outputs]) for outputs in set(keys.values()) if outputs in bodies}
        return {name: values[outputs] for name, outputs in keys.items() if outputs in values}

    def add(self, record: Record) -> None:
        """Take a record in; it isn't written down."""
        row = self.rows[record.index]
        if not record.has_output or record.index in self._failed:
            before, failed = self._lost_pairs(record.index), self._failed.setdefault(record.index, set())
            (failed.discard if record.has_output else failed.add)(record.system)
            self.unjudgeable += self._lost_pairs(record.index) - before
        self.answered[record.system] += not self.answers[record.system].is_there[row]
        self.answers[record.system].put(row, record)
        for column in self.columns:
            for name in column.found if record.system == column.opponent else (record.system,):
                column.forget(name, row)

    def _lost_pairs(self, index: int) -> int:
        failed = self._failed.get(index, set())
        return len(self.judging.found) if self.opponent in failed else len(failed & self.judging.found.keys())

    @property
    def failed(self) -> int:
        """How many answers failed."""
        return sum(map(len, self._failed.values()))

    def has_output(self, system: str | None, index: int) -> bool:
        """Whether there is an output to be judged."""
        return system is not None and bool(self.answers[system].has_output[self.rows[index]])

    def open(self, column: Column, index: int) -> list[str]:
        """Systems about whose outputs to a prompt nothing is said yet, one of those that have the same output."""
        row, instruction = self.rows[index], self.cells.by_index[index]
        if not all(self.has_output(name, index) for name in column.beside):
            return []
        names = [name for name, known in column.is_known.items() if not known[row] and self.has_output(name, index)]
        if not names:
            return []
        texts = self.cells.texts((*names, *column.beside), index)
        # Perhaps it was asked for as another system's.
        for name, value in self._stored(column, instruction, texts).items():
            if value.failure is None:
                column.add(name, row, value)
        return list({self.answers[one].text_key[row]: one for one in names if not column.is_known[one][row]}.values())

    async def keep(self, column: Column, system: str, index: int, value: Verdict | Score, paid: Paid) -> None:
        """Keep what is said about a system's output to a prompt, for all systems that have this very one."""
        row, instruction = self.rows[index], self.cells.by_index[index]
        outputs = _keys(column, instruction, self.cells.texts((system, *column.beside), index))(system)
        kind: TypeAdapter[Any] = _SCORES if column.opponent is None else _VERDICTS
        body = kind.dump_python(value, mode="json")
        await self.store.put_score(column.name, (instruction.key, outputs), body, paid)
        text_key = self.answers[system].text_key[row]
        for name in column.found:
            if self.has_output(name, index) and self.answers[name].text_key[row] == text_key:
                column.add(name, row, value)

    def forget_unjudged(self) -> None:
        """Forget what is missing, as a measure or the judge failed or could not be read: they are asked again."""
        for column in self.columns:
            for name, known in column.is_known.items():
                for row in np.flatnonzero(known).tolist():
                    if column.found[name].failure[row] is not None:
                        column.forget(name, row)

    def asked_before(self, pair: Pair) -> int:
        """Return how often a pair was judged in vain, or to be judged once more."""
        one = self.cells.verdict(pair)
        if one is None or one.failure is None:
            return 0
        # What a failed call had beside it stands, and so does its seed; what can't be read is asked for with another.
        return one.again + (one.failure.code in (UNPARSEABLE, JUDGED_AGAIN))

    async def judge_again(self) -> None:
        """Give up every verdict: each pair is judged once more, also if that is interrupted."""
        failure = ErrorInfo(code=JUDGED_AGAIN, message="it is to be judged once more")
        for key, body in self.store.scores(self.judging.name):
            again = _VERDICTS.validate_python(body).again
            given_up = Verdict(preference=None, again=again, failure=failure)
            await self.store.put_score(self.judging.name, key, _VERDICTS.dump_python(given_up, mode="json"), Paid())
        for name, known in self.judging.is_known.items():
            for row in np.flatnonzero(known).tolist():
                self.judging.forget(name, row)

    def is_settled(self, system: str, index: int, column: Column) -> bool:
        """Whether all that is to come of a system on a prompt is there: its answer, and what is said of it."""
        row = self.rows[index]
        names = (system, *column.beside)
        there = all(self.answers[name].is_there[row] for name in names)
        return there and bool(column.is_known[system][row] or not all(self.has_output(name, index) for name in names))

    def all_rows(self, column: Column, system: str) -> tuple[Annotations, Bools]:
        """Return what is said of a system's outputs, with a row for every prompt; and where something is.

        A system that has no output loses, or scores nothing. A prompt on which the opponent has none says nothing
        about the system: its verdict is missing, and counted as such.
        """
        found, mine = column.found[system], self.answers[system]
        lost = mine.is_there & ~mine.has_output
        if column.opponent is None:
            return replace(found, won=np.where(lost, 0.0, found.won)), column.is_known[system] | lost
        theirs = self.answers[column.opponent]
        no_baseline = theirs.is_there & ~theirs.has_output
        unasked: Objects = np.full(len(found), None, dtype=np.object_)
        unasked[lost], unasked[no_baseline] = NO_OUTPUT, NO_BASELINE
        nobody = lost | no_baseline
        is_known = mine.is_there & theirs.is_there & (column.is_known[system] | nobody)
        known = replace(
            found,
            won=np.where(no_baseline | ~is_known, np.nan, np.where(lost, 0.0, found.won)),
            usd=np.where(nobody, 0.0, found.usd),
            seconds=np.where(nobody, 0.0, found.seconds),
            same=mine.text_key == theirs.text_key,
            unasked=unasked,
        )
        return known, is_known

    def verdicts(self, column: Column, system: str, rows: Ints | None = None) -> Annotations:
        """Return what is said of a system's outputs on some of the prompts, or all; as far as something is."""
        found, is_known = self.all_rows(column, system)
        rows = np.arange(len(found)) if rows is None else rows
        return found.take(rows[is_known[rows]])

    async def keep_answer(self, record: Record, trace: AnswerTrace, paid: Paid) -> None:
        """Keep an answer; it counts once it is on the disk."""
        await _put(self.store, self.cells.by_index[record.index], record, trace, paid)
        self.add(record)


def _at(record: Record, index: int) -> Record:
    """An answer as that to a prompt of another number, as a later session may give it."""
    return record if record.index == index else replace(record, index=index)


def _keys(column: Column, instruction: Instruction, texts: Mapping[str, str]) -> Callable[[str], str]:
    """What tells a system's output to a prompt, with what it is compared with or graded by, from others."""
    if column.opponent is None:
        row = row_text(instruction)
        return lambda system: outputs_key(texts[system], row)
    key_of = keys_beside(texts[str(column.opponent)])
    return lambda system: key_of(texts[system])


def _without_figures(body: Mapping[str, Any]) -> Score:
    failure = body["failure"]
    return Score(value=None, failure=failure and ErrorInfo(**failure))


async def _put(store: CellStore, instruction: Instruction, record: Record, trace: AnswerTrace, paid: Paid) -> None:
    values, how = RECORDS.dump_python(record, mode="json"), TRACES.dump_python(trace, mode="json")
    await store.put_answer(record.system, instruction.key, values, how, paid)


async def keep_given(spec: Spec, store: CellStore) -> None:
    """Keep the answers that come out of files with the others, for those who read the run without the files."""
    for system in spec.systems:
        if system.outputs is not None:
            for one in spec.instructions:
                await _put(store, one, given_record(system, one), AnswerTrace(), Paid())


def table_of(spec: Spec, store: CellStore, *, has_figures: bool = True) -> Table:
    """Return what a store has of an evaluation, see `Table`; errors as in `CellStore`."""
    return Table(
        spec.instructions,
        [system.name for system in spec.systems],
        store,
        opponent=None if spec.opponent is None else spec.opponent.name,
        judge=None if spec.judge is None else spec.judge.name,
        measures=[measure.name for measure in spec.measures],
        has_figures=has_figures,
    )
