"""Best-of-n: the aggregator picks one of the proposals that the mixture has bought already."""

from collections.abc import Mapping
from typing import Any

from moa._engine.selection import choice_format, chosen
from moa._ledger import ErrorInfo
from moa._messages import ReplyOptions
from moa._mixture.prompts import render_selection
from moa._runtime.engine import Engine
from moa.errors import BadRequest, UnusableReply
from moa.evaluation._data.datasets import Instruction
from moa.evaluation._runner.generation import RunOutcome, first_layer, layer_1_calls, watch_shown
from moa.evaluation._runner.records import Record, sum_calls
from moa.evaluation._runner.systems import System
from moa.providers._base import Finish, Reply


async def select(
    engine: Engine, system: System, instruction: Instruction, parent: Record, seed: int, *, again: bool = False
) -> Record:
    """Return which of the mixture's proposals its aggregator picks.

    Costs and times are those of layer 1 and of the picking; only the picking is bought.

    Args:
        engine: Runs the aggregator.
        system: Its mixture is the aggregator alone.
        instruction: The prompt.
        parent: The mixture's record of the same prompt.
        seed: Of the evaluation.
        again: It was asked before, and there is a record of that.

    Raises:
        UsageError, ConfigError, MixtureError: It can't be asked at all.
    """
    proposals = [one for one in first_layer(parent).get("proposals", ()) if one["status"] == "used"]
    tries: list[RunOutcome] = []
    picked: int | None = 0 if len(proposals) == 1 else None
    error = ErrorInfo(code="no_proposals", message="layer 1 made no proposal to select from")
    if len(proposals) > 1:
        tries = await _ask(engine, system, instruction, [one["text"] for one in proposals], seed)
        picked, error = _pick(tries[-1], len(proposals))
    record = _record(system, parent, tries, again=again)
    if tries and tries[-1].out_of_money:
        return _with(record, status="stopped", error=error.as_dict())
    if picked is None:
        return _with(record, status="failed", error=error.as_dict())
    return _with(record, **_answer(proposals[picked], picked, parent, tries))


async def _ask(
    engine: Engine, system: System, instruction: Instruction, texts: list[str], seed: int
) -> list[RunOutcome]:
    prompt, wanted = render_selection(texts).text, ReplyOptions(response_format=choice_format(len(texts)))
    tries = [await watch_shown(engine, system, instruction, prompt, seed, wanted)]
    refused = tries[0].error is not None and any(isinstance(cause, BadRequest) for cause in tries[0].error.failures)
    if refused:  # the service takes no such format: the prompt alone has to do
        tries.append(await watch_shown(engine, system, instruction, prompt, seed))
    return tries


def _pick(last: RunOutcome, count: int) -> tuple[int | None, ErrorInfo]:
    answer = last.answer
    if answer is None:
        return None, last.error.info if last.error else ErrorInfo(code="failed", message="the aggregator failed")
    try:
        reply = Reply(text=answer.text, finish=Finish(reason=answer.finish_reason))
        return chosen(reply, answer.model, count), ErrorInfo(code="", message="")
    except UnusableReply as error:
        return None, error.info


def _record(system: System, parent: Record, tries: list[RunOutcome], *, again: bool) -> dict[str, Any]:
    own = tuple(call.as_dict() for one in tries for call in one.ledger.calls)
    calls = (*layer_1_calls(parent), *own)
    return {
        "system": system.name,
        "index": parent.index,
        "calls": calls,
        "layers": parent.layers[:1],
        "derived": not tries,
        "started_s": parent.started_s,
        "bought_usd": sum_calls(own).bought_usd(known=again),
        **sum_calls(calls).fields(),
    }


def _with(common: Mapping[str, Any], **fields: Any) -> Record:
    return Record(**{**common, **fields})


def _answer(proposal: Mapping[str, Any], picked: int, parent: Record, tries: list[RunOutcome]) -> dict[str, Any]:
    layer_s = float(first_layer(parent)["duration_s"])
    own_s = sum(one.answer.latency.total_s for one in tries if one.answer)
    cut_off = proposal["finish_reason"] == "length"
    return {
        "status": "degraded" if cut_off else "complete",
        "output": proposal["text"],
        "finish_reason": proposal["finish_reason"],
        "agent": proposal["agent"],
        "model": proposal["model"],
        "seconds": layer_s + own_s,
        "first_token_s": layer_s + own_s if tries else None,
        "critical_path_s": layer_s + own_s,
        "aggregation_s": own_s,
        "selected": picked,
    }
