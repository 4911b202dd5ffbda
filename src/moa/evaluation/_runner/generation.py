"""Asking a system one prompt, and what becomes of it as a record."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from moa._engine.briefing import Briefing, lay_out
from moa._engine.plan import derived_seed
from moa._ledger import Ledger
from moa._messages import Conversation, ReplyOptions, conversation
from moa._results import Answer, LayerResult, Proposal
from moa._runtime.engine import Engine
from moa.errors import AuthenticationFailed, BudgetExceeded, EngineError, ModelNotFound, OverBudget, QuotaExhausted
from moa.evaluation._data.datasets import Instruction
from moa.evaluation._runner.records import Record, sum_calls
from moa.evaluation._runner.systems import System
from moa.events import LayerFinished, ProposalFinished, RunFinished

_NO_OPTIONS = ReplyOptions()

_HOPELESS = (AuthenticationFailed, ModelNotFound, QuotaExhausted)
"""A run that failed for one of these would fail with every other prompt too."""


async def ask(engine: Engine, system: System, instruction: Instruction, seed: int, *, again: bool = False) -> Record:
    """Return what a system answers to a prompt; a run that fails is a record too.

    Args:
        engine: Runs it.
        system: One that has a mixture.
        instruction: The prompt.
        seed: Of the evaluation; system and prompt get one of their own derived from it.
        again: It was asked before, and there is a record of that.

    Raises:
        UsageError, ConfigError, MixtureError: It can't be asked at all.
        EngineError: Nor would any other prompt be answered: a key is wrong, a model isn't there.
    """
    talk = conversation(instruction.prompt)
    watched = await watch(engine, system, talk, own_seed(seed, system, instruction))
    return watched.record(system, instruction, again=again)


def own_seed(seed: int, system: System, instruction: Instruction) -> int:
    """Return the seed of one system and prompt; no two requests of an evaluation share theirs."""
    return derived_seed(seed, 0, system.name, instruction.index)


class RunOutcome:
    """What came of one run, also of one that failed half-way.

    Args:
        budgeted: Calls are paid from the evaluation's budget alone, so a call for which there is no money says that
            this is used up, not that the mixture's own is.
    """

    def __init__(self, *, budgeted: bool) -> None:
        self.started_s = time.time()
        self.answer: Answer | None = None
        self.error: EngineError | None = None
        self.ledger = Ledger()
        self.layers: list[LayerResult] = []
        self.loose: list[Proposal] = []
        self._budgeted = budgeted

    @property
    def out_of_money(self) -> bool:
        """Whether the evaluation's budget kept the run, or one of its calls, from being made."""
        if not self._budgeted:
            return False
        if isinstance(self.error, OverBudget):
            return True
        failures = self.error.failures if self.error else ()
        errors = [proposal.error for layer in self.layers for proposal in layer.roster]
        errors += [proposal.error for proposal in self.loose]
        stopped = any(error is not None and error.code == BudgetExceeded.code for error in errors)
        return stopped or any(isinstance(failure, BudgetExceeded) for failure in failures)

    def layer_dicts(self) -> tuple[Mapping[str, Any], ...]:
        """The layers as JSON values; of a layer that failed, the proposals that had ended."""
        layers = [layer.as_dict() for layer in self.layers]
        begun = len(layers) + 1
        loose = sorted((p for p in self.loose if p.layer == begun), key=lambda proposal: proposal.index)
        if loose:
            ended_s = max(proposal.duration_s for proposal in loose)
            proposals = [proposal.as_dict() for proposal in loose]
            layers.append({"layer": begun, "closed_by": "failure", "duration_s": ended_s, "proposals": proposals})
        return tuple(layers)

    def record(self, system: System, instruction: Instruction, *, again: bool) -> Record:
        """All of it as a record."""
        calls = tuple(call.as_dict() for call in self.ledger.calls)
        books = sum_calls(calls)
        common: dict[str, Any] = {
            "system": system.name,
            "index": instruction.index,
            "calls": calls,
            "layers": self.layer_dicts(),
            "started_s": self.started_s,
            "bought_usd": books.bought_usd(known=again),
            **books.fields(),
        }
        if self.out_of_money:
            return Record(status="stopped", error={"code": BudgetExceeded.code, "message": "stopped"}, **common)
        if self.answer is None:
            return Record(status="failed", error=self.error.info.as_dict() if self.error else None, **common)
        return Record(**common, **_answered(self.answer))


def _answered(answer: Answer) -> dict[str, Any]:
    return {
        "status": answer.status,
        "output": answer.text,
        "finish_reason": answer.finish_reason,
        "agent": answer.agent,
        "model": answer.model,
        "seconds": answer.latency.total_s,
        "first_token_s": answer.latency.first_token_s,
        "critical_path_s": answer.latency.critical_path_s,
        "aggregation_s": answer.aggregation_s,
        "degraded": tuple(reason.as_dict() for reason in answer.degraded),
        "selected": answer.selected,
    }


