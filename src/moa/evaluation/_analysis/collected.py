"""What an evaluation left behind, as the values that the analysis reads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moa._mixture.schema import Mixture
from moa.evaluation._analysis.human import HumanCheck
from moa.evaluation._analysis.measured import Measured, Scores
from moa.evaluation._data.annotations import Judgement
from moa.evaluation._data.outputs import Output
from moa.evaluation._metrics.stopping import Settlement
from moa.evaluation._runner.records import AnswerTrace, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """One system with all that is known of it.

    Attributes:
        name: Its name.
        role: As in `systems.System`; likewise mixture and parent.
        records: By the prompt's index.
        outputs: By the prompt's index.
        is_precomputed: Whether its outputs, and times if any, come out of a file.
        traces: Gives how its records came about, by the prompt's index; read when it is called, as that is much.
        annotations: What the judge said of its outputs, if it was judged.
    """

    name: str
    role: str
    records: Mapping[int, Record]
    outputs: Mapping[int, Output]
    mixture: Mixture | None = None
    parent: str | None = None
    is_precomputed: bool = False
    traces: Callable[[], Mapping[int, AnswerTrace]] = dict
    annotations: Sequence[Judgement] = ()

    @property
    def is_single_model(self) -> bool:
        """Whether it is a model alone, and no mixture of several calls."""
        return self.mixture is not None and not self.mixture.layers

    @property
    def was_timed_elsewhere(self) -> bool:
        """Whether its times come out of a file: they were measured under another load."""
        return self.is_precomputed and any(record.seconds is not None for record in self.records.values())

    @property
    def failed(self) -> int:
        """On how many prompts it has no output."""
        return sum(not record.has_output for record in self.records.values())

    @property
    def models(self) -> Sequence[str]:
        """References of its models; of given outputs all that is known is the name."""
        return (self.name,) if self.mixture is None else self.mixture.references


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What an evaluation left behind.

    Attributes:
        systems: All of them; none of them is what it is by its place.
        about: Name of the system that the verdict is about.
        opponent: Name of the system that all others were judged against; None if nothing was judged.
        judge: The judge's name.
        comparable: Whether its verdicts may be compared with the published leaderboard.
        warnings: What has to be known to read the figures right.
        how: How it was measured, by topic: versions, seeds, prices.
        settlement: What the verdicts have settled, if judging was to stop as soon as it was; else None.
        planned: How many prompts there are in all.
        human: What people's labels say, by system.
        scores: What measures of one output, and former judges, say.
        baseline: Name of the system that the mixture is to replace; None if it is the opponent.
        rests_on: Name of the measure that the verdict rests on; None if it rests on the judge.
    """

    systems: tuple[Evaluated, ...]
    about: str
    opponent: str | None
    judge: str | None
    comparable: bool
    warnings: tuple[str, ...]
    how: Mapping[str, Any]
    settlement: Settlement | None = None
    planned: int = 0
    human: tuple[HumanCheck, ...] = ()
    scores: tuple[Scores, ...] = ()
    rests_on: str | None = None
    baseline: str | None = None

    @property
    def candidate(self) -> Evaluated:
        """The system that the verdict is about."""
        return self.named(self.about)

    @property
    def measured(self) -> tuple[Measured, ...]:
        """What measures say, by measure and system."""
        return tuple(one for scores in self.scores for one in scores.measured(self.baseline))

    @property
    def deciding(self) -> Scores | None:
        """The scores that the verdict rests on; None if it rests on a judge."""
        return next((one for one in self.scores if one.measure == self.rests_on), None)

    def named(self, name: str) -> Evaluated:
        """Return the system of that name; KeyError if there is none."""
        return {one.name: one for one in self.systems}[name]

    @property
    def replaced(self) -> Evaluated | None:
        """The system that the candidate is to replace: one that was judged like it, or else the opponent."""
        name = self.baseline or self.opponent
        return next((system for system in self.systems if system.name == name), None)

    @property
    def single_models(self) -> tuple[Evaluated, ...]:
        """The models alone that could do in the candidate's place."""
        others = {self.about, self.baseline, self.opponent}
        return tuple(one for one in self.systems if one.is_single_model and one.name not in others)
