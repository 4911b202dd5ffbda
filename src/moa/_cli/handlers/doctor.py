"""Output of `moa doctor`."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from rich.table import Table
from rich.text import Text

from moa._cli.console import draw, out_symbols, say
from moa._cli.exit_codes import COMPLETE, FAILED
from moa._config.settings import Settings
from moa._mixture.loading import single
from moa._mixture.schema import Mixture
from moa._policies.profile_store import Lesson
from moa._pricing.lookup import find_price
from moa._render.format import count, seconds, usd
from moa._render.sanitize import safe
from moa._render.symbols import Symbols
from moa._runtime.engine import Engine
from moa._runtime.health import Health, State
from moa._usage import TokenUsage
from moa.errors import EmptyReply, EngineError, MoaError
from moa.providers._token_estimates import estimated_tokens

_STYLES: dict[State, str] = {
    "ready": "green",
    "no key": "dim",
    "no region": "dim",
    "not running": "dim",
    "missing": "yellow",
    "unreachable": "yellow",
    "unusable": "red",
}


ASK_TOKENS = 64
"""Most tokens of the reply to the question of `--ask`."""

ASK_S = 30.0
"""Seconds for it."""

QUESTION = "Say OK."

_FRAME_TOKENS = 32
"""Tokens that a service's template may put around a short question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCheck:
    """What came of asking one model.

    Attributes:
        reference: The model's.
        seconds: Until it had answered, or failed.
        usd: What it has cost; None if its price is unknown.
        failure: Why it did not answer; None if it did.
    """

    reference: str
    seconds: float
    usd: Decimal | None
    failure: str | None


def health_table(healths: Sequence[Health]) -> Table:
    """Return a table of endpoints: their states, and the commands that fix them."""
    signs = out_symbols()
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for health in healths:
        style = _STYLES[health.state]
        detail = Text(safe(health.detail))
        if health.fix:
            detail.append(": ").append(safe(health.fix), style="bold")
        name = Text.assemble((f" {_sign(health.state, signs)} ", style), safe(health.name))
        table.add_row(name, Text(health.state, style=style), detail)
    return table


def lesson_lines(lessons: Sequence[Lesson]) -> tuple[str, ...]:
    """Return what services refuse, a line each: the model, what is left out, since when, in which words."""
    lines = ["", "Left out of requests, as the service refuses it (--forget tries again):"]
    for lesson in lessons:
        since = datetime.fromtimestamp(lesson.learnt_at, UTC).date().isoformat()
        reference = f"{lesson.endpoint.partition(' ')[0]}/{lesson.model}"
        lines.append(f"  {reference}: {lesson.rejection}, since {since}: {lesson.message:.160}")
    return tuple(map(safe, lines))


def _sign(state: State, signs: Symbols) -> str:
    match state:
        case "ready":
            return signs.done
        case "no key" | "no region" | "not running":
            return signs.waiting
    return signs.failed


def say_verdict(source: Path | None, mixture: str, problems: Sequence[str]) -> None:
    """Print where the settings come from, and whether the mixture can run."""
    say(f"settings: {source or 'built in (there is no moa.yaml)'}", style="dim")
    if not problems:
        say(f"The mixture {mixture} can run.", style="green")
        return
    say((f"The mixture {mixture} can't run:", *(f"  {problem}" for problem in problems)), style="red")


def ask_each(mixture: Mixture, settings: Settings) -> int:
    """Ask each model of a mixture one tiny question, print what came of it, and return the exit code.

    A model that only thought until its tokens were used up has answered, too.
    """
    say(
        f"asking {count(len(mixture.references), 'model')}, once each: at most {ASK_TOKENS} output tokens and "
        f"{ASK_S:g} s each, {_most(mixture.references, settings)} in all"
    )
    outcomes = asyncio.run(_ask_all(mixture.references, settings))
    signs, total = out_symbols(), Decimal(0)
    table = Table.grid(padding=(0, 2, 0, 0))
    for outcome in outcomes:
        sign, style = (signs.done, "green") if outcome.failure is None else (signs.failed, "red")
        money = "price unknown" if outcome.usd is None else usd(outcome.usd)
        detail = f"{seconds(outcome.seconds)}, {money}" if outcome.failure is None else outcome.failure
        table.add_row(Text(f" {sign} ", style=style), Text(safe(outcome.reference)), Text(safe(detail)))
        total += outcome.usd or Decimal(0)
    draw(table)
    say(f"cost: {usd(total)}{'' if all(one.usd is not None for one in outcomes) else ' + unknown prices'}")
    return COMPLETE if all(one.failure is None for one in outcomes) else FAILED


def _most(references: Sequence[str], settings: Settings) -> str:
    """What the questions cost at most, in words; retries of calls that failed are not counted."""
    usage = TokenUsage(input_tokens=estimated_tokens(QUESTION) + _FRAME_TOKENS, output_tokens=ASK_TOKENS)
    known = {reference: settings.endpoint(reference) for reference in references}
    prices = [find_price(one, model)(usage) for one, model in known.values()]
    unknown = sum(price is None for price in prices)
    most = f"at most {usd(sum((price for price in prices if price is not None), Decimal(0)))}"
    return f"{most} and {count(unknown, 'unknown price')}" if unknown else most


async def _ask_all(references: Sequence[str], settings: Settings) -> list[ModelCheck]:
    async with Engine(settings=replace(settings, cache=replace(settings.cache, mode="off"))) as engine:
        return list(await asyncio.gather(*(_ask(engine, reference) for reference in references)))


async def _ask(engine: Engine, reference: str) -> ModelCheck:
    mixture = single(reference, max_tokens=ASK_TOKENS).model_copy(update={"deadline_s": ASK_S})
    begun = time.monotonic()
    try:
        ledger, failure = (await engine.arun(mixture, QUESTION)).ledger, None
    except EngineError as error:
        only_thought = any(isinstance(one, EmptyReply) for one in error.failures)
        ledger, failure = error.ledger, None if only_thought else str(error)
    except MoaError as error:
        return ModelCheck(reference=reference, seconds=time.monotonic() - begun, usd=Decimal(0), failure=str(error))
    return ModelCheck(reference=reference, seconds=time.monotonic() - begun, usd=ledger.spend.cost_usd, failure=failure)
