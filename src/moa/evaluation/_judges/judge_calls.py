"""Asking a judge's model through the engine: with its retries, limits, prices, budget and books."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from moa._ledger import ErrorInfo, Ledger
from moa._messages import Message, ReplyOptions
from moa._mixture.escaping import Delimiter, escape
from moa._mixture.schema import Mixture
from moa._results import Answer
from moa._runtime.engine import Engine
from moa.errors import (
    AuthenticationFailed,
    BudgetExceeded,
    EmptyReply,
    EngineError,
    ModelNotFound,
    OverBudget,
    QuotaExhausted,
)

T = TypeVar("T")

UNPARSEABLE = "unparseable_verdict"
TRIES = 2
"""A reply that is no verdict is asked for once more."""

_THOUGHTS = re.compile(r"\s*<(think|thinking|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL)
_HOPELESS = (AuthenticationFailed, BudgetExceeded, ModelNotFound, QuotaExhausted)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeReply(Generic[T]):
    """What asking came to.

    Attributes:
        value: The parsed reply; None where there is none.
        raw: The reply's text, empty where there is none.
        ledger: Every call, as judgements.
        seconds: From asking to the end.
        failure: Why there is no value; None if there is one.
    """

    value: T | None
    raw: str
    ledger: Ledger
    seconds: float
    failure: ErrorInfo | None


async def ask(
    engine: Engine,
    model: Mixture,
    messages: Sequence[Message],
    parse: Callable[[Answer], T | None],
    *,
    judge: str,
    options: ReplyOptions,
    again: int = 0,
    raw: Callable[[Answer], str] = lambda answer: answer.text,
) -> JudgeReply[T]:
    """Return what a model's reply says, once parsed; a reply that says nothing is asked for once more.

    Args:
        engine: Runs the model.
        model: A single model as a mixture.
        messages: The whole conversation.
        parse: Reads a reply; None where it is no verdict.
        judge: The judge's name, for the ledger.
        options: What to ask for besides text.
        again: How often the same was asked in vain, or is to be asked once more: the seeds differ each time, as a
            cache, or a model that keeps to its seed, would say the same again.
        raw: What to keep of the reply.

    Raises:
        ConfigError: The model can't be used.
        EngineError: Asking on is of no use: the budget is spent, the key is wrong, there is no such model.
    """
    clock = asyncio.get_running_loop().time
    started_at, ledgers = clock(), list[Ledger]()
    value, text, failure = None, "", None
    for number in range(TRIES):
        try:
            seed = TRIES * again + number
            answer = await engine.arun(model, messages, options=options, seed=seed or None)
        except EngineError as error:
            ledgers.append(error.ledger)
            if is_permanent(error):
                error.ledger = judgements(ledgers, judge)
                raise
            failure = error.info
            if any(isinstance(cause, EmptyReply) for cause in error.failures):
                continue
            break
        ledgers.append(answer.ledger)
        value, text, failure = parse(answer), raw(answer), None
        if value is not None:
            break
        failure = ErrorInfo(code=UNPARSEABLE, message=_why(answer, options, text))
    return JudgeReply(
        value=value, raw=text, ledger=judgements(ledgers, judge), seconds=clock() - started_at, failure=failure
    )


def json_reply(name: str, **properties: Mapping[str, Any]) -> ReplyOptions:
    """Return what asks for a JSON object with these properties, by their schemas, where the service can promise one."""
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}
    return ReplyOptions(response_format=form, format_is_optional=True)


def without_thoughts(answer: Answer) -> str:
    """Return a reply without the thoughts that some services leave in it, and which hold what was thought better of."""
    return _THOUGHTS.sub("", answer.text, count=1)


def question(system: str, template: str, marks: Delimiter, **texts: str) -> tuple[Message, ...]:
    """Return what a judge is asked; our own marks inside of a text are escaped, so that none breaks out."""
    safe = {name: escape(text, (marks,)) for name, text in texts.items()}
    return Message(role="system", content=system), Message(role="user", content=template.format(**safe))


@contextmanager
def carrying_ledgers(ledgers: Sequence[Ledger]) -> Iterator[None]:
    """Give an error, besides its own calls, those that were made before it for the same verdict: they cost money."""
    try:
        yield
    except EngineError as error:
        error.ledger = judgements((*ledgers, error.ledger))
        raise


async def together(*questions: Awaitable[T]) -> list[T]:
    """Return what all of them come to, asked side by side; the first error cancels the others and is raised."""
    tasks = [asyncio.ensure_future(question) for question in questions]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def judgements(ledgers: Iterable[Ledger], judge: str | None = None) -> Ledger:
    """Return several ledgers as one, its calls renumbered and marked as judgments.

    Args:
        ledgers: In the order of asking.
        judge: Whose calls they are; None keeps the names that they have.
    """
    calls = [call for ledger in ledgers for call in ledger.calls]
    return Ledger(
        calls=tuple(
            replace(call, id=number, agent=judge or call.agent, purpose="judgement")
            for number, call in enumerate(calls, 1)
        )
    )


def _why(answer: Answer, options: ReplyOptions, text: str) -> str:
    if options.top_logprobs is not None and not answer.logprobs:
        return f"the reply has no log probabilities, which this judge reads: {text!r:.200}. --judge pairwise needs none"
    cut = ": it was cut off, so raise --judge-max-tokens" if answer.finish_reason == "length" else ""
    return f"the reply is no verdict{cut}: {text!r:.200}"


def is_permanent(error: EngineError) -> bool:
    """Return whether further questions would fail in the same way."""
    return isinstance(error, OverBudget) or any(isinstance(cause, _HOPELESS) for cause in error.failures)


def is_out_of_money(error: EngineError) -> bool:
    """Return whether the budget is why there was no answer."""
    return isinstance(error, OverBudget) or any(isinstance(cause, BudgetExceeded) for cause in error.failures)
