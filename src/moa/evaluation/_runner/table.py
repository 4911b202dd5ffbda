"""What a run has: answers by system and prompt, verdicts by system and prompt, out of its store."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import nan
from typing import Generic, TypeVar

from pydantic import TypeAdapter

from moa._ledger import ErrorInfo, Ledger
from moa.evaluation._data.annotations import NO_BASELINE, NO_OUTPUT, Judgement
from moa.evaluation._data.datasets import Instruction
from moa.evaluation._data.outputs import Output
from moa.evaluation._judges.base import Pair, Verdict, judgement_of
from moa.evaluation._judges.judge_calls import UNPARSEABLE
from moa.evaluation._measures.base import Score
from moa.evaluation._runner.generation import given_record, output_of
from moa.evaluation._runner.records import RECORDS, TRACES, AnswerTrace, Record
from moa.evaluation._runner.spec import Spec
from moa.evaluation._runner.store import CellStore, Paid, outputs_key, row_text

T = TypeVar("T")
V = TypeVar("V", Verdict, Score)
Key = tuple[str, str]
"""What tells a score from others of its measure: the key of the prompt, and that of the outputs."""

JUDGED_AGAIN = "judged_again"
"""Code of a verdict that was given up, to be judged once more."""

LOST = 1.0
"""The preference where only the opponent has an output."""

_VERDICTS, _SCORES = TypeAdapter(Verdict), TypeAdapter(Score)
_NO_CALLS = Ledger()


class Column(Generic[V]):
    """What the judge, or a measure, says of outputs. Kept by the outputs: systems with the same one share it.

    Of each verdict and score only the figures are held, and neither its calls nor what was written: `whole` reads them.

    Args:
        name: The judge's name, or the measure's.
        systems: Names of the systems of which it says something.
        store: Where all of it is.
        kind: What it is written down as.
        key: The key of a system's output on a prompt; None while there is nothing to be said about.

    Attributes:
        found: By system and by the prompt's index.
        failed: Systems and indices where it failed, and is asked again when the run is resumed.
        stored: All of it, also about outputs that no system has any more.
    """

    def __init__(
        self,
        name: str,
        systems: Iterable[str],
        store: CellStore,
        kind: TypeAdapter[V],
        key: Callable[[str, int], Key | None],
    ) -> None:
        self.name, self._store, self._key_of = name, store, key
        self._kind: TypeAdapter[V] = kind
        self.found: dict[str, dict[int, V]] = {system: {} for system in systems}
        self.failed: set[tuple[str, int]] = set()
        self._keys: dict[tuple[str, int], Key] = {}
        self.stored: dict[Key, V] = {key: _light(kind.validate_python(body)) for key, body in store.scores(name)}

    def key(self, system: str, index: int) -> Key | None:
        """The key of a system's output on a prompt; None if there is nothing to be said about."""
        known = self._keys.get((system, index)) or self._key_of(system, index)
        if known is not None:
            self._keys[system, index] = known
        return known

    def changed(self, system: str, index: int) -> None:
        """Take note that a system's output on a prompt, or what it is compared with, is another one."""
        self._keys.pop((system, index), None)

    def find(self, system: str, index: int) -> V | None:
        """What is said of a system's output, perhaps asked for as another system's; None if nothing is."""
        key = self.key(system, index) if system in self.found else None
        found = None if key is None else self.stored.get(key)
        if found is not None:
            self.found[system][index] = found
            (self.failed.discard if found.failure is None else self.failed.add)((system, index))
        return found

    def whole(self, system: str, index: int) -> V | None:
        """The same with all that is known of it."""
        key = self.key(system, index)
        body = None if key is None else self._store.score(self.name, key)
        return None if body is None else self._kind.validate_python(body)

    def open(self, index: int) -> list[str]:
        """Systems about whose outputs to a prompt nothing is said yet, one of those that have the same output."""
        names = {key: name for name in self.found if (key := self.key(name, index)) and self.find(name, index) is None}
        return list(names.values())

    async def keep(self, system: str, index: int, value: V, paid: Paid) -> None:
        """Keep what is said about a system's output to a prompt, for all systems that have this very one."""
        if (key := self.key(system, index)) is not None:
            await self.put(key, value, paid)
            for name in self.found:
                self.find(name, index)

    async def put(self, key: Key, value: V, paid: Paid) -> None:
        """Write down what is said about outputs."""
        await self._store.put_score(self.name, key, self._kind.dump_python(value, mode="json"), paid)
        self.stored[key] = _light(value)

    def forget_failed(self) -> dict[Key, V]:
        """Forget where it failed, so that it is asked again; return what was said there."""
        failed = {key: one for key, one in self.stored.items() if one.failure is not None}
        for key in failed:
            del self.stored[key]
        for system, index in self.failed:
            del self.found[system][index]
        self.failed.clear()
        return failed


def _light(one: V) -> V:
    return replace(one, ledger=_NO_CALLS, raw=()) if isinstance(one, Verdict) else replace(one, ledger=_NO_CALLS)


