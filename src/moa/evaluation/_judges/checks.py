"""What is asked of a judge besides its verdicts: the other order, control pairs with a known loser, a trial pair.

Control pairs can only veto a verdict: they are no annotations, and nothing is counted on them.
"""

import random
from dataclasses import dataclass, replace
from statistics import fmean

from moa._ledger import Ledger
from moa._runtime.engine import Engine
from moa.errors import EngineError, EvaluationDataError
from moa.evaluation._data.annotations import DRAW
from moa.evaluation._judges.base import Judge, Pair, Verdict
from moa.evaluation._judges.judge_calls import UNPARSEABLE, is_out_of_money, judgements, together

ORDER_PAIRS = 100
"""Pairs of each system that a judge of one order is shown in both, at random."""

CONTROL_PAIRS = 24
"""Pairs, of all systems together, at which a control pair is shown too."""

MOST_UNREADABLE = 10
"""So many more verdicts that can't be read than that can be, and nothing more is bought."""

_LEAST_WORDS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class _Around(Judge):
    """A judge around another one, which it asks more than that one asks by itself."""

    inner: Judge

    @property
    def name(self) -> str:
        """The judge's name."""
        return self.inner.name

    @property
    def models(self) -> tuple[str, ...]:
        """The models that it asks."""
        return self.inner.models

    @property
    def shows_both(self) -> bool:
        """As the judge's."""
        return self.inner.shows_both


@dataclass(frozen=True, slots=True, kw_only=True)
class BothOrders(_Around):
    """A judge of one order, shown every pair in both; the preference is the mean."""

    @property
    def name(self) -> str:
        """The judge's name, and that it is shown both orders."""
        return f"{self.inner.name}-both-orders"

    @property
    def shows_both(self) -> bool:
        """Always."""
        return True

    async def judge(self, engine: Engine, pair: Pair, *, again: int = 0) -> Verdict:
        """Return the verdict on a pair; see `Judge.judge` for what it raises."""
        verdict = await in_both_orders(self.inner, engine, pair, again)
        known = [preference for preference in verdict.orders if preference is not None]
        return verdict if len(known) < len(verdict.orders) else replace(verdict, preference=fmean(known or [DRAW]))


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedJudge(_Around):
    """A judge that is checked on some pairs, which a seed picks.

    Attributes:
        inner: The judge.
        order_share: Share of the pairs, 0-1, on which a judge of one order is shown the other one too. The preference
            stays that of its own order.
        control_share: Share of the pairs, 0-1, at which it is shown a control pair too.
        seed: Of the picks.
    """

    order_share: float
    control_share: float
    seed: int = 0

    @property
    def comparable(self) -> bool:
        """As the judge's: its verdicts stay what they are."""
        return self.inner.comparable

    async def judge(self, engine: Engine, pair: Pair, *, again: int = 0) -> Verdict:
        """Return the verdict on a pair; see `Judge.judge` for what it raises."""
        is_tried = not self.shows_both and self._draw("order", pair.instruction) < self.order_share
        ask = in_both_orders if is_tried and pair.output_1 != pair.output_2 else _as_it_does
        verdict = await ask(self.inner, engine, pair, again)
        loser = scrambled(pair.output_1, f"{self.seed}/{pair.instruction}")
        is_controlled = self._draw("control", f"{pair.instruction}/{pair.generator_2}") < self.control_share
        if loser is None or not is_controlled or verdict.failure is not None:
            return verdict
        control = replace(pair, output_2=loser, generator_2="control")
        found = await in_both_orders(self.inner, engine, control, 0)
        right = None if None in found.orders else all((one or DRAW) < DRAW for one in found.orders)
        ledger = judgements((verdict.ledger, found.ledger))
        return replace(verdict, control=right, ledger=ledger, seconds=verdict.seconds + found.seconds)

    def _draw(self, what: str, pair: str) -> float:
        return random.Random(f"{what}/{self.seed}/{pair}").random()


async def in_both_orders(judge: Judge, engine: Engine, pair: Pair, again: int) -> Verdict:
    """Return a judge's verdict with its preference under both orders; the preference stays as the judge gives it.

    A judge of one order chooses it by the instruction: with the outputs exchanged it shows them the other way round.

    Args:
        judge: Whom to ask.
        engine: Asks the judge's models.
        pair: What to judge.
        again: As for `Judge.judge`.
    """
    if judge.shows_both:
        return await judge.judge(engine, pair, again=again)
    exchanged = replace(
        pair,
        output_1=pair.output_2,
        output_2=pair.output_1,
        generator_1=pair.generator_2,
        generator_2=pair.generator_1,
    )
    own, other = await together(judge.judge(engine, pair, again=again), judge.judge(engine, exchanged, again=again))
    reversed_preference = None if other.preference is None else 3.0 - other.preference
    is_system_first = bool(own.orders) and own.orders[0] is None
    orders = (own.preference, reversed_preference)
    return replace(
        own,
        raw=(*own.raw, *other.raw),
        orders=orders[::-1] if is_system_first else orders,
        ledger=judgements((own.ledger, other.ledger)),
        seconds=max(own.seconds, other.seconds),
        failure=own.failure or other.failure if own.preference is None else own.failure,
    )


