"""Looking at the verdicts so far: are they enough?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from moa.evaluation._data.datasets import Instruction
from moa.evaluation._judges.base import Verdict
from moa.evaluation._metrics.evidence import Verdicts
from moa.evaluation._metrics.metrics import model_for
from moa.evaluation._metrics.stopping import Settlement, look, look_sizes
from moa.evaluation._runner.records import Record
from moa.evaluation._runner.spec import Spec

Records = Mapping[str, Mapping[int, Record]]
Given = Mapping[str, Mapping[int, Verdict]]

_UNKNOWN = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One system's verdict on one prompt, with the lengths of both outputs; see `Verdicts`."""

    won: float
    length: int
    opponent_length: int
    baseline_first: float
    system_first: float
    same: bool


class StoppingMonitor:
    """The verdicts in the random order of the prompts, as far as there is no gap.

    Verdicts that came early are not looked at before those that are still to come: quick ones may be quick because
    the output is short, and short ones lose more often.

    Args:
        setup: What is evaluated.
        order: The prompts in their random order.
    """

    def __init__(self, setup: Spec, order: Sequence[Instruction]) -> None:
        self._setup, self._order = setup, order
        self._sides = [system.name for system in setup.sides]
        judged = {system.name for system in setup.judged}
        self._models = [
            one.name for one in setup.systems if one.role in ("member", "aggregator") and one.name in judged
        ]
        self._seen: list[dict[str, Seen]] = []
        self._sizes = look_sizes(len(order))
        self._decided_after: int | None = None
        opponent = "" if setup.opponent is None else setup.opponent.name
        self._length_model, _ = model_for(opponent, [one.text for one in setup.instructions], setup.data)

    @property
    def _is_on(self) -> bool:
        return self._setup.until != "all" and bool(self._setup.judged)

    def decided(self, records: Records, verdicts: Given) -> bool:
        """Return whether the verdicts are enough; never, if nobody wants to stop early."""
        if not self._is_on:
            return False
        while len(self._seen) < len(self._order):
            found = self._prompt(self._order[len(self._seen)], records, verdicts)
            if found is None:
                break
            self._seen.append(found)
        while self._decided_after is None and self._sizes and self._sizes[0] <= len(self._seen):
            size = self._sizes.pop(0)
            if self._look(size):
                self._decided_after = size
        return self._decided_after is not None

    def settlement(self) -> Settlement | None:
        """Return on which prompts the answer rests, None if nobody wants to stop early, or nothing is judged."""
        if not self._is_on or not self._seen:
            return None
        size = self._decided_after or len(self._seen)
        return Settlement(
            until=self._setup.until,
            decided=self._decided_after is not None,
            prompts=tuple(one.index for one in self._order[:size]),
            planned=len(self._order),
        )

    def _prompt(self, instruction: Instruction, records: Records, verdicts: Given) -> dict[str, Seen] | None:
        """What is known of a prompt; None while a verdict is still to come."""
        index, opponent = instruction.index, self._setup.opponent
        theirs = None if opponent is None else records[opponent.name].get(index)
        found: dict[str, Seen] = {}
        for name in (*self._sides, *self._models):
            mine, verdict = records[name].get(index), verdicts[name].get(index)
            won = probability(mine, theirs, verdict)
            if won == "open" or mine is None or theirs is None:
                return None
            orders = [
                _UNKNOWN if one is None else one - 1.0
                for one in (verdict.orders if verdict is not None and len(verdict.orders) == 2 else (None, None))
            ]
            found[name] = Seen(
                won=_UNKNOWN if won is None else won,
                length=len(mine.output),
                opponent_length=len(theirs.output),
                baseline_first=orders[0],
                system_first=orders[1],
                same=mine.output == theirs.output,
            )
        return found

    def _look(self, size: int) -> bool:
        data = self._setup.data
        difficulty = None
        if data is not None and self._length_model == "length_controlled_v1":
            difficulty = data.difficulty[data.places([one.text for one in self._order[:size]])]

        def verdicts(name: str) -> Verdicts:
            rows = [prompt[name] for prompt in self._seen[:size]]
            return Verdicts(
                won=np.array([one.won for one in rows]),
                length=np.array([float(one.length) for one in rows]),
                opponent_length=np.array([float(one.opponent_length) for one in rows]),
                baseline_first=np.array([one.baseline_first for one in rows]),
                system_first=np.array([one.system_first for one in rows]),
                same=np.array([one.same for one in rows]),
                difficulty=difficulty,
            )

        return look(
            self._setup.until,
            [verdicts(name) for name in self._sides],
            {name: verdicts(name) for name in self._models},
            self._length_model,
            None if data is None else data.gamed,
            planned=len(self._order),
            margin=self._setup.margin,
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