class Table:
    """Answers and verdicts, as far as they are there.

    Args:
        instructions: The prompts.
        systems: Names of the systems.
        opponent: Name of the one against which all others are judged; None if nothing is.
        judge: The judge's name, likewise.
        measures: Names of the measures of one output.
        store: Where they are kept.
        given: Answers that come out of files, in place of what is kept.

    Attributes:
        records: Answers by system and by the prompt's index.
        judging: Verdicts on outputs against the opponent's; of no system if nothing is judged.
        measuring: What each measure says, by its name.
        columns: All of these.
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
        given: Iterable[Record] = (),
    ) -> None:
        self.instructions, self.opponent, self.judge, self.store = instructions, opponent, judge, store
        self.records: dict[str, dict[int, Record]] = {name: {} for name in systems}
        self.unjudgeable = 0
        self._failed: dict[int, set[str]] = {}
        self._keys = {one.index: one.key for one in instructions}
        self._rows = {one.index: row_text(one) for one in instructions} if measures else {}
        judged = () if judge is None or opponent is None else (name for name in systems if name != opponent)
        self.judging = Column(judge or "", judged, store, _VERDICTS, self._pair_key)
        self.measuring = {one: Column(one, systems, store, _SCORES, self._score_key) for one in measures}
        self.columns: tuple[Column[Verdict] | Column[Score], ...] = (self.judging, *self.measuring.values())
        self._asked: dict[Key, int] = {}
        self._given = tuple(given)
        self._load()

    def _load(self) -> None:
        indices: dict[str, list[int]] = {}
        for index, key in self._keys.items():
            indices.setdefault(key, []).append(index)
        for name in self.records:
            for key, body in self.store.answers(name):
                record = RECORDS.validate_python(body)
                for index in indices.get(key, ()):
                    self.add(record if record.index == index else replace(record, index=index))
        for record in self._given:
            self.add(record)
        for column in self.columns:
            for name, records in self.records.items():
                for index in records:
                    column.find(name, index)

    def add(self, record: Record) -> None:
        """Take a record in; it isn't written down."""
        index, before = record.index, self._lost_pairs(record.index)
        failed = self._failed.setdefault(index, set())
        (failed.discard if record.has_output else failed.add)(record.system)
        self.unjudgeable += self._lost_pairs(index) - before
        self.records[record.system][index] = record
        for column in self.columns:
            for name in self.records if record.system == self.opponent else (record.system,):
                column.changed(name, index)

    def _lost_pairs(self, index: int) -> int:
        failed = self._failed.get(index, set())
        return len(self.verdicts) if self.opponent in failed else len(failed & self.verdicts.keys())

    @property
    def verdicts(self) -> Mapping[str, Mapping[int, Verdict]]:
        """Verdicts by system and by the prompt's index; nothing but figures, see `Column`."""
        return self.judging.found

    @property
    def scores(self) -> Mapping[str, Mapping[str, Mapping[int, Score]]]:
        """What each measure says, by its name, the system and the prompt's index; likewise."""
        return {name: column.found for name, column in self.measuring.items()}

    @property
    def failed(self) -> int:
        """How many answers failed."""
        return sum(map(len, self._failed.values()))

    @property
    def unjudged(self) -> int:
        """How many verdicts are missing because the judge could not be asked."""
        return len(self.judging.failed)

    def has_output(self, system: str | None, index: int) -> bool:
        """Whether there is an output to be judged."""
        record = None if system is None else self.records[system].get(index)
        return record is not None and record.has_output

    def pair(self, system: str, instruction: Instruction) -> Pair | None:
        """A system's and the opponent's output; None while one of them has none."""
        if not (self.has_output(system, instruction.index) and self.has_output(self.opponent, instruction.index)):
            return None
        return self._pair(system, instruction)

    def _pair(self, system: str, instruction: Instruction) -> Pair:
        mine, theirs = (self.records[str(name)][instruction.index] for name in (system, self.opponent))
        return Pair(
            instruction=instruction.text,
            output_1=theirs.output,
            output_2=mine.output,
            generator_1=theirs.system,
            generator_2=mine.system,
            index=instruction.index,
            dataset=instruction.category or instruction.dataset,
        )

    def _pair_key(self, system: str, index: int) -> Key | None:
        if not (self.has_output(system, index) and self.has_output(self.opponent, index)):
            return None
        mine, theirs = self.records[system][index], self.records[str(self.opponent)][index]
        return self._keys[index], outputs_key(theirs.output, mine.output)

    def _score_key(self, system: str, index: int) -> Key | None:
        if not self.has_output(system, index):
            return None
        return self._keys[index], outputs_key(self.records[system][index].output, self._rows[index])

    def forget_unjudged(self) -> None:
        """Forget what is missing, as a measure or the judge failed or could not be read: they are asked again."""
        for column in self.measuring.values():
            column.forget_failed()
        # What a failed call had beside it stands, and so does its seed; what can't be read is asked for with another.
        for key, one in self.judging.forget_failed().items():
            code = None if one.failure is None else one.failure.code
            self._asked[key] = one.again + (code in (UNPARSEABLE, JUDGED_AGAIN))

    def preferences(self, system: str) -> dict[int, float]:
        """Return the judge's preference on each of a system's pairs, by index; missing verdicts are left out."""
        found = self.verdicts[system].items()
        return {index: verdict.preference for index, verdict in found if verdict.preference is not None}

    def of_pairs(self, system: str, values: Mapping[Key, T]) -> dict[int, T]:
        """Return, of values that are kept by prompt and outputs, those of a system's pairs, by index."""
        keys = {index: self.judging.key(system, index) for index in self._keys}
        return {index: values[key] for index, key in keys.items() if key is not None and key in values}

    def asked_before(self, system: str, index: int) -> int:
        """Return how often a pair was judged in vain, or to be judged once more."""
        key = self.judging.key(system, index)
        return 0 if key is None else self._asked.get(key, 0)

    async def judge_again(self) -> None:
        """Give up every verdict: each pair is judged once more, also if that is interrupted."""
        failure = ErrorInfo(code=JUDGED_AGAIN, message="it is to be judged once more")
        for key, verdict in self.judging.stored.items():
            await self.judging.put(key, Verdict(preference=None, again=verdict.again, failure=failure), Paid())
        for name, found in self.judging.found.items():
            for index in found:
                self.judging.find(name, index)

    def is_settled(self, system: str, index: int, measure: str | None) -> bool:
        """Whether all that is to come of a system on a prompt is there: its answer, and what is said of it.

        Args:
            system: Its name.
            index: The prompt's.
            measure: Of one output; None for the judge.
        """
        column = self.judging if measure is None else self.measuring[measure]
        names = (system, str(self.opponent)) if measure is None else (system,)
        there = all(index in self.records[name] for name in names)
        return there and (index in column.found[system] or column.key(system, index) is None)

    def score(self, measure: str, system: str, index: int) -> float:
        """What a measure says of a system's answer, 0-1; 0 where the system failed, NaN where nothing is known."""
        record, score = self.records[system].get(index), self.scores[measure][system].get(index)
        if record is not None and not record.has_output:
            return 0.0
        return nan if score is None or score.value is None else score.value

    def judgement(self, system: str, instruction: Instruction, *, whole: bool = False) -> Judgement | None:
        """What the judge says of a system's output; None while that is to come.

        A system that has no output loses. A prompt on which the opponent has none says nothing about the system: its
        preference is missing, and counted as such. (The official command knows no failures: it reads the same outputs
        files and has its judge compare an empty text.)

        Args:
            system: Its name.
            instruction: The prompt.
            whole: Whether it comes with what the judge wrote and what that cost.
        """
        index = instruction.index
        if index not in self.records[system] or index not in self.records[str(self.opponent)]:
            return None
        pair, verdict = self._pair(system, instruction), self.judging.found[system].get(index)
        if verdict is not None:
            verdict = (self.judging.whole(system, index) if whole else None) or verdict
            return judgement_of(pair, verdict, self.judging.name)
        if not self.has_output(self.opponent, index):
            return replace(judgement_of(pair, Verdict(preference=None), self.judging.name), verdict=NO_BASELINE)
        if not self.has_output(system, index):
            return replace(judgement_of(pair, Verdict(preference=LOST), self.judging.name), verdict=NO_OUTPUT)
        return None

    def judgements(self, system: str) -> list[Judgement]:
        """Return what the judge says of a system's outputs, in the prompts' order; nothing where it isn't judged."""
        if system not in self.verdicts:
            return []
        found = (self.judgement(system, one, whole=True) for one in self.instructions)
        return [one for one in found if one is not None]

    def outputs(self, system: str) -> dict[int, Output]:
        """Return a system's outputs by index, in the prompts' order; of those that failed, the reason."""
        records = self.records[system]
        return {one.index: output_of(records[one.index], one) for one in self.instructions if one.index in records}

    async def keep_given(self) -> None:
        """Keep the answers that come out of files with the others, for those who read the run without the files."""
        for record in self._given:
            await self.keep_answer(record, AnswerTrace(), Paid())

    async def keep_answer(self, record: Record, trace: AnswerTrace, paid: Paid) -> None:
        """Keep an answer; it counts once it is on the disk."""
        values, how = RECORDS.dump_python(record, mode="json"), TRACES.dump_python(trace, mode="json")
        await self.store.put_answer(record.system, self._keys[record.index], values, how, paid)
        self.add(record)


def table_of(spec: Spec, store: CellStore) -> Table:
    """Return what a store has of an evaluation; errors as in `CellStore`."""
    given = [system for system in spec.systems if system.outputs is not None]
    return Table(
        spec.instructions,
        [system.name for system in spec.systems],
        store,
        opponent=None if spec.opponent is None else spec.opponent.name,
        judge=None if spec.judge is None else spec.judge.name,
        measures=[measure.name for measure in spec.measures],
        given=[given_record(system, one) for system in given for one in spec.instructions],
    )
