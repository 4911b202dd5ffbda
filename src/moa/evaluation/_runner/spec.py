"""What is evaluated, and how, as one value."""

from dataclasses import dataclass

from moa.evaluation._data.datasets import Instruction
from moa.evaluation._data.reference_data import AlpacaEvalData
from moa.evaluation._judges.base import Judge
from moa.evaluation._measures.base import Measure
from moa.evaluation._metrics.stopping import Until
from moa.evaluation._runner.systems import System


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What is evaluated, and how.

    Attributes:
        instructions: The prompts.
        systems: All systems, in the order of the report.
        candidate: The one that the verdict is about.
        baseline: The one that the candidate is compared with; None if there is none.
        opponent: The one that all others are judged against; None without a judge.
        judge: None judges nothing.
        measures: Of one output; the verdict rests on the first one, or without any on the judge.
        seed: Of the order, and of everything that is asked.
        concurrency: How many answers and verdicts are under way at once.
        budget_usd: For all sessions together; None for no limit.
        until: When to stop; see `Until`.
        margin: Percentage points.
        shares_replies: Whether systems that ask the same share the reply; if not, each is asked by itself, as users
            would ask it, and what all of them take is measured.
        checks_judge: Whether the judge is tried before anything is bought.
        data: AlpacaEval's reference data, if what is looked at needs it.
    """

    instructions: tuple[Instruction, ...]
    systems: tuple[System, ...]
    candidate: System
    baseline: System | None
    opponent: System | None
    judge: Judge | None
    seed: int
    concurrency: int
    budget_usd: float | None
    until: Until
    margin: float
    measures: tuple[Measure, ...] = ()
    shares_replies: bool = True
    checks_judge: bool = True
    data: AlpacaEvalData | None = None

    @property
    def is_judged(self) -> bool:
        """Whether anything says how good outputs are."""
        return self.judge is not None or bool(self.measures)

    @property
    def judged(self) -> tuple[System, ...]:
        """The systems whose outputs a judge compares with the opponent's."""
        if self.judge is None or self.opponent is None:
            return ()
        return tuple(system for system in self.systems if system.name != self.opponent.name)

    @property
    def rests_on(self) -> str | None:
        """The measure of one output that the answer rests on; None if it rests on the judge."""
        return self.measures[0].name if self.measures else None

    @property
    def sides(self) -> tuple[System, ...]:
        """The systems that the answer rests on: the candidate; and the baseline, unless all are judged against it."""
        if self.baseline is None or (self.rests_on is None and self.baseline is self.opponent):
            return (self.candidate,)
        return (self.candidate, self.baseline)

    @property
    def single_models(self) -> tuple[System, ...]:
        """The models alone that could do in the candidate's place."""
        others = {one.name for one in (self.candidate, self.baseline, self.opponent) if one is not None}
        return tuple(one for one in self.systems if one.is_single_model and one.name not in others)

    @property
    def asked(self) -> tuple[System, ...]:
        """The systems that are asked: all but given outputs."""
        return tuple(system for system in self.systems if system.mixture is not None)
