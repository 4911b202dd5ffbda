"""The mixture's aggregator asked anew, about other proposals than it was shown or in another order."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from moa._ledger import ErrorInfo
from moa._mixture.prompts import render_synthesis
from moa._mixture.schema import Mixture
from moa._runtime.engine import Engine
from moa.evaluation._data.datasets import Instruction
from moa.evaluation._runner.best_of_n import select
from moa.evaluation._runner.generation import first_layer, layer_1_calls, watch_shown
from moa.evaluation._runner.records import Record, sum_calls
from moa.evaluation._runner.systems import System

_NO_ANSWER = ErrorInfo(code="no_answer", message="the mixture has no answer that could be compared with")
_NO_PROPOSALS = ErrorInfo(code="no_proposals", message="no other proposal is left to answer from")


async def reaggregate(
    engine: Engine,
    system: System,
    instruction: Instruction,
    parent: Record,
    mixture: Mixture,
    seed: int,
    *,
    again: bool = False,
) -> Record:
    """Return what the mixture's aggregator answers without a proposer, or to proposals in another order.

    Only the aggregator is bought; costs and times are those of the proposals it is shown and its own. Where it would be
    shown what it was shown before, as the proposer had failed, the answer is the mixture's.

    Args:
        engine: Runs the aggregator.
        system: Its mixture is the aggregator alone.
        instruction: The prompt.
        parent: The mixture's record of the same prompt.
        mixture: All of the mixture, for how it shows proposals.
        seed: Of the evaluation; the order is drawn from it, by prompt.
        again: It was asked before, and there is a record of that.

    Raises:
        UsageError, ConfigError, MixtureError: It can't be asked at all.
        EngineError: Nor would any other prompt be answered: a key is wrong, a model isn't there.
    """
    if not parent.has_output:
        return _failed(system, parent, _NO_ANSWER)
    before, shown = _used(parent), varied(parent, system, seed)
    after = _used(shown)
    if not after:
        return _failed(system, parent, _NO_PROPOSALS)
    if [one["agent"] for one in after] == [one["agent"] for one in before]:
        return replace(parent, system=system.name, derived=True, bought_usd=0.0)
    if mixture.aggregation == "selection":
        return await select(engine, system, instruction, shown, seed, again=again)
    return await _synthesis(engine, system, instruction, shown, mixture, seed, again=again)


def varied(parent: Record, system: System, seed: int) -> Record:
    """Return the mixture's record as if layer 1 had gone otherwise: a proposer left out, or in another order.

    Args:
        parent: The mixture's record.
        system: What is to be different.
        seed: Of the evaluation.
    """
    kept = [one for one in first_layer(parent).get("proposals", ()) if one["agent"] not in system.left_out]
    if system.role == "shuffled":
        kept = _reordered(kept, random.Random(f"shuffled/{seed}/{parent.index}"))
    waited_s = max((one["duration_s"] for one in kept), default=0.0)
    return replace(
        parent,
        layers=({**first_layer(parent), "duration_s": waited_s, "proposals": kept},),
        calls=tuple(call for call in layer_1_calls(parent) if call["agent"] not in system.left_out),
    )


def _reordered(proposals: Sequence[Mapping[str, Any]], source: random.Random) -> list[Mapping[str, Any]]:
    """All of them, those that were used in an order that they did not have; the others, of no use, come last."""
    used = [one for one in proposals if one["status"] == "used"]
    order = list(range(len(used)))
    while len(used) > 1 and order == sorted(order):
        source.shuffle(order)
    return [*(used[place] for place in order), *(one for one in proposals if one["status"] != "used")]


async def _synthesis(
    engine: Engine,
    system: System,
    instruction: Instruction,
    shown: Record,
    mixture: Mixture,
    seed: int,
    *,
    again: bool,
) -> Record:
    prompt = render_synthesis(mixture, [one["text"] for one in _used(shown)]).text
    watched = await watch_shown(engine, system, instruction, prompt, seed)
    own = watched.record(system, instruction, again=again)
    calls, waited_s = (*shown.calls, *own.calls), float(first_layer(shown)["duration_s"])
    return replace(
        own,
        calls=calls,
        layers=shown.layers,
        started_s=shown.started_s,
        seconds=_after(waited_s, own.seconds),
        first_token_s=_after(waited_s, own.first_token_s),
        critical_path_s=_after(waited_s, own.critical_path_s),
        **sum_calls(calls).fields(),
    )


def _after(waited_s: float, seconds: float | None) -> float | None:
    return None if seconds is None else waited_s + seconds


def _used(record: Record) -> list[Mapping[str, Any]]:
    return [one for one in first_layer(record).get("proposals", ()) if one["status"] == "used"]


def _failed(system: System, parent: Record, error: ErrorInfo) -> Record:
    return Record(
        system=system.name,
        index=parent.index,
        status="failed",
        error=error.as_dict(),
        derived=True,
        started_s=parent.started_s,
        **sum_calls(()).fields(),
    )
