"""What is evaluated, and how, as one value."""

from dataclasses import dataclass

from moa.evaluation._data.datasets import Instruction
from moa.evaluation._data.reference_data import AlpacaEvalData
from moa.evaluation._judges.base import Judge
from moa.evaluation._metrics.stopping import Until
from moa.evaluation._runner.systems import System


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """What is evaluated, and how.

    Attributes:
        instructions: The prompts.
        systems: All systems, the mixture first.
        opponent: The one that all others are judged against; None without a judge.
        judge: None asks and judges nothing.
        seed: Of the order, and of everything that is asked.
        concurrency: How many answers and verdicts are under way at once.
        budget_usd: For all sessions together; None for no limit.
        until: When to stop; see `Until`.
        margin: Percentage points.
        data: AlpacaEval's reference data, if what is looked at needs it.
    """

    instructions: tuple[Instruction, ...]
    systems: tuple[System, ...]
    opponent: System | None
    judge: Judge | None
    seed: int
    concurrency: int
    budget_usd: float | None
    until: Until
    margin: float
    data: AlpacaEvalData | None = None

    @property
    def mixture(self) -> System:
        """The system that it is all about."""
        return self.systems[0]

    @property
    def judged(self) -> tuple[System, ...]:
        """The systems whose outputs a judge compares with the opponent's."""
        if self.judge is None or self.opponent is None:
            return ()
        return tuple(system for system in self.systems if system.name != self.opponent.name)

    @property
    def is_indirect(self) -> bool:
        """Whether mixture and baseline are judged against a third one, and compared by their difference."""
        return self.opponent is not None and self.opponent.role == "reference"

    @property
    def baseline(self) -> System | None:
        """What the mixture is compared with."""
        return next((system for system in self.systems if system.role == "baseline"), None)

    @property
    def sides(self) -> tuple[System, ...]:
        """The systems whose verdicts the answer rests on: the mixture; and the baseline, where both are judged."""
        baseline = self.baseline
        return (self.mixture, baseline) if self.is_indirect and baseline is not None else (self.mixture,)

    @property
    def bought(self) -> tuple[System, ...]:
        """The systems that have calls of their own for every prompt."""
        return tuple(system for system in self.systems if system.is_asked or system.follows)
