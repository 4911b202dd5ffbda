"""What is asked of a judge besides its verdicts: the other order, control pairs with a known loser, a trial pair.

Control pairs can only veto a verdict: they are no annotations, and nothing is counted on them.
"""

import random
from dataclasses import replace

from moa._ledger import Ledger
from moa._runtime.engine import Engine
from moa.errors import EngineError, EvaluationDataError
from moa.evaluation._data.annotations import DRAW
from moa.evaluation._judges.base import Judge, Pair, Verdict
from moa.evaluation._judges.judge_calls import UNPARSEABLE, carrying_ledgers, is_out_of_money, judgements

ORDER_PAIRS = 100
"""Pairs of each system that a judge of one order is shown in both, at random."""

CONTROL_PAIRS = 24
"""Pairs, of all systems together, at which a control pair is shown too."""

MOST_UNREADABLE = 10
"""So many more verdicts that can't be read than that can be, and nothing more is bought."""

_LEAST_WORDS = 12


def checked(judge: Judge, *, prompts: int, systems: int, seed: int) -> Judge:
    """Return a judge that is checked on `ORDER_PAIRS` pairs of each system and `CONTROL_PAIRS` in all, on average.

    On the first, a judge of one order is shown the other one, too; its preference stays that of its own order. On the
    others it is shown a control pair, too.

    Args:
        judge: Whom to check.
        prompts: How many are judged.
        systems: How many systems are.
        seed: Of the picks.
    """

    def is_picked(what: str, about: str, share: float) -> bool:
        return random.Random(f"{what}/{seed}/{about}").random() < share

    async def ask(engine: Engine, pair: Pair, *, again: int = 0, both: bool = False) -> Verdict:
        both = both or is_picked("order", pair.instruction, ORDER_PAIRS / max(1, prompts))
        verdict = await judge.judge(engine, pair, again=again, both=both)
        loser = scrambled(pair.output_1, f"{seed}/{pair.instruction}")
        about, share = f"{pair.instruction}/{pair.generator_2}", CONTROL_PAIRS / max(1, prompts * systems)
        if loser is None or verdict.failure is not None or not is_picked("control", about, share):
            return verdict
        control = replace(pair, output_2=loser, generator_2="control")
        with carrying_ledgers([verdict.ledger]):
            found = await judge.judge(engine, control, again=again, both=True)
        is_known = len(found.orders) == 2 and None not in found.orders
        return replace(
            verdict,
            control=all((one or DRAW) < DRAW for one in found.orders) if is_known else None,
            ledger=judgements((verdict.ledger, found.ledger)),
            seconds=verdict.seconds + found.seconds,
        )

    return replace(judge, judge=ask)


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
