"""Filling the cells of a run: missing answers are generated, and missing scores are computed.

A prompt's answers come first, then its verdicts; prompts come in random order, and the systems of a prompt at random.
So whenever it stops, whole prompts are done, and all systems were asked under the same load.
"""

import asyncio
import heapq
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Literal

from moa._ledger import ErrorInfo, Ledger
from moa._mixture.roster import roster
from moa._runtime.engine import Engine
from moa.errors import EngineError
from moa.evaluation._data.datasets import Instruction
from moa.evaluation._judges.base import Judge, Pair, Verdict
from moa.evaluation._judges.checks import UnreadableCounter, require_usable
from moa.evaluation._judges.judge_calls import is_out_of_money, together
from moa.evaluation._measures.base import Case, Measure, Score
from moa.evaluation._metrics.stopping import Settlement
from moa.evaluation._runner.early_stopping import StoppingMonitor
from moa.evaluation._runner.generation import failed_record, generate, paid_for
from moa.evaluation._runner.progress import Progress
from moa.evaluation._runner.records import AnswerTrace, Record
from moa.evaluation._runner.spec import Spec
from moa.evaluation._runner.store import Paid
from moa.evaluation._runner.systems import System, as_arrived, request_of
from moa.evaluation._runner.table import Column, Table

Ended = Literal["complete", "budget", "decided"]

_JUDGED_AT_ONCE = 20_000
"""Most prompts whose verdicts are asked for by the same batch jobs."""

_PROMPTS_AHEAD = 2
"""Prompts under way, as a multiple of the places: enough that no place is ever empty."""


