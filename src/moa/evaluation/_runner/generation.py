"""Asking a system one prompt, and what becomes of it as a record."""

import time
from typing import Any

from moa._engine.plan import derived_seed
from moa._ledger import ErrorInfo, Ledger
from moa._messages import conversation, whole_characters
from moa._mixture.schema import Mixture
from moa._pricing.price import cost_of
from moa._results import Answer, LayerResult, Proposal
from moa._runtime.engine import Engine
from moa._usage import TokenUsage, json_usd
from moa.errors import AuthenticationFailed, BudgetExceeded, EngineError, ModelNotFound, QuotaExhausted
from moa.evaluation._data.datasets import Instruction
from moa.evaluation._data.outputs import Output
from moa.evaluation._judges.judge_calls import is_out_of_money
from moa.evaluation._runner.records import AnswerTrace, Record, sums_of, trace_of
from moa.evaluation._runner.store import Paid
from moa.evaluation._runner.systems import System
from moa.events import LayerFinished, ProposalFinished, RunFinished
from moa.providers._token_estimates import estimated_conversation_tokens, estimated_tokens

_HOPELESS = (AuthenticationFailed, ModelNotFound, QuotaExhausted)
"""A run that failed for one of these would fail with every other prompt too."""


async def generate(
    engine: Engine, name: str, mixture: Mixture, instruction: Instruction, seed: int
) -> tuple[Record, AnswerTrace]:
    """Return what a mixture answers to a prompt, and how; a run that fails is a record too.

    Args:
        engine: Runs it.
        name: The system's.
        mixture: What is asked.
        instruction: The prompt.
        seed: Of the evaluation. The run's own follows from it and the prompt alone: systems that ask the same agents
            the same things about a prompt get the same replies.

    Raises:
        UsageError, ConfigError, MixtureError: It can't be asked at all.
        EngineError: Nor would any other prompt be answered: a key is wrong, a model isn't there.
    """
    started_s, answer, failed = time.time(), None, None
    layers, loose = list[LayerResult](), list[Proposal]()
    # The answer is streamed, as users see it, for the time of its first token; proposals are not, as when serving.
    stream = engine.astream(
        mixture, conversation(instruction.prompt), seed=derived_seed(seed, instruction.prompt), proposal_deltas=False
    )
    try:
        async with stream as events:
            async for event in events:
                match event:
                    case ProposalFinished():
                        loose.append(event.proposal)
                    case LayerFinished():
                        layers.append(event.result)
                    case RunFinished():
                        answer = event.answer
    except EngineError as error:
        if any(isinstance(cause, _HOPELESS) for cause in error.failures):
            raise
        failed = error
    ledger = answer.ledger if answer else stream.ledger
    _require_whole(loose, ledger)
    layers += _layer_that_failed(layers, loose)
    common: dict[str, Any] = {
        "system": name,
        "index": instruction.index,
        "started_s": started_s,
        "used": tuple(proposal.agent for proposal in layers[0].proposals) if layers else (),
        **sums_of(ledger),
    }
    # Calls are paid from the evaluation's budget alone, unless the mixture has one of its own.
    if engine.budget is not None and mixture.budget_usd is None and _is_out_of_money(failed, layers, loose):
        record = Record(status="stopped", error={"code": BudgetExceeded.code, "message": "stopped"}, **common)
    elif answer is None:
        record = Record(status="failed", error=failed.info.as_dict() if failed else None, **common)
    else:
        record = Record(**common, **_answered(answer))
    return record, trace_of(ledger, tuple(layers))


def failed_record(name: str, instruction: Instruction, error: ErrorInfo, ledger: Ledger) -> tuple[Record, AnswerTrace]:
    """Return what a model alone answers where its proposal has failed: the same failure, at the same cost."""
    record = Record(system=name, index=instruction.index, status="failed", error=error.as_dict(), **sums_of(ledger))
    return record, AnswerTrace(calls=ledger.calls)


def _layer_that_failed(layers: list[LayerResult], loose: list[Proposal]) -> list[LayerResult]:
    """The layer that was under way when the run failed, with the proposals that had ended."""
    number = len(layers) + 1
    ended = sorted((proposal for proposal in loose if proposal.layer == number), key=lambda proposal: proposal.index)
    if not ended:
        return []
    duration_s = max(proposal.duration_s for proposal in ended)
    return [LayerResult(number=number, roster=tuple(ended), closed_by="all", started_s=0.0, duration_s=duration_s)]


