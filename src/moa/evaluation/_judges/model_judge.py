"""A judge that asks one model: in which orders it is shown a pair, and what its replies come to."""

from collections.abc import Callable
from dataclasses import dataclass, field

from moa._ledger import Ledger
from moa._messages import Message, ReplyOptions
from moa._mixture.schema import Mixture
from moa._results import Answer
from moa._runtime.engine import Engine
from moa.evaluation._data.annotations import DRAW
from moa.evaluation._judges.base import Judge, Pair, Verdict
from moa.evaluation._judges.judge_calls import JudgeReply, ask, carrying_ledgers, judgements, together

Grade = tuple[float, int]
"""Preference in the order of showing (1 to 2), and how many times it counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgePrompt:
    """What a judge of pairs is asked, and how its reply is read.

    Attributes:
        messages: Makes the conversation out of `instruction`, `first` and `second`, the outputs as they are shown.
        grade: Reads a reply; None if it states no verdict.
        options: What the reply has to be like.
        raw: What is kept of a reply.
    """

    messages: Callable[..., tuple[Message, ...]]
    grade: Callable[[Answer], Grade | None]
    options: ReplyOptions = field(default_factory=ReplyOptions)
    raw: Callable[[Answer], str] = lambda answer: answer.text


def counted_once(read: Callable[[Answer], float | None]) -> Callable[[Answer], Grade | None]:
    """Return what reads a preference as a grade that counts once."""

    def grade(answer: Answer) -> Grade | None:
        preference = read(answer)
        return None if preference is None else (preference, 1)

    return grade


def model_judge(
    name: str,
    model: Mixture,
    prompt: JudgePrompt,
    *,
    shows_system_first: Callable[[str], bool] | None = None,
    comparable: bool = False,
) -> Judge:
    """Return the judge that asks one model; equal outputs are a draw without asking.

    Its preference is the mean of both orders. A verdict that is missing under an order on which it rests is missing.

    Args:
        name: See `Judge`.
        model: The model to ask, as a mixture.
        prompt: What it is asked.
        shows_system_first: By the instruction, for a judge that is shown one order; None shows both.
        comparable: See `Judge`.
    """

    async def judge(engine: Engine, pair: Pair, *, again: int = 0, both: bool = False) -> Verdict:
        async def show(system_first: bool) -> JudgeReply[Grade]:
            first, second = (pair.output_2, pair.output_1) if system_first else (pair.output_1, pair.output_2)
            messages = prompt.messages(instruction=pair.instruction, first=first, second=second)
            reply = await ask(
                engine, model, messages, prompt.grade, judge=name, options=prompt.options, again=again, raw=prompt.raw
            )
            ledgers.append(reply.ledger)
            return reply

        if pair.output_1 == pair.output_2:
            return Verdict(preference=DRAW)
        own = (False, True) if shows_system_first is None else (shows_system_first(pair.instruction),)
        shown = (*own, not own[0]) if both and len(own) == 1 else own
        ledgers = list[Ledger]()
        with carrying_ledgers(ledgers):
            replies = dict(zip(shown, await together(*map(show, shown)), strict=True))
        grades = {
            system_first: (3.0 - reply.value[0] if system_first else reply.value[0], reply.value[1])
            for system_first, reply in replies.items()
            if reply.value is not None
        }
        missing = [replies[one].failure for one in own if one not in grades]
        counts = sum(grades[one][1] for one in own if one in grades)
        return Verdict(
            preference=None if missing else sum(grades[one][0] * grades[one][1] for one in own) / counts,
            raw=tuple(reply.raw for reply in replies.values() if reply.raw),
            orders=tuple(grades[one][0] if one in grades else None for one in (False, True)),
            ledger=judgements(reply.ledger for reply in replies.values()),
            seconds=max(reply.seconds for reply in replies.values()),
            failure=missing[0] if missing else None,
        )

    return Judge(
        name=name,
        models=(model.aggregator.model,),
        judge=judge,
        comparable=comparable,
        shows_both=shows_system_first is None,
    )
