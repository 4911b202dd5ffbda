"""Looking at the verdicts so far: are they enough?"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from moa.evaluation.datasets import Instruction
from moa.evaluation.judging import Row, probability
from moa.evaluation.records import Record
from moa.evaluation.sequential import Settlement, settle
from moa.evaluation.setup import Setup
from moa.evaluation.systems import System

Records = Mapping[str, Mapping[int, Record]]
Rows = Mapping[str, Mapping[int, Row]]


class Looks:
    """The mixture's verdicts in the random order of the prompts, as far as there is no gap.

    Verdicts that came early are not looked at before those that are still to come: quick ones may be quick because
    the output is short, and short ones lose more often.

    Against a third system's outputs, the difference of both preferences is looked at, moved to 0-1: it is half as
    wide, and so is its margin.

    Args:
        setup: What is evaluated.
        order: The prompts in their random order.
    """

    def __init__(self, setup: Setup, order: Sequence[Instruction]) -> None:
        self._setup, self._order = setup, order
        self._won: list[float] = []
        self._next = 0
        self._last: Settlement | None = None

    def look(self, records: Records, rows: Rows) -> Settlement | None:
        """Return what the verdicts have settled, None if nobody wants to stop early or nothing can be said yet."""
        if self._setup.until == "all" or not self._setup.judged:
            return None
        known = len(self._won)
        while self._next < len(self._order):
            won = self._won_at(self._order[self._next].index, records, rows)
            if won == "open":
                break
            self._next += 1
            if won is not None:
                self._won.append(won)
        if len(self._won) > known:
            self._last = self._settled()
        return self._last

    def _won_at(self, index: int, records: Records, rows: Rows) -> float | Literal["open"] | None:
        mine = self._against_opponent(self._setup.mixture, index, records, rows)
        if not self._setup.is_indirect or self._setup.baseline is None or mine is None or mine == "open":
            return mine
        theirs = self._against_opponent(self._setup.baseline, index, records, rows)
        return theirs if theirs is None or theirs == "open" else 0.5 + 0.5 * (mine - theirs)

    def _against_opponent(
        self, system: System, index: int, records: Records, rows: Rows
    ) -> float | Literal["open"] | None:
        opponent = self._setup.opponent
        theirs = None if opponent is None else records[opponent.name].get(index)
        return probability(records[system.name].get(index), theirs, rows[system.name].get(index))

    def _settled(self) -> Settlement:
        return settle(
            np.array(self._won),
            margin=self._setup.margin * (0.5 if self._setup.is_indirect else 1.0),
            population=len(self._order) if self._setup.until == "decided-here" else None,
        )
