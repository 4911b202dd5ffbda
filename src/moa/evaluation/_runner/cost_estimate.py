"""What an evaluation would take before anything is bought: calls, tokens, dollars, minutes, and what they rest on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from moa._engine.run_budget import prompt_tokens
from moa._ledger import Pricer
from moa._messages import conversation
from moa._mixture.loading import single
from moa._mixture.roster import roster
from moa._mixture.schema import Agent, Mixture
from moa._pricing.price import Price
from moa._usage import TokenUsage
from moa.evaluation._data.datasets import Instruction
from moa.evaluation._judges.base import Judge
from moa.evaluation._judges.pairwise import NAME as PAIRWISE
from moa.evaluation._runner.config import EvaluationConfig
from moa.evaluation._runner.preparing import Prepared
from moa.evaluation._runner.pricing import pricer_of
from moa.evaluation._runner.run_directory import RunDirectory
from moa.evaluation._runner.systems import System
from moa.evaluation._runner.verdict_rows import is_final
from moa.providers._token_estimates import estimated_conversation_tokens, estimated_tokens

OUTPUT_TOKENS = 400
"""What an answer is assumed to have, or max_tokens if that is less.

Source: outputs of the 223 models on AlpacaEval's leaderboard have 1,552 characters on average.
"""

CHOICE_TOKENS = 10
"""What an aggregator writes that only picks a proposal: its number, as JSON."""

VERDICT_TOKENS = 60
JUDGE_PROMPT_TOKENS = 400
"""What a judge's prompt has besides the instruction and both outputs: the official template has 1,655 bytes."""

TOKENS_PER_S = 60.0
"""How fast a model is assumed to write."""

FIRST_TOKEN_S = 0.6
"""What a call is assumed to take until the first token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one system, or the judging, takes.

    Attributes:
        name: The system's name, or `judging`.
        calls: How many.
        input_tokens: Of all prompts, by estimate.
        output_tokens: Of all replies, by assumption.
        priced_usd: US dollars of the calls whose price is known.
        unpriced: References of the models whose price is not.
        seconds: Of all prompts one after another, the calls of a layer side by side.
    """

    name: str
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    priced_usd: Decimal = Decimal(0)
    unpriced: tuple[str, ...] = ()
    seconds: float = 0.0

    def __add__(self, other: "Need") -> "Need":
        """Add all but the name."""
        return Need(
            name=self.name,
            calls=self.calls + other.calls,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            priced_usd=self.priced_usd + other.priced_usd,
            unpriced=tuple(sorted({*self.unpriced, *other.unpriced})),
            seconds=self.seconds + other.seconds,
        )

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; `cost_usd` is null if any price is unknown."""
        return {
            "name": self.name,
            "calls": self.calls,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": None if self.unpriced else float(self.priced_usd),
            "priced_usd": float(self.priced_usd),
            "unpriced": list(self.unpriced),
        }

    def after(self, seconds: float) -> "Need":
        """The same, taking so many seconds."""
        return replace(self, seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an evaluation would take, by system.

    Attributes:
        needs: Of each system that has calls, and of the judging.
        prompts: How many prompts.
        concurrency: Answers and verdicts under way at once.
    """

    needs: tuple[Need, ...]
    prompts: int
    concurrency: int

    @property
    def total(self) -> Need:
        """All of it."""
        return sum(self.needs, Need(name="total"))

    @property
    def minutes(self) -> float:
        """Of wall time, if nobody limits the rate."""
        return self.total.seconds / self.concurrency / 60.0

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {
            "prompts": self.prompts,
            "systems": [need.as_dict() for need in self.needs],
            "total": self.total.as_dict(),
            "minutes": self.minutes,
            "assumptions": list(self.assumptions),
        }

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the figures rest on, in sentences."""
        return (
            f"An answer has {OUTPUT_TOKENS} tokens, or max_tokens if that is less; a prompt has one for every 4 bytes.",
            f"A model takes {FIRST_TOKEN_S:g} s to its first token and writes {TOKENS_PER_S:g} tokens a second.",
            f"{self.concurrency} answers and verdicts are under way at once; nobody limits the rate, no call fails.",
            "Members alone cost nothing: their answers are the mixture's proposals.",
            f"A judge's prompt has both outputs and {JUDGE_PROMPT_TOKENS} tokens more.",
            "All outputs differ: systems with the same one share a verdict, which costs less.",
        )


Known = Callable[[System, int], bool]
"""Whether an answer or verdict of a system is there already, by the prompt's index."""


def _nothing(system: System, index: int) -> bool:
    return False


