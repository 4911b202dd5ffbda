"""One evaluation while it runs: who has to be asked what, what follows from an answer, and when it is enough."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Literal

from moa._runtime.engine import Engine
from moa.errors import EngineError
from moa.evaluation._data.datasets import Instruction
from moa.evaluation._judges.judge_calls import is_out_of_money
from moa.evaluation._metrics.stopping import Settlement
from moa.evaluation._runner.best_of_n import select
from moa.evaluation._runner.config import EvaluationConfig
from moa.evaluation._runner.early_stopping import StoppingMonitor
from moa.evaluation._runner.generation import ask, cached_proposal
from moa.evaluation._runner.job_queue import JobQueue
from moa.evaluation._runner.journal import Journal
from moa.evaluation._runner.precomputed import precomputed_record
from moa.evaluation._runner.progress import Progress
from moa.evaluation._runner.reaggregating import reaggregate
from moa.evaluation._runner.records import Record, sum_calls
from moa.evaluation._runner.run_directory import RunDirectory
from moa.evaluation._runner.spend_tracker import Tally
from moa.evaluation._runner.systems import System
from moa.evaluation._runner.verdict_rows import Row, copy_verdict, is_final, pair_of, row_of

Ended = Literal["complete", "budget", "decided"]

_JUDGE = "judge of "
_NEXT_TO_NOTHING_USD = 1e-9


class Experiment:
    """Asks, judges and writes down until nothing is left, the budget is used up, or the answer is known.

    Args:
        setup: What is evaluated.
        folder: Where; opened.
        journal: Writes it down.
        on_progress: Hears after every step.

    Attributes:
        ended: How it ended.
        records: What there is, by system and prompt.
        rows: The verdicts that there are, by system and prompt.
    """

    def __init__(
        self,
        setup: EvaluationConfig,
        folder: RunDirectory,
        journal: Journal,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._setup, self._folder, self._journal = setup, folder, journal
        self._on_progress = on_progress
        self.ended: Ended = "complete"
        self.records: dict[str, dict[int, Record]] = {system.name: {} for system in setup.systems}
        self.rows: dict[str, dict[int, Row]] = {system.name: {} for system in setup.judged}
        self._crew = JobQueue(setup.concurrency)
        self._tally = Tally(setup.budget_usd)
        self._random = random.Random(f"order/{setup.seed}")
        self._order = self._random.sample(setup.instructions, len(setup.instructions))
        self._rank = {instruction.index: float(rank) for rank, instruction in enumerate(self._order)}
        self._looks = StoppingMonitor(setup, self._order)
        self._queued: set[tuple[str, int]] = set()
        self._failed: set[tuple[str, int]] = set()
        # Pairs of which a side failed, and pairs about which the judge could not be asked.
        self._unjudgeable: set[tuple[str, int]] = set()
        self._unjudged: set[tuple[str, int]] = set()
        # Of what there is a record, be it of a failure: what it cost is in the tally.
        self._told: set[tuple[str, int]] = set()
        self._load()

    @property
    def left_usd(self) -> float | None:
        """US dollars of the budget that earlier sessions have left, never 0; None without a budget."""
        limit = self._setup.budget_usd
        return None if limit is None else max(limit - self._tally.spent_usd, _NEXT_TO_NOTHING_USD)

    @property
    def settlement(self) -> Settlement | None:
        """Under `until`, what the verdicts have settled by now; None if nobody asked or nothing can be said yet."""
        return self._looks.settlement()

    async def run(self, engine: Engine) -> None:
        """Do all that is left to do.

        Args:
            engine: Asks.

        Raises:
            MoaError: Asking on is of no use, or nothing can be written down.
        """
        self._engine = engine
        await self._file_outputs()
        for instruction in self._order:
            self._begin(instruction)
        self._look()
        self._tell()
        await self._crew.run()

    def _load(self) -> None:
        for system in self._setup.systems:
            for record in self._folder.all_records(system.name):
                self._tally.pay(system.name, record.bought_usd, priced=record.cost_usd is not None)
                self._told.add((system.name, record.index))
            for record in self._folder.records(system.name).values():
                self._keep(record)
        for system in self._setup.judged:
            for row in self._folder.verdict_rows(system.name):
                self._pay_judge(system.name, row)
                if is_final(row):
                    self.rows[system.name][row["index"]] = row

    async def _file_outputs(self) -> None:
        """Write down what comes out of files, as if it had been asked."""
        for system in self._setup.systems:
            if system.outputs is not None:
                known = self.records[system.name]
                new = [precomputed_record(system, one) for one in self._setup.instructions if one.index not in known]
                await self._journal.append(self._folder.calls(system.name), *(record.as_dict() for record in new))
                for record in new:
                    self._keep(record)

    def _begin(self, instruction: Instruction) -> None:
        """Queue what can be done for a prompt at once; the rest follows from it."""
        parent = self.records[self._setup.mixture.name].get(instruction.index)
        if parent is not None:
            self._derive(instruction, parent)
        for system in self._setup.systems:
            if system.is_asked and not self._has_output(system, instruction.index):
                self._queue_answer(system, instruction)
        if parent is not None and parent.has_output:
            self._queue_dependents(instruction, resumed=True)
        self._queue_judging(instruction)

    def _has_output(self, system: System, index: int) -> bool:
        record = self.records[system.name].get(index)
        return record is not None and record.has_output

    def _queue(self, name: str, instruction: Instruction, job: Callable[[], Awaitable[None]]) -> None:
        # Prompts in random order, and systems at random within a prompt: whenever it stops, whole prompts are done,
        # and all systems have been asked under the same load.
        self._crew.add((self._rank[instruction.index], self._random.random()), partial(self._affordable, name, job))

    def _queue_answer(self, system: System, instruction: Instruction) -> None:
        self._queue(system.name, instruction, partial(self._answer, system, instruction))

    def _queue_dependents(self, instruction: Instruction, *, resumed: bool = False) -> None:
        """Queue what could not be asked before the mixture was: what goes by its proposals, members it left behind.

        Members whose proposal failed are asked alone when the evaluation is resumed, as all that failed is asked again.
        """
        for system in self._setup.systems:
            if self._has_output(system, instruction.index):
                continue
            is_member = system.role == "member" and system.cached
            is_left_behind = is_member and (resumed or instruction.index not in self.records[system.name])
            if is_left_behind or system.follows:
                self._queue_answer(system, instruction)

    def _queue_judging(self, instruction: Instruction) -> None:
        """Have the judge asked what can be asked by now: once about outputs that are the same.

        As when selection picked a member's proposal: the other system takes the verdict over once it is there.
        """
        opponent, index = self._setup.opponent, instruction.index
        if opponent is None or not self._has_output(opponent, index):
            return
        theirs = self.records[opponent.name][index].output
        for mine, alike in self._by_output(index).items():
            rows = [row for name in alike if (row := self._verdict(name, index, theirs, mine)) is not None]
            new = [name for name in alike if index not in self.rows[name] and (name, index) not in self._queued]
            if rows:
                self._queued.update((name, index) for name in new)
                for name in new:
                    self._crew.tidy(partial(self._commit_verdict, name, instruction, copy_verdict(rows[0], name)))
            elif new == alike:
                # Whom the judge was asked about before: replies of then are counted there.
                name = min(alike, key=lambda name: (_JUDGE + name, index) not in self._told)
                self._queued.add((name, index))
                self._queue(_JUDGE, instruction, partial(self._judge, name, opponent, instruction))

    def _by_output(self, index: int) -> dict[str, list[str]]:
        """The judged systems that have an output on a prompt, by what it is."""
        found: dict[str, list[str]] = {}
        for system in self._setup.judged:
            if self._has_output(system, index):
                found.setdefault(self.records[system.name][index].output, []).append(system.name)
        return found

    def _verdict(self, name: str, index: int, theirs: str, mine: str) -> Row | None:
        """The verdict on a system's output; one on other texts, as a ledger was cut off since, is forgotten."""
        row = self.rows[name].get(index)
        if row is not None and (row["output_1"], row["output_2"]) != (theirs, mine):
            del self.rows[name][index]
            return None
        return row

    async def _affordable(self, name: str, job: Callable[[], Awaitable[None]]) -> None:
        """Do a job unless the budget may not last for it."""
        with self._tally.promise(name) as fits:
            if fits:
                await job()
            else:
                self._stop("budget")

    def _stop(self, why: Ended) -> None:
        if self.ended == "complete":
            self.ended = why
        self._crew.stop()

    async def _answer(self, system: System, instruction: Instruction) -> None:
        """Have one prompt answered; the next one may begin while it is written down."""
        record = await self._asked(system, instruction)
        self._tally.pay(system.name, record.bought_usd, priced=record.cost_usd is not None)
        self._crew.tidy(partial(self._commit, system, instruction, record))

    async def _commit(self, system: System, instruction: Instruction, record: Record) -> None:
        """Write a record down, and only then count it and do what follows from it."""
        if system.role == "mixture" and record.status != "stopped":
            self._derive(instruction, record)
        await self._journal.append(self._folder.calls(system.name), record.as_dict())
        if record.status == "stopped":
            self._stop("budget")
            return
        self._keep(record)
        self._tally.steps += 1
        if system.role == "mixture":
            self._queue_dependents(instruction)
        self._queue_judging(instruction)
        self._look()
        self._tell()

    async def _asked(self, system: System, instruction: Instruction) -> Record:
        seed, again = self._setup.seed, (system.name, instruction.index) in self._told
        whole = self._setup.mixture
        if system.follows and whole.mixture is not None:
            parent = self.records[whole.name][instruction.index]
            if system.role == "selection":
                return await select(self._engine, system, instruction, parent, seed, again=again)
            return await reaggregate(self._engine, system, instruction, parent, whole.mixture, seed, again=again)
        return await ask(self._engine, system, instruction, seed, again=again)

    def _derive(self, instruction: Instruction, parent: Record) -> None:
        """Make the members' records that follow from the mixture's; they are on the disk before it is."""
        for system in self._setup.systems:
            if system.role != "member" or not system.cached or self._has_output(system, instruction.index):
                continue
            record = cached_proposal(parent, system)
            if record is not None and (record.has_output or record.index not in self.records[system.name]):
                self._keep(record)
                self._journal.note(self._folder.calls(system.name), record.as_dict())

    async def _judge(self, name: str, opponent: System, instruction: Instruction) -> None:
        judge, index = self._setup.judge, instruction.index
        if judge is None:
            return
        pair = pair_of(self.records[name][index], self.records[opponent.name][index], instruction)
        try:
            row = row_of(pair, await judge.judge(self._engine, pair), judge)
        except EngineError as error:
            if not is_out_of_money(error):
                raise
            row = {"index": index, "stopped": True, "calls": [call.as_dict() for call in error.ledger.calls]}
        self._pay_judge(name, row)
        self._crew.tidy(partial(self._commit_verdict, name, instruction, row))

    async def _commit_verdict(self, name: str, instruction: Instruction, row: Row) -> None:
        await self._journal.append(self._folder.verdicts(name), row)
        if row.get("stopped"):
            self._stop("budget")
            return
        self.rows[name][instruction.index] = row
        if not is_final(row):
            self._unjudged.add((name, instruction.index))
        self._tally.steps += 1
        # Only now, so that whatever is on the disk of a verdict that was taken over, its calls are there too.
        self._queue_judging(instruction)
        self._look()
        self._tell()

    def _pay_judge(self, name: str, row: Row) -> None:
        books, key = sum_calls(row["calls"]), (_JUDGE + name, row["index"])
        self._tally.pay(_JUDGE, books.bought_usd(known=key in self._told), priced=books.cost_usd is not None)
        self._told.add(key)

    def _keep(self, record: Record) -> None:
        self.records[record.system][record.index] = record
        self._failed.discard((record.system, record.index))
        if not record.has_output:
            self._failed.add((record.system, record.index))
        self._note_judgeable(record)

    def _note_judgeable(self, record: Record) -> None:
        opponent, index = self._setup.opponent, record.index
        for name in self.rows:
            if opponent is None or record.system not in (name, opponent.name):
                continue
            lacks_output = not {(name, index), (opponent.name, index)}.isdisjoint(self._failed)
            (self._unjudgeable.add if lacks_output else self._unjudgeable.discard)((name, index))

    def _look(self) -> None:
        """Stop if the verdicts so far have settled the question."""
        if self._looks.decided(self.records, self.rows):
            self._stop("decided")

    @property
    def is_fruitless(self) -> bool:
        """Whether nothing can be said about the mixture: it has no output at all, or no verdict where it should."""
        setup, name = self._setup, self._setup.mixture.name
        if not any(record.has_output for record in self.records[name].values()):
            return True
        return setup.judge is not None and not any(is_final(row) for row in self.rows[name].values())

    @property
    def cause(self) -> str | None:
        """Why most of what failed has failed; None if nothing has."""
        errors = [self.records[system][index].error for system, index in self._failed]
        errors += [self.rows[system][index]["failure"] for system, index in self._unjudged]
        told = Counter(error["message"] for error in errors if error)
        return told.most_common(1)[0][0] if told else None

    def _tell(self) -> None:
        setup, tally = self._setup, self._tally
        answers = sum(len(self.records[system.name]) for system in setup.bought)
        verdicts = sum(len(rows) for rows in self.rows.values())
        answers_total = len(setup.bought) * len(self._order)
        verdicts_total = len(setup.judged) * len(self._order) - len(self._unjudgeable)
        left = max(0, answers_total - answers) + max(0, verdicts_total - verdicts)
        self._on_progress(
            Progress(
                answers=answers,
                answers_total=answers_total,
                verdicts=verdicts,
                verdicts_total=verdicts_total,
                failed=len(self._failed),
                unjudged=len(self._unjudged),
                spent_usd=tally.spent_usd,
                unpriced=tally.unpriced,
                elapsed_s=tally.elapsed_s,
                steps_per_s=tally.steps_per_s,
                left_s=left / tally.steps_per_s if tally.steps_per_s else None,
            )
        )