def _is_out_of_money(failed: EngineError | None, layers: list[LayerResult], loose: list[Proposal]) -> bool:
    """Whether the evaluation's budget kept the run, or one of its calls, from being made."""
    if failed is not None and is_out_of_money(failed):
        return True
    errors = [proposal.error for proposal in (*(one for layer in layers for one in layer.roster), *loose)]
    return any(error is not None and error.code == BudgetExceeded.code for error in errors)


def _require_whole(loose: list[Proposal], ledger: Ledger) -> None:
    """Make sure that no member is missing for good: what would be measured is another mixture."""
    codes = {kind.code for kind in _HOPELESS}
    for proposal in loose:
        if proposal.error is not None and proposal.error.code in codes:
            message = f"the mixture would be measured without {proposal.agent} ({proposal.error.message})"
            raise EngineError(message, ledger=ledger)


def _answered(answer: Answer) -> dict[str, Any]:
    seconds, first_token_s = answer.latency.total_s, answer.latency.first_token_s
    if any(attempt.cached for call in answer.ledger.calls for attempt in call.attempts):
        # It did not wait for replies that were bought before; a run of this system alone would.
        seconds = answer.latency.critical_path_s
        last = answer.attempts[-1].first_token_s if answer.attempts else None
        first_token_s = None if last is None else seconds - answer.aggregation_s + last
    return {
        "status": answer.status,
        "output": whole_characters(answer.text),
        "finish_reason": answer.finish_reason,
        "agent": answer.agent,
        "model": answer.model,
        "seconds": seconds,
        "first_token_s": first_token_s,
        "critical_path_s": answer.latency.critical_path_s,
        "aggregation_s": answer.aggregation_s,
        "degraded": tuple(reason.as_dict() for reason in answer.degraded),
        "selected": answer.selected,
    }


def paid_for(ledger: Ledger) -> Paid:
    """Return what calls have cost, besides kept replies that were bought before."""
    cached_total = lost = 0.0
    for attempt in ledger.attempts:
        charged = float(attempt.spend.charged_usd)
        if attempt.status == "ok" and attempt.finish_reason != "content_filter":
            cached_total += charged
        else:
            lost += charged
    return Paid(cached_usd=cached_total, lost_usd=lost, unpriced=bool(ledger.unpriced))


def given_record(system: System, instruction: Instruction) -> Record:
    """Return what a file of outputs has for a prompt, as a record; nothing was bought for it.

    Without token counts in the file, what it would cost at the system's price is an estimate from the texts.
    """
    output = (system.outputs or {}).get(instruction.text)
    if output is None or not output.output.strip():
        why = "the file has no output for this prompt" if output is None else output.error or "the output is empty"
        error = {"code": "missing_output", "message": why}
        return Record(system=system.name, index=instruction.index, status="failed", error=error)
    usage = output.usage or _estimated_usage(instruction, output)
    price = None if system.price is None else json_usd(cost_of(system.price, usage))
    cost = None if output.usage is None else price
    return Record(
        system=system.name,
        index=instruction.index,
        status="complete",
        output=output.output,
        finish_reason=output.finish_reason,
        seconds=output.seconds,
        usage=output.usage,
        cost_usd=cost,
        priced_usd=cost or 0.0,
        estimated_usd=0.0 if output.usage is not None or price is None else price,
    )


def _estimated_usage(instruction: Instruction, output: Output) -> TokenUsage:
    """Return about how many tokens one call with this prompt and output has: all that a file of texts tells."""
    prompt = estimated_conversation_tokens(conversation(instruction.prompt))
    return TokenUsage(input_tokens=prompt, output_tokens=estimated_tokens(output.output))


def output_of(record: Record, instruction: Instruction) -> Output:
    """Return a record as a row of an outputs file; one that failed has an empty output and its error."""
    return Output(
        instruction=instruction.text,
        output=record.output,
        generator=record.system,
        dataset=instruction.category or instruction.dataset,
        usage=record.usage,
        seconds=record.seconds,
        finish_reason=record.finish_reason,
        error=None if record.error is None else f"{record.error['code']}: {record.error['message']}",
    )
