"""What a run has: answers by system and prompt, verdicts by system and prompt, out of its store."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import nan
from typing import TypeVar

from pydantic import TypeAdapter

from moa._ledger import ErrorInfo
from moa.evaluation._data.annotations import Judgement
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

JUDGED_AGAIN = "judged_again"
"""Code of a verdict that was given up, to be judged once more."""

LOST = 1.0
"""The preference where only the opponent has an output."""

_VERDICTS, _SCORES = TypeAdapter(Verdict), TypeAdapter(Score)


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
        verdicts: Verdicts on a system's output against the opponent's, likewise. They are kept by the outputs: systems
            with the same output share one.
        scores: What each measure says, by its name, the system and the prompt's index; kept by the output likewise.
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
        judged = () if judge is None or opponent is None else (name for name in systems if name != opponent)
        self.verdicts: dict[str, dict[int, Verdict]] = {name: {} for name in judged}
        self.unjudgeable = 0
        self._failed: dict[int, set[str]] = {}
        self._unjudged: set[tuple[str, int]] = set()
        self._verdicts: dict[tuple[str, str], Verdict] = {}
        self.scores = {measure: {name: dict[int, Score]() for name in systems} for measure in measures}
        self._scores: dict[tuple[str, str, str], Score] = {}
        self._rows = {one.index: row_text(one) for one in instructions} if measures else {}
        self._asked: dict[tuple[str, str], int] = {}
        self._keys = {one.index: one.key for one in instructions}
        self._given = tuple(given)
        self._load_answers()
        self._load_scores()

    def _load_answers(self) -> None:
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

    def _load_scores(self) -> None:
        if self.judge is not None:
            scores = self.store.scores(self.judge)
            self._verdicts = {key: _VERDICTS.validate_python(body) for key, body in scores}
        for measure in self.scores:
            for key, body in self.store.scores(measure):
                self._scores[measure, *key] = _SCORES.validate_python(body)
        for name, records in self.records.items():
            for index in records:
                self.find_verdict(name, index)
                for measure in self.scores:
                    self.find_score(measure, name, index)

    def add(self, record: Record) -> None:
        """Take a record in; it isn't written down."""
        failed, before = self._failed.setdefault(record.index, set()), self._lost_pairs(record.index)
        (failed.discard if record.has_output else failed.add)(record.system)
        self.unjudgeable += self._lost_pairs(record.index) - before
        self.records[record.system][record.index] = record

    def _lost_pairs(self, index: int) -> int:
        failed = self._failed.get(index, set())
        return len(self.verdicts) if self.opponent in failed else len(failed & self.verdicts.keys())

    @property
    def failed(self) -> int:
        """How many answers failed."""
        return sum(map(len, self._failed.values()))

    @property
    def unjudged(self) -> int:
        """How many verdicts are missing because the judge could not be asked."""
        return len(self._unjudged)

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

    def find_verdict(self, system: str, index: int) -> Verdict | None:
        """The verdict on a system's output, perhaps asked for as another system's; None if there is none."""
        if system not in self.verdicts:
            return None
        if not (self.has_output(system, index) and self.has_output(self.opponent, index)):
            return None
        mine, theirs = self.records[system][index], self.records[str(self.opponent)][index]
        found = self._verdicts.get((self._keys[index], outputs_key(theirs.output, mine.output)))
        if found is not None:
            self.verdicts[system][index] = found
            (self._unjudged.discard if is_final(found) else self._unjudged.add)((system, index))
        return found

    def forget_unjudged(self) -> None:
        """Forget what is missing, as a measure or the judge failed or could not be read: they are asked again."""
        for found in (of for by_system in self.scores.values() for of in by_system.values()):
            for index in [index for index, score in found.items() if score.failure is not None]:
                del found[index]
        self._scores = {key: score for key, score in self._scores.items() if score.failure is None}
        # What a failed call had beside it stands, and so does its seed; what can't be read is asked for with another.
        for key, one in self._verdicts.items():
            if one.failure is not None:
                self._asked[key] = one.again + (one.failure.code in (UNPARSEABLE, JUDGED_AGAIN))
        self._verdicts = {key: verdict for key, verdict in self._verdicts.items() if is_final(verdict)}
        for name, index in self._unjudged:
            del self.verdicts[name][index]
        self._unjudged.clear()

    def preferences(self, system: str) -> dict[int, float]:
        """Return the judge's preference on each of a system's pairs, by index; missing verdicts are left out."""
        found = self.verdicts[system].items()
        return {index: verdict.preference for index, verdict in found if verdict.preference is not None}

    def of_pairs(self, system: str, values: Mapping[tuple[str, str], T]) -> dict[int, T]:
        """Return, of values that are kept by prompt and outputs, those of a system's pairs, by index."""
        pairs = (pair for one in self.instructions if (pair := self.pair(system, one)) is not None)
        keys = {pair.index: (self._keys[pair.index], outputs_key(pair.output_1, pair.output_2)) for pair in pairs}
        return {index: values[key] for index, key in keys.items() if key in values}

    def _score_key(self, system: str, index: int) -> tuple[str, str]:
        return self._keys[index], outputs_key(self.records[system][index].output, self._rows[index])

    def find_score(self, measure: str, system: str, index: int) -> Score | None:
        """What a measure says of a system's output, perhaps asked for as another system's; None if it says nothing."""
        if not self.has_output(system, index):
            return None
        found = self._scores.get((measure, *self._score_key(system, index)))
        if found is not None:
            self.scores[measure][system][index] = found
        return found

    async def keep_score(self, measure: str, system: str, index: int, score: Score, paid: Paid) -> None:
        """Keep what a measure says, for all systems that have this very output."""
        key = self._score_key(system, index)
        await self.store.put_score(measure, key, _SCORES.dump_python(score, mode="json"), paid)
        self._scores[measure, *key] = score
        for name in self.records:
            self.find_score(measure, name, index)

    def asked_before(self, pair: Pair) -> int:
        """Return how often a pair was judged in vain, or to be judged once more."""
        return self._asked.get((self._keys[pair.index], outputs_key(pair.output_1, pair.output_2)), 0)

    async def judge_again(self) -> None:
        """Give up every verdict: each pair is judged once more, also if that is interrupted."""
        for key, verdict in self._verdicts.items():
            failure = ErrorInfo(code=JUDGED_AGAIN, message="it is to be judged once more")
            given_up = Verdict(preference=None, again=verdict.again, failure=failure)
            body = _VERDICTS.dump_python(given_up, mode="json")
            await self.store.put_score(str(self.judge), key, body, Paid())
            self._verdicts[key] = given_up
        for name in self.verdicts:
            for index in list(self.verdicts[name]):
                self.find_verdict(name, index)

    def is_settled(self, system: str, index: int, measure: str | None) -> bool:
        """Whether all that is to come of a system on a prompt is there: its answer, and what is said of it.

        Args:
            system: Its name.
            index: The prompt's.
            measure: Of one output; None for the judge.
        """
        if measure is not None:
            there = index in self.records[system]
            return there and (index in self.scores[measure][system] or not self.has_output(system, index))
        names = (system, str(self.opponent))
        there = all(index in self.records[name] for name in names)
        return there and (index in self.verdicts[system] or not all(self.has_output(name, index) for name in names))

    def score(self, measure: str, system: str, index: int) -> float:
        """What a measure says of a system's answer, 0-1; 0 where the system failed, NaN where nothing is known."""
        record, score = self.records[system].get(index), self.scores[measure][system].get(index)
        if record is not None and not record.has_output:
            return 0.0
        return nan if score is None or score.value is None else score.value

    def judgement(self, system: str, instruction: Instruction) -> Judgement | None:
        """What the judge says of a system's output; None while that is to come.

        A system that has no output loses. A prompt on which the opponent has none says nothing about the system: its
        preference is missing, and counted as such. (The official command knows no failures: it reads the same outputs
        files and has its judge compare an empty text.)
        """
        index = instruction.index
        if index not in self.records[system] or index not in self.records[str(self.opponent)]:
            return None
        pair, verdict = self._pair(system, instruction), self.verdicts[system].get(index)
        if verdict is not None:
            return judgement_of(pair, verdict, str(self.judge))
        if not self.has_output(self.opponent, index):
            return replace(judgement_of(pair, Verdict(preference=None), str(self.judge)), verdict="no_baseline")
        if not self.has_output(system, index):
            return replace(judgement_of(pair, Verdict(preference=LOST), str(self.judge)), verdict="no_output")
        return None

    def judgements(self, system: str) -> list[Judgement]:
        """Return what the judge says of a system's outputs, in the prompts' order; nothing where it isn't judged."""
        if system not in self.verdicts:
            return []
        return [found for one in self.instructions if (found := self.judgement(system, one)) is not None]

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

    async def keep_verdict(self, pair: Pair, verdict: Verdict, paid: Paid) -> None:
        """Keep a verdict, for all systems that have this very output."""
        key = (self._keys[pair.index], outputs_key(pair.output_1, pair.output_2))
        await self.store.put_score(str(self.judge), key, _VERDICTS.dump_python(verdict, mode="json"), paid)
        self._verdicts[key] = verdict
        for name in self.verdicts:
            self.find_verdict(name, pair.index)


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


def is_final(verdict: Verdict) -> bool:
    """Whether a verdict stands: a judge that failed, or could not be read, is asked again when a run is resumed."""
    return verdict.failure is None
