"""What every judge takes and gives: pairs and verdicts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Protocol

from moa._ledger import ErrorInfo, Ledger
from moa._runtime.engine import Engine
from moa._usage import json_usd
from moa.evaluation._data.annotations import Judgement


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two outputs for one instruction.

    Attributes:
        instruction: The prompt.
        output_1: The baseline's output.
        output_2: The system's output.
        generator_1: The baseline's name.
        generator_2: The system's name.
        index: Place of the instruction in its prompts, from 0.
        dataset: The part of the benchmark, or the category, of the instruction; None if unknown.
    """

    instruction: str
    output_1: str
    output_2: str
    generator_1: str
    generator_2: str
    index: int
    dataset: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a judge said of a pair.

    Attributes:
        preference: From 1 (the baseline's output is better) to 2 (the system's is), 1.5 is a draw; None where the
            verdict is missing.
        raw: What the judge wrote, one text for each reply that counted, in the order of asking.
        orders: The preference under each order of showing, for judges that show both; empty for the others.
        control: On a pair that was shown together with a control pair: whether the judge got that one right; else None.
        again: How often the pair was judged before, in vain or to be judged once more.
        by_judge: The preference of each member of a panel, by its name; empty for a single judge.
        ledger: Every call of the judge, also those that were of no use.
        seconds: From asking to the verdict.
        failure: Why the verdict is missing; None if it isn't.
    """

    preference: float | None
    raw: tuple[str, ...] = ()
    orders: tuple[float | None, ...] = ()
    control: bool | None = None
    again: int = 0
    by_judge: Mapping[str, float | None] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    seconds: float = 0.0
    failure: ErrorInfo | None = None


class Ask(Protocol):
    """How a judge is asked."""

    async def __call__(self, engine: Engine, pair: Pair, *, again: int = 0, both: bool = False) -> Verdict:
        """Return the verdict on a pair; a verdict that can't be had is missing, with its reason.

        Args:
            engine: Asks the judge's models.
            pair: What to judge.
            again: As for `judge_calls.ask`.
            both: Whether a judge of one order is shown the other one, too; its preference stays that of its own order.

        Raises:
            ConfigError: The judge's model can't be used.
            EngineError: Asking on is of no use: the budget is spent, the key is wrong, there is no such model.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """What prefers one of two outputs.

    Attributes:
        name: What annotations call it.
        models: References of the models that it asks.
        judge: Gives its verdicts.
        comparable: Whether its verdicts may be compared with the published leaderboard: those of most may not.
        shows_both: Whether it shows every pair in both orders; if not, it shows one that follows from the instruction.
    """

    name: str
    models: tuple[str, ...]
    judge: Ask
    comparable: bool = False
    shows_both: bool = False


def judgement_of(pair: Pair, verdict: Verdict, annotator: str) -> Judgement:
    """Return the annotation, with what the verdict cost and how it came about.

    Args:
        pair: What was judged.
        verdict: What came out.
        annotator: The judge's name.
    """
    return Judgement(
        **asdict(pair),
        annotator=annotator,
        preference=verdict.preference,
        raw_completion=list(verdict.raw),
        price_per_example=json_usd(verdict.ledger.spend.cost_usd),
        time_per_example=verdict.seconds,
        orders=verdict.orders if len(verdict.orders) == 2 and None not in verdict.orders else (),
        control=verdict.control,
        dropped=dropped_of(verdict),
        by_judge=dict(verdict.by_judge),
        failure=None if verdict.failure is None else verdict.failure.as_dict(),
    )


def dropped_of(verdict: Verdict) -> tuple[str, ...]:
    """Return what the judge's service refuses and was left out of what it was asked."""
    return tuple(sorted({part for attempt in verdict.ledger.attempts for part in attempt.dropped}))