def plan(prepared: Prepared, answered: Known = _nothing, judged: Known = _nothing) -> Plan:
    """Return what is still to be bought; looks up prices, which takes a second.

    Args:
        prepared: The evaluation.
        answered: Which answers are there already.
        judged: Which verdicts are there already.
    """
    setup, rates = prepared.setup, _Rates(prepared)
    needs = [
        sum((rates.answer(system, one) for one in _left(setup, system, answered)), Need(name=system.name))
        for system in setup.bought
    ]
    if setup.judge is not None:
        pairs = [one for system in setup.judged for one in _left(setup, system, judged)]
        needs.append(sum((rates.verdict(setup.judge, one) for one in pairs), Need(name="judging")))
    return Plan(needs=tuple(needs), prompts=len(setup.instructions), concurrency=setup.concurrency)


def plan_rest(prepared: Prepared, out: Path | None) -> Plan:
    """Return what is still to be bought for a run directory; all of it if there is none.

    Raises:
        EvaluationDataError: The directory can't be read.
    """
    if out is None or not RunDirectory(out).manifest_path.exists():
        return plan(prepared)
    folder, setup = RunDirectory(out), prepared.setup
    answered = {
        system.name: {index for index, record in folder.records(system.name).items() if record.has_output}
        for system in setup.systems
    }
    judged = {
        system.name: {row["index"] for row in folder.verdict_rows(system.name) if is_final(row)}
        for system in setup.judged
    }
    return plan(
        prepared,
        lambda system, index: index in answered[system.name],
        lambda system, index: index in judged[system.name],
    )


def _left(setup: EvaluationConfig, system: System, known: Known) -> list[Instruction]:
    return [one for one in setup.instructions if not known(system, one.index)]


class _Rates:
    """What single answers and verdicts take."""

    def __init__(self, prepared: Prepared) -> None:
        self._settings, self._mixture = prepared.settings, prepared.setup.mixture.mixture
        self._pricers: dict[tuple[str, Price | None], Pricer] = {}

    def answer(self, system: System, instruction: Instruction) -> Need:
        """Return what one answer takes."""
        talk = estimated_conversation_tokens(conversation(instruction.prompt))
        mixture = system.mixture
        if mixture is None:
            return Need(name=system.name)
        if system.follows and self._mixture is not None:
            members = roster(self._mixture.layers[0])
            proposals = [_output_tokens(member.agent) for member in members if member.name not in system.left_out]
            picks = system.role == "selection" or self._mixture.aggregation == "selection"
            return self._calls((_aggregator(mixture, picks=picks),), talk + prompt_tokens(proposals))
        last = _aggregator(mixture, picks=mixture.aggregation == "selection" and bool(mixture.layers))
        total, shown = Need(name=system.name), list[int]()
        for agents in (*(layer.proposers for layer in mixture.layers), (last,)):
            total += self._calls(agents, talk + prompt_tokens(shown))
            shown = _proposal_tokens(agents)
        return total

    def verdict(self, judge: Judge, instruction: Instruction) -> Need:
        """Return what one verdict takes: two replies of a judge that is shown both orders, one word of the others."""
        prompt = estimated_conversation_tokens(conversation(instruction.prompt)) + JUDGE_PROMPT_TOKENS
        both = PAIRWISE in judge.name
        agents = tuple(
            single(model, max_tokens=VERDICT_TOKENS if both else 1, samples=1).aggregator for model in judge.models
        )
        once = self._calls(agents, prompt + 2 * OUTPUT_TOKENS)
        return replace(once + once, seconds=once.seconds) if both else once

    def _calls(self, agents: Sequence[Agent], prompt_tokens: int) -> Need:
        """What agents take that are asked side by side."""
        return sum((self._call(agent, prompt_tokens) for agent in agents), Need(name="")).after(
            max(FIRST_TOKEN_S + _output_tokens(agent) / TOKENS_PER_S for agent in agents)
        )

    def _call(self, agent: Agent, prompt_tokens: int) -> Need:
        tokens = TokenUsage(
            input_tokens=prompt_tokens + estimated_tokens(agent.role or ""), output_tokens=_output_tokens(agent)
        )
        price = self._pricer(agent)(tokens)
        return Need(
            name="",
            calls=agent.samples,
            input_tokens=tokens.input_tokens * agent.samples,
            output_tokens=tokens.output_tokens * agent.samples,
            priced_usd=(price or Decimal(0)) * agent.samples,
            unpriced=() if price is not None else (agent.model,),
        )

    def _pricer(self, agent: Agent) -> Pricer:
        key = (agent.model, agent.price)
        if key not in self._pricers:
            self._pricers[key] = pricer_of(self._settings, *key)
        return self._pricers[key]


def _aggregator(mixture: Mixture, *, picks: bool) -> Agent:
    """The aggregator, writing no more than it takes."""
    return mixture.aggregator.model_copy(update={"max_tokens": CHOICE_TOKENS}) if picks else mixture.aggregator


def _proposal_tokens(agents: Sequence[Agent]) -> list[int]:
    """How long each proposal of a layer may be, samples counted."""
    return [_output_tokens(agent) for agent in agents for _ in range(agent.samples)]


def _output_tokens(agent: Agent) -> int:
    return min(agent.max_tokens or OUTPUT_TOKENS, OUTPUT_TOKENS)