class Fill:
    """One session of filling a run's cells.

    Args:
        spec: What is evaluated.
        table: What is there.
        on_progress: Hears after every step.

    Attributes:
        ended: How it ended.
    """

    def __init__(self, spec: Spec, table: Table, on_progress: Callable[[Progress], None]) -> None:
        self._spec, self._table, self._on_progress = spec, table, on_progress
        table.forget_unjudged()
        self.ended: Ended = "complete"
        self._unreadable = UnreadableCounter(self._spec.concurrency)
        self._random = random.Random(f"order/{self._spec.seed}")
        self._order = self._random.sample(self._spec.instructions, len(self._spec.instructions))
        self._looks = StoppingMonitor(self._spec, table, self._order)
        self._places = self._verdict_places = _Places(self._spec.concurrency)
        self._began_at, self._steps = time.monotonic(), 0
        self._spent = Paid()
        first_layers = [mixture.layers[0] for mixture in spec.mixtures.values() if mixture.layers]
        proposers = {request_of(agent) for layer in first_layers for agent in layer.proposers}
        self._alone = {name: request_of(one.aggregator) for name, one in spec.mixtures.items() if not one.layers}
        # What they are asked depends on how the others fared: a proposal that failed has been asked for.
        self._last = {one.name for one in spec.asked if one.parent is not None}
        if spec.shares_replies:
            self._last |= {name for name, request in self._alone.items() if request in proposers}
        self._failed_proposals: dict[tuple[int, str], tuple[ErrorInfo, Ledger]] = {}

    @property
    def settlement(self) -> Settlement | None:
        """Under `until`, what the verdicts have settled by now; None if nobody asked or nothing can be said yet."""
        return self._looks.settlement()

    async def run(self, engine: Engine, spent: Paid, *, judging: Engine | None = None) -> None:
        """Do all that is left to do.

        Args:
            engine: Asks.
            spent: By earlier sessions.
            judging: Asks judges and measures; None: the same engine. With batch jobs, where a verdict takes hours, all
                prompts are under way at once, and only answers are limited by the concurrency.

        Raises:
            EvaluationDataError: The judge can't be used, or can't be read.
            MoaError: Asking on is of no use, or nothing can be written down.
        """
        self._engine, self._judging, self._spent = engine, judging or engine, spent
        prompts_at_once = _PROMPTS_AHEAD * self._spec.concurrency
        if self._judging.batch_jobs is not None:
            self._verdict_places = _Places(_JUDGED_AT_ONCE)
            prompts_at_once = min(_JUDGED_AT_ONCE, len(self._order))
        judge = self._spec.judge
        if judge is not None and self._spec.checks_judge and not self._table.judging.count:
            try:
                await self._write_off(await require_usable(judge, self._engine))
            except EngineError as error:
                await self._give_up(error)
        self._look()
        self._report_progress()
        prompts = enumerate(self._order)
        await together(*(self._prompts(prompts) for _ in range(prompts_at_once)))
        # An output that was judged before has its verdict without a step.
        self._report_progress()

    async def _prompts(self, prompts: Iterator[tuple[int, Instruction]]) -> None:
        for rank, instruction in prompts:
            if self._is_stopped:
                return
            await self._prompt(rank, instruction)

    async def _prompt(self, rank: int, instruction: Instruction) -> None:
        asked = self._random.sample(self._spec.asked, len(self._spec.asked))
        for is_last in (False, True):
            turn = [system for system in asked if (system.name in self._last) == is_last]
            systems = [system for system in turn if not self._table.has_output(system.name, instruction.index)]
            await together(*(self._answer(rank, system, instruction) for system in systems))
        await together(
            *(
                self._score(rank, measure, name, instruction)
                for measure in self._spec.measures
                for name in self._table.open(self._table.measuring[measure.name], instruction.index)
            ),
            *(
                self._judge(rank, judge, pair)
                for name in self._table.open(self._table.judging, instruction.index)
                if (judge := self._spec.judge) and (pair := self._table.cells.pair(name, instruction.index))
            ),
        )

    async def _answer(self, rank: int, system: System, instruction: Instruction) -> None:
        async with self._places.at(rank):
            if self._is_stopped:
                return
            failed = self._failed_proposals.get((instruction.index, self._alone.get(system.name, "")))
            if failed is None:
                record, trace = await self._asked(system, instruction)
                ledger = Ledger(calls=trace.calls)
            else:
                record, trace = failed_record(system.name, instruction, *failed)
                ledger = Ledger()
        self._note_failures(system, instruction, trace)
        if record.status == "stopped":
            await self._write_off(ledger)
            self._stop("budget")
            return
        await self._table.keep_answer(record, trace, self._pay(ledger))
        self._step()

    def _note_failures(self, system: System, instruction: Instruction, trace: AnswerTrace) -> None:
        """Note which proposals failed: a member alone fails likewise, in place of having a second chance."""
        if system.mixture is None or not trace.layers or not self._spec.shares_replies:
            return
        proposals = trace.layers[0].roster
        failed = {one.agent: one.error for one in proposals if one.status == "failed" and one.error is not None}
        for member in roster(system.mixture.layers[0]):
            if member.sample == 0 and member.name in failed:
                calls = tuple(call for call in trace.calls if (call.layer, call.agent) == (1, member.name))
                key = (instruction.index, request_of(member.agent))
                self._failed_proposals[key] = failed[member.name], Ledger(calls=calls)

    async def _asked(self, system: System, instruction: Instruction) -> tuple[Record, AnswerTrace]:
        mixture, why = system.mixture, "no other proposal is left to answer from"
        if mixture is not None and system.parent is not None:
            before = self._table.cells.records((system.parent,), instruction.index).get(system.parent)
            if before is None or not before.used:
                mixture, why = None, f"{system.parent} made no proposal to answer from"
            else:
                mixture = as_arrived(mixture, before.used)
        if mixture is None:
            return failed_record(system.name, instruction, ErrorInfo(code="no_proposals", message=why), Ledger())
        return await generate(self._engine, system.name, mixture, instruction, self._spec.seed)

    async def _score(self, rank: int, measure: Measure, system: str, instruction: Instruction) -> None:
        output = self._table.cells.texts((system,), instruction.index)[system]
        case = Case(prompt=instruction.text, output=output, row=instruction.row)
        column = self._table.measuring[measure.name]
        await self._say(rank, column, system, instruction.index, lambda: measure.score(self._judging, case))

    async def _judge(self, rank: int, judge: Judge, pair: Pair) -> None:
        again = self._table.asked_before(pair)

        async def ask() -> Verdict:
            return replace(await judge.judge(self._judging, pair, again=again), again=again)

        await self._say(rank, self._table.judging, pair.generator_2, pair.index, ask)

    async def _say(
        self, rank: int, column: Column, system: str, index: int, ask: Callable[[], Awaitable[Verdict | Score]]
    ) -> None:
        """Have something said about an output, and keep it, unless nothing more is asked."""
        async with self._verdict_places.at(rank):
            if self._is_stopped:
                return
            try:
                value = await ask()
            except EngineError as error:
                await self._give_up(error)
                return
        await self._table.keep(column, system, index, value, self._pay(value.ledger))
        self._step()
        if isinstance(value, Verdict):
            self._unreadable.add(value)

    async def _give_up(self, error: EngineError) -> None:
        """Stop where the budget is used up; any other error that a judge or measure raises is for good."""
        await self._write_off(error.ledger)
        if not is_out_of_money(error):
            raise error
        self._stop("budget")

    @property
    def _is_stopped(self) -> bool:
        return self.ended != "complete"

    def _stop(self, why: Ended) -> None:
        if not self._is_stopped:
            self.ended = why

    def _look(self) -> None:
        """Stop if what is known so far has settled the question."""
        if self._looks.decided():
            self._stop("decided")

    async def _write_off(self, ledger: Ledger) -> None:
        """Count what calls have cost that have become no cell."""
        await self._table.store.put_spent(self._pay(ledger))

    def _pay(self, ledger: Ledger) -> Paid:
        """Count what calls have cost, and return it."""
        paid = paid_for(ledger)
        self._spent = Paid(
            cached_usd=self._spent.cached_usd + paid.cached_usd,
            lost_usd=self._spent.lost_usd + paid.lost_usd,
            unpriced=self._spent.unpriced or paid.unpriced,
        )
        return paid

    def _step(self) -> None:
        self._steps += 1
        self._look()
        self._report_progress()

    @property
    def is_fruitless(self) -> bool:
        """Whether nothing can be said about the candidate: it has no output, or no verdict where it should."""
        name = self._spec.candidate.name
        if not self._table.answers[name].has_output.any():
            return True
        columns = [column for column in self._table.columns if name in column.found]
        given = (both for one in columns for both in zip(one.is_known[name], one.found[name].failure, strict=True))
        return self._spec.is_judged and not any(is_known and failure is None for is_known, failure in given)

    @property
    def cause(self) -> str | None:
        """Why most of what failed has failed; None if nothing has."""
        columns = [one.error for one in self._table.answers.values()]
        columns += [rows.failure for column in self._table.columns for rows in column.found.values()]
        causes = Counter(error["message"] for column in columns for error in column if error is not None)
        return causes.most_common(1)[0][0] if causes else None

    def _report_progress(self) -> None:
        spec, table = self._spec, self._table
        answers = sum(table.answered[system.name] for system in spec.asked)
        verdicts = sum(column.count for column in table.columns)
        answers_total = len(spec.asked) * len(self._order)
        verdicts_total = len(spec.judged) * len(self._order) - table.unjudgeable
        verdicts_total += len(spec.measures) * (len(spec.systems) * len(self._order) - table.failed)
        left = max(0, answers_total - answers) + max(0, verdicts_total - verdicts)
        elapsed_s = time.monotonic() - self._began_at
        steps_per_s = self._steps / elapsed_s if self._steps and elapsed_s else None
        self._on_progress(
            Progress(
                answers=answers,
                answers_total=answers_total,
                verdicts=verdicts,
                verdicts_total=verdicts_total,
                failed=table.failed,
                unjudged=table.judging.failed,
                spent_usd=self._spent.cached_usd + self._spent.lost_usd,
                lost_usd=self._spent.lost_usd,
                unpriced=self._spent.unpriced,
                elapsed_s=elapsed_s,
                steps_per_s=steps_per_s,
                left_s=left / steps_per_s if steps_per_s else None,
            )
        )


class _Places:
    """So many places; of those who wait for one, the one with the smallest rank is next."""

    def __init__(self, size: int) -> None:
        self._free, self._numbers = size, count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def at(self, rank: int) -> AsyncIterator[None]:
        if self._free:
            self._free -= 1
        else:
            turn = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (rank, next(self._numbers), turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._release()
                raise
        try:
            yield
        finally:
            self._release()

    def _release(self) -> None:
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
