"""What an evaluation left behind, as the values that the analysis reads."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from moa._mixture.schema import Mixture
from moa.evaluation._analysis.human import HumanCheck
from moa.evaluation._analysis.measured import Measured, Scores
from moa.evaluation._data.annotations import Judgement
from moa.evaluation._data.datasets import Instruction
from moa.evaluation._metrics.stopping import Settlement
from moa.evaluation._metrics.verdicts import Annotations
from moa.evaluation._runner.records import AnswerColumns, AnswerTrace, Record


class Texts(Protocol):
    """What systems wrote, by system and by the prompt's index: read when it is asked for, as it is much."""

    def answers(self, system: str) -> Iterator[tuple[Record, AnswerTrace]]:
        """All answers of a system, one after another, and how they came about."""

    def records(self, systems: Sequence[str], index: int) -> Mapping[str, Record]:
        """The answers of some systems to a prompt, as far as they are there."""

    def trace(self, system: str, index: int) -> AnswerTrace:
        """How an answer came about."""

    def judgements(self, systems: Sequence[str], records: Mapping[str, Record]) -> Mapping[str, Judgement]:
        """What the judge says of systems' answers to a prompt, given all answers to it; as far as it says something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """One system with all that is known of it, but for texts.

    Attributes:
        name: Its name.
        role: As in `systems.System`; likewise mixture and parent.
        answers: A row for each prompt.
        is_precomputed: Whether its outputs, and times if any, come out of a file.
        verdicts: What the judge said of its outputs, a row for each prompt on which it said something; None if it
            said nothing.
    """

    name: str
    role: str
    answers: AnswerColumns
    mixture: Mixture | None = None
    parent: str | None = None
    is_precomputed: bool = False
    verdicts: Annotations | None = None

    @property
    def is_single_model(self) -> bool:
        """Whether it is a model alone, and no mixture of several calls."""
        return self.mixture is not None and not self.mixture.layers

    @property
    def was_timed_elsewhere(self) -> bool:
        """Whether its times come out of a file: they were measured under another load."""
        return self.is_precomputed and not np.isnan(self.answers.seconds).all()

    @property
    def models(self) -> Sequence[str]:
        """References of its models; of given outputs all that is known is the name."""
        return (self.name,) if self.mixture is None else self.mixture.references


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What an evaluation left behind.

    Attributes:
        systems: All of them; none of them is what it is by its place.
        instructions: The prompts, in the order of the answers' rows.
        reading: Opens what the systems wrote.
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
    instructions: Sequence[Instruction]
    reading: Callable[[], AbstractContextManager[Texts]]
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
    def deciding(self) -> Mapping[str, Annotations]:
        """What the verdict rests on, by system: the scores of one measure, or the judge's verdicts."""
        if self.rests_on is not None:
            return next(one.found for one in self.scores if one.measure == self.rests_on)
        return {one.name: one.verdicts for one in self.systems if one.verdicts is not None}

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