async def _as_it_does(judge: Judge, engine: Engine, pair: Pair, again: int) -> Verdict:
    return await judge.judge(engine, pair, again=again)


def checked(judge: Judge, *, prompts: int, systems: int, seed: int) -> CheckedJudge:
    """Return a judge that is checked on `ORDER_PAIRS` pairs of each system and `CONTROL_PAIRS` in all, on average.

    Args:
        judge: Whom to check.
        prompts: How many are judged.
        systems: How many systems are.
        seed: Of the picks.
    """
    pairs = max(1, prompts * systems)
    return CheckedJudge(
        inner=judge, order_share=ORDER_PAIRS / max(1, prompts), control_share=CONTROL_PAIRS / pairs, seed=seed
    )


def scrambled(text: str, seed: str) -> str | None:
    """Return an answer that is worse for certain: the same words in disorder; None if there are too few of them.

    It is as long as the answer and about the same things: no taste for length or for words hides what it is.
    """
    words = text.split()
    if len(words) < _LEAST_WORDS:
        return None
    random.Random(seed).shuffle(words)
    mixed = " ".join(words)
    return None if mixed.split() == text.split() else mixed


class UnreadableCounter:
    """Stops the judging when `MOST_UNREADABLE` more of the late verdicts can't be read than can.

    A cumulative sum (Page 1954, Continuous inspection schemes). A row of unreadable verdicts would say less: one that
    can't be read is asked for once more, so that those of all that is asked at once end together.

    Args:
        at_once: How many verdicts are asked for at once: so many readable ones count in favor of the judge, at most.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once, self._excess = at_once, 0

    def add(self, verdict: Verdict) -> None:
        """Count a verdict, which is kept by now.

        Raises:
            EvaluationDataError: It is the last one that may be unreadable: what more would cost brings little.
        """
        failure = verdict.failure
        if failure is None or failure.code != UNPARSEABLE:
            self._excess = max(self._excess - 1, -self._at_once)
            return
        self._excess += 1
        if self._excess >= MOST_UNREADABLE:
            raise EvaluationDataError(
                f"of the last verdicts, {MOST_UNREADABLE} more could not be read than could; of the last one, "
                f"{failure.message}. What was bought is kept: give the judge more room with --judge-max-tokens, or "
                "take another --judge-model, and the same command asks again"
            )


async def require_usable(judge: Judge, engine: Engine) -> Ledger:
    """Ask a judge about a pair that any judge can tell apart, before anything else is bought.

    Args:
        judge: Whom to ask.
        engine: Asks the judge's models.

    Returns:
        What that took.

    Raises:
        EvaluationDataError: It can't be asked, or its reply can't be read; what to take instead is said.
        EngineError: The budget is used up.
    """
    try:
        verdict = await judge.judge(engine, _PROBE)
    except EngineError as error:
        if is_out_of_money(error):
            raise
        raise EvaluationDataError(f"the judge {judge.name} can't be asked: {error}. {_INSTEAD}") from error
    if verdict.preference is None:
        why = "" if verdict.failure is None else f": {verdict.failure.message}"
        code = None if verdict.failure is None else verdict.failure.code
        remedy = _READABLE if code == UNPARSEABLE else _INSTEAD
        raise EvaluationDataError(f"the judge {judge.name} gave no verdict on a trial pair{why}. {remedy}")
    return verdict.ledger


_INSTEAD = (
    "Nothing else was bought. Take another judge: --judge pairwise --judge-model ENDPOINT/MODEL, with a model that its "
    "service still offers (moa doctor asks it)"
)
_READABLE = (
    "Nothing else was bought. Give it more room with --judge-max-tokens, which a model that thinks first needs, or "
    "take another --judge-model"
)
_PROBE = Pair(
    instruction="Which planet is the third from the sun? Answer in one sentence.",
    output_1="Counted from the sun, the third planet is the Earth, after Mercury and Venus.",
    output_2="Sun the the counted Mercury from planet and Earth third after, is the Venus.",
    generator_1="trial",
    generator_2="control",
    index=-1,
)