async def watch(
    engine: Engine, system: System, talk: Conversation, seed: int, options: ReplyOptions = _NO_OPTIONS
) -> RunOutcome:
    """Run a system's mixture and return what came of it, be it an answer or a failure.

    Raises:
        UsageError, ConfigError, MixtureError: It can't be asked at all.
        EngineError: Nor would any other prompt be answered: a key is wrong, a model isn't there.
    """
    mixture = system.mixture
    if mixture is None:
        raise ValueError(f"{system.name} is a file of outputs: it can't be asked")
    watched = RunOutcome(budgeted=engine.budget is not None and mixture.budget_usd is None)
    # The answer is streamed, as users see it, for the time of its first token; proposals are not, as when serving.
    stream = engine.astream(mixture, talk, seed=seed, options=options, proposal_deltas=False)
    try:
        async with stream as events:
            async for event in events:
                match event:
                    case ProposalFinished():
                        watched.loose.append(event.proposal)
                    case LayerFinished():
                        watched.layers.append(event.result)
                    case RunFinished():
                        watched.answer = event.answer
    except EngineError as error:
        if any(isinstance(cause, _HOPELESS) for cause in error.failures):
            raise
        watched.error = error
    watched.ledger = watched.answer.ledger if watched.answer else stream.ledger
    _require_whole(watched)
    return watched


async def watch_shown(
    engine: Engine,
    system: System,
    instruction: Instruction,
    prompt: str,
    seed: int,
    options: ReplyOptions = _NO_OPTIONS,
) -> RunOutcome:
    """Run an aggregator that is shown proposals, in the words that the mixture would have sent it.

    Args:
        engine: Runs it.
        system: Its mixture is the aggregator alone.
        instruction: The prompt.
        prompt: System text that shows the proposals; it comes after the aggregator's role.
        seed: Of the evaluation.
        options: Of the request.

    Raises:
        UsageError, ConfigError, MixtureError: It can't be asked at all.
        EngineError: Nor would any other prompt be answered: a key is wrong, a model isn't there.
    """
    mixture = system.mixture
    if mixture is None:
        raise ValueError(f"{system.name} is a file of outputs: it can't be asked")
    briefing = Briefing(conversation=conversation(instruction.prompt), role=mixture.aggregator.role, proposals=prompt)
    told = mixture.model_copy(update={"aggregator": mixture.aggregator.model_copy(update={"role": None})})
    return await watch(
        engine, replace(system, mixture=told), lay_out(briefing), own_seed(seed, system, instruction), options
    )


def _require_whole(watched: RunOutcome) -> None:
    """Make sure that no member is missing for good: what would be measured is another mixture."""
    codes = {kind.code for kind in _HOPELESS}
    for proposal in watched.loose:
        if proposal.error is not None and proposal.error.code in codes:
            message = f"the mixture would be measured without {proposal.agent} ({proposal.error.message})"
            raise EngineError(message, ledger=watched.ledger)


def cached_proposal(parent: Record, system: System) -> Record | None:
    """Return a member's record out of the mixture's, None if the member has to be asked alone.

    That is so where the mixture went on without it, or never came to ask it: alone it would have had its time.

    Args:
        parent: The mixture's record of the same prompt.
        system: The member.
    """
    first = first_layer(parent)
    proposal = next((p for p in first.get("proposals", ()) if p["agent"] == system.member), None)
    if proposal is None or proposal["status"] == "abandoned":
        return None
    calls = tuple(call for call in layer_1_calls(parent) if call["agent"] == system.member)
    used = proposal["status"] == "used"
    return Record(
        system=system.name,
        index=parent.index,
        status="failed" if not used else "degraded" if proposal["finish_reason"] == "length" else "complete",
        output=proposal["text"] if used else "",
        error=proposal["error"],
        finish_reason=proposal["finish_reason"],
        agent=proposal["agent"],
        model=proposal["model"],
        seconds=proposal["duration_s"] if used else None,
        first_token_s=_first_token_s(proposal) if used else None,
        critical_path_s=proposal["duration_s"] if used else None,
        calls=calls,
        derived=True,
        started_s=parent.started_s,
        **sum_calls(calls).fields(),
    )


def first_layer(parent: Record) -> Mapping[str, Any]:
    """Return how the mixture's layer 1 ended; nothing if it never began."""
    return parent.layers[0] if parent.layers else {}


def layer_1_calls(parent: Record) -> tuple[Mapping[str, Any], ...]:
    """Return the calls of the mixture's layer 1."""
    return tuple(call for call in parent.calls if call["layer"] == 1 and call["purpose"] == "proposal")


def _first_token_s(proposal: Mapping[str, Any]) -> float | None:
    last = proposal["attempts"][-1] if proposal["attempts"] else None
    if last is None or last["first_token_s"] is None:
        return None
    return float(last["started_s"] + last["queue_s"] + last["first_token_s"])
