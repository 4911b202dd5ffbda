"""Looking at the verdicts so far: are they enough?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from moa.evaluation._data.datasets import Instruction
from moa.evaluation._judges.base import Verdict
from moa.evaluation._length_control.confidence_sequence import (
    MIN_PROMPTS,
    Look,
    look_at,
    look_sizes,
    settle_length_controlled,
)
from moa.evaluation._length_control.models import Judged
from moa.evaluation._metrics.metrics import model_for
from moa.evaluation._runner.records import Record
from moa.evaluation._runner.spec import Spec
from moa.evaluation._statistics.array_types import Floats
from moa.evaluation._statistics.estimates import Interval
from moa.evaluation._statistics.sequential import Decision, SequentialResult, sequential_test, sequential_test_many

Records = Mapping[str, Mapping[int, Record]]
Verdicts = Mapping[str, Mapping[int, Verdict]]

_GROWTH = 1.01
"""How many times as many verdicts there are at the next look, so that thousands of prompts take no longer each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One prompt's verdicts: the mixture's, and the baseline's too where both are judged against a third system.

    Attributes:
        instruction: The prompt's text.
        won: Probability 0-1 that each side wins.
        shorter_by: Characters by which each side's output is shorter than the opponent's.
    """

    instruction: str
    won: tuple[float, ...]
    shorter_by: tuple[int, ...]


class StoppingRule(Protocol):
    """What is looked at."""

    def decided(self, seen: Sequence[Seen]) -> bool:
        """Whether it is known to be settled; may be asked after every verdict, and need not look every time."""

    def settlement(self, seen: Sequence[Seen]) -> SequentialResult | None:
        """What is settled by all that was seen, None if nothing can be said yet."""


class StoppingMonitor:
    """The mixture's verdicts in the random order of the prompts, as far as there is no gap.

    Verdicts that came early are not looked at before those that are still to come: quick ones may be quick because
    the output is short, and short ones lose more often. Prompts without a verdict are left out.

    Args:
        setup: What is evaluated.
        order: The prompts in their random order.
    """

    def __init__(self, setup: Spec, order: Sequence[Instruction]) -> None:
        self._setup, self._order = setup, order
        self._seen: list[Seen] = []
        self._next = 0
        self._gauge = rule_for(setup)

    def decided(self, records: Records, verdicts: Verdicts) -> bool:
        """Return whether the verdicts have settled the question; never, if nobody wants to stop early."""
        return self._gauge is not None and self._take_in(records, verdicts) and self._gauge.decided(self._seen)

    def settlement(self) -> SequentialResult | None:
        """Return what the verdicts looked at have settled, None if nobody asked or nothing can be said yet."""
        return self._gauge.settlement(self._seen) if self._gauge is not None and self._seen else None

    def _take_in(self, records: Records, verdicts: Verdicts) -> bool:
        """Take in what can be looked at by now, and return whether it has become more."""
        known = len(self._seen)
        while self._next < len(self._order):
            found = self._prompt(self._order[self._next], records, verdicts)
            if found == "open":
                break
            self._next += 1
            if found is not None:
                self._seen.append(found)
        return len(self._seen) > known

    def _prompt(self, instruction: Instruction, records: Records, verdicts: Verdicts) -> Seen | Literal["open"] | None:
        index, opponent, sides = instruction.index, self._setup.opponent, self._setup.sides
        theirs = None if opponent is None else records[opponent.name].get(index)
        mine = [records[side.name].get(index) for side in sides]
        given = [verdicts[side.name].get(index) for side in sides]
        found = [probability(record, theirs, verdict) for record, verdict in zip(mine, given, strict=True)]
        if theirs is None or "open" in found:
            return "open"
        won = tuple(value for value in found if isinstance(value, float))
        if len(won) < len(found):
            return None
        shorter_by = tuple(len(theirs.output) - len(record.output) for record in mine if record is not None)
        return Seen(instruction=instruction.text, won=won, shorter_by=shorter_by)


class RawStoppingRule:
    """The mean preference; or the mean difference of both sides' preferences, moved to 0-1.

    Moved, it is half as wide, and so is its margin.

    Args:
        margin: Percentage points.
        population: How many prompts there are, if the question is about exactly those.
    """

    def __init__(self, *, margin: float, population: int | None) -> None:
        self._margin, self._population = margin, population
        self._due = 1

    def decided(self, seen: Sequence[Seen]) -> bool:
        """As `StoppingRule.decided`. A later look sees what an earlier one would have seen: none is missed for good."""
        if len(seen) < self._due:
            return False
        self._due = max(len(seen) + 1, math.floor(_GROWTH * len(seen)))
        decisions, _ = sequential_test_many(
            self._values(seen)[None, :], margin=self._half_margin(seen), population=self._population
        )
        return decisions[0] is not Decision.CONTINUE

    def settlement(self, seen: Sequence[Seen]) -> SequentialResult:
        """As `StoppingRule.settlement`."""
        found = sequential_test(self._values(seen), margin=self._half_margin(seen), population=self._population)
        if len(seen[0].won) == 1:
            return found
        low, high = 2.0 * (found.interval.low - 50.0), 2.0 * (found.interval.high - 50.0)
        return replace(
            found,
            estimate=2.0 * (found.estimate - 50.0),
            interval=Interval(low=low, high=high, level=found.interval.level),
            is_difference=True,
        )

    def _half_margin(self, seen: Sequence[Seen]) -> float:
        return self._margin / len(seen[0].won)

    @staticmethod
    def _values(seen: Sequence[Seen]) -> Floats:
        won = np.array([one.won for one in seen])
        return won[:, 0] if won.shape[1] == 1 else 0.5 + 0.5 * (won[:, 0] - won[:, 1])


class LengthControlledStoppingRule:
    """The length-controlled win rate, or the difference of both sides', looked at ever more rarely.

    Args:
        setup: What is evaluated.
    """

    def __init__(self, setup: Spec) -> None:
        self._setup, self._planned = setup, len(setup.instructions)
        self._sizes = look_sizes(self._planned)
        self._last: Look | None = None
        baseline = "" if setup.opponent is None else setup.opponent.name
        self._model, _ = model_for(baseline, [one.text for one in setup.instructions], setup.data)

    def decided(self, seen: Sequence[Seen]) -> bool:
        """As `StoppingRule.decided`: looks at the first verdicts only, as many as are due."""
        while not self._is_settled and self._sizes and self._sizes[0] <= len(seen):
            self._last = self._look(seen[: self._sizes.pop(0)]) or self._last
        return self._is_settled

    def settlement(self, seen: Sequence[Seen]) -> SequentialResult | None:
        """As `StoppingRule.settlement`; where nothing is settled, by a last look at all that there is."""
        if not self.decided(seen) and len(seen) >= MIN_PROMPTS:
            self._last = self._look(seen) or self._last
        return None if self._last is None else self._settlement(self._last, len(seen))

    @property
    def _is_settled(self) -> bool:
        return self._last is not None and self._settlement(self._last, 0).decision is not Decision.CONTINUE

    def _settlement(self, look: Look, judged: int) -> SequentialResult:
        return settle_length_controlled(
            look,
            judged=judged,
            model=self._model,
            is_difference=len(self._setup.sides) > 1,
            margin=self._setup.margin,
        )

    def _look(self, seen: Sequence[Seen]) -> Look | None:
        data = self._setup.data
        difficulty = None
        if data is not None and self._model == "length_controlled_v1":
            difficulty = data.difficulty[data.places([one.instruction for one in seen])]
        sides = [
            Judged(
                preference=np.array([one.won[side] for one in seen]),
                shorter_by=np.array([float(one.shorter_by[side]) for one in seen]),
                difficulty=difficulty,
            )
            for side in range(len(seen[0].won))
        ]
        return look_at(sides, self._model, None if data is None else data.gamed, planned=self._planned)


def rule_for(setup: Spec) -> StoppingRule | None:
    """Return what is looked at to stop early, None if nothing is."""
    if setup.until == "all" or not setup.judged:
        return None
    if setup.until == "decided-lc":
        return LengthControlledStoppingRule(setup)
    return RawStoppingRule(
        margin=setup.margin, population=len(setup.instructions) if setup.until == "decided-here" else None
    )


def probability(mine: Record | None, theirs: Record | None, verdict: Verdict | None) -> float | Literal["open"] | None:
    """Return how probably (0-1) a system wins a prompt, None if its verdict is missing, `open` if it is to come.

    A system that has no output loses: who asks it gets nothing. A prompt on which the opponent has none says nothing
    about the system.

    Args:
        mine: The system's record, None while there is none.
        theirs: The opponent's.
        verdict: None while there is none.
    """
    if mine is None or theirs is None:
        return "open"
    if not theirs.has_output:
        return None
    if not mine.has_output:
        return 0.0
    if verdict is None:
        return "open"
    return None if verdict.preference is None else verdict.preference - 1.0
