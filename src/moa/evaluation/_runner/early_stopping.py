"""Looking at what is known so far: is it enough?"""

from collections.abc import Sequence

import numpy as np

from moa.evaluation._data.datasets import Instruction
from moa.evaluation._metrics.metrics import model_for, with_difficulty
from moa.evaluation._metrics.stopping import Settlement, look, look_sizes
from moa.evaluation._runner.spec import Spec
from moa.evaluation._runner.table import Table


class StoppingMonitor:
    """What is known in the random order of the prompts, as far as there is no gap.

    Verdicts that came early are not looked at before those that are still to come: quick ones may be quick because
    the output is short, and short ones lose more often.

    Args:
        spec: What is evaluated.
        table: What is there.
        order: The prompts in their random order.
    """

    def __init__(self, spec: Spec, table: Table, order: Sequence[Instruction]) -> None:
        self._spec, self._table, self._order = spec, table, order
        self._column = table.judging if spec.rests_on is None else table.measuring[spec.rests_on]
        self._sides = [system.name for system in spec.sides]
        self._models = [system.name for system in spec.single_models]
        self._is_on = spec.until != "all" and (spec.rests_on is not None or bool(spec.judged))
        self._known, self._sizes = 0, look_sizes(len(order))
        self._decided_after: int | None = None
        self._length_model = None
        if spec.rests_on is None and spec.opponent is not None:
            self._length_model, _ = model_for(spec.opponent.name, [one.text for one in spec.instructions], spec.data)

    def decided(self) -> bool:
        """Return whether what is known is enough; never, if nobody wants to stop early."""
        if not self._is_on:
            return False
        while self._known < len(self._order) and self._is_settled(self._order[self._known]):
            self._known += 1
        while self._decided_after is None and self._sizes and self._sizes[0] <= self._known:
            size = self._sizes.pop(0)
            if self._look(size):
                self._decided_after = size
        return self._decided_after is not None

    def settlement(self) -> Settlement | None:
        """Return on which prompts the answer rests, None if nobody wants to stop early, or nothing is known."""
        if not self._is_on or not self._known:
            return None
        size = self._decided_after or self._known
        return Settlement(
            until=self._spec.until,
            decided=self._decided_after is not None,
            prompts=tuple(one.index for one in self._order[:size]),
            planned=len(self._order),
        )

    def _is_settled(self, instruction: Instruction) -> bool:
        names = (*self._sides, *self._models)
        return all(self._table.is_settled(name, instruction.index, self._column) for name in names)

    def _look(self, size: int) -> bool:
        data, rows = self._spec.data, np.array([self._table.rows[one.index] for one in self._order[:size]])
        verdicts = {name: self._table.verdicts(self._column, name, rows) for name in (*self._sides, *self._models)}
        if self._length_model is not None:
            name = self._length_model
            verdicts = {system: with_difficulty(found, data, name) for system, found in verdicts.items()}
        return look(
            self._spec.until,
            [verdicts[name] for name in self._sides],
            {name: verdicts[name] for name in self._models},
            self._length_model,
            None if data is None else data.gamed,
            planned=len(self._order),
            margin=self._spec.margin,
        )
