"""Proposals that are made once for a user turn: the further steps of its tool loop use them again.

A tool loop sends the same user turn with every step, each time with one more tool call and result behind it. Asking all
proposers at every step would cost as much as so many turns, and would change what the aggregator reads in the middle.
"""

import hashlib
import json
import logging
from dataclasses import dataclass, replace
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from moa._engine.plan import RunPlan
from moa._ledger import Meter
from moa._messages import Conversation, last_user_turn, message_dict
from moa._results import Degradation, LayerResult, Proposal
from moa._state.store import StateStore
from moa.errors import StateUnavailable

log = logging.getLogger(__name__)

VERSION = 1
"""Part of every key; to be raised when the same key would no longer mean the same proposals."""

RETENTION_S = 3600.0
"""Seconds for which proposals are kept after they were last used."""

MAX_TURNS = 200
"""User turns of one owner whose proposals are kept at most."""


class ProposalStore(Protocol):
    """Keeps the proposals of user turns; may forget any of them at any time."""

    async def get(self, key: str) -> bytes | None:
        """Return what was kept under a key; None if there is nothing (any more)."""
        ...

    async def put(self, key: str, value: bytes) -> None:
        """Keep a value under a key, in place of an older one."""
        ...


class OwnedProposals:
    """The proposals of one owner's runs, in a store that may be shared; nobody finds those of another owner.

    If the store can't be reached, nothing is found: the proposers are asked again.

    Args:
        store: Keeps them.
        owner: Whose runs they belong to.
    """

    def __init__(self, store: StateStore, owner: str) -> None:
        self._store, self._group = store, f"proposals/{owner}"

    async def get(self, key: str) -> bytes | None:
        """Return what was kept under a key; None if there is nothing (any more)."""
        try:
            return await self._store.get(f"{self._group}/{key}")
        except StateUnavailable as error:
            log.warning("proposals can't be looked up: %s", error)
            return None

    async def put(self, key: str, value: bytes) -> None:
        """Keep a value under a key, in place of an older one."""
        try:
            await self._store.put(f"{self._group}/{key}", value, ttl_s=RETENTION_S, group=self._group, most=MAX_TURNS)
        except StateUnavailable as error:
            log.warning("proposals can't be kept: %s", error)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnProposals:
    """What the layers made for a user turn, and why it is less than planned."""

    layers: tuple[LayerResult, ...]
    degraded: tuple[Degradation, ...] = ()


_PROPOSALS: TypeAdapter[TurnProposals] = TypeAdapter(TurnProposals)


def proposers_conversation(plan: RunPlan, conversation: Conversation) -> Conversation:
    """Return what proposers read: all of it, or with a fan-out per user turn the part up to the last user turn."""
    if plan.fan_out == "every_step":
        return conversation
    start = last_user_turn(conversation) + 1
    steps = (at for at in range(start, len(conversation)) if conversation[at].role in ("assistant", "tool"))
    return conversation[: next(steps, len(conversation))]


async def find_proposals(store: ProposalStore | None, key: str | None) -> TurnProposals | None:
    """Return the proposals that were made for a user turn; None if they have to be made."""
    found = None if store is None or key is None else await store.get(key)
    if found is None:
        return None
    try:
        return _PROPOSALS.validate_json(found)
    except ValidationError as error:
        log.warning("proposals that were kept can't be read: %s", error.errors()[0]["msg"])
        return None


async def keep_proposals(store: ProposalStore | None, key: str | None, made: TurnProposals) -> None:
    """Keep the proposals of a user turn, without the attempts that they took."""
    if store is None or key is None:
        return
    layers = tuple(
        replace(layer, roster=tuple(replace(proposal, attempts=()) for proposal in layer.roster))
        for layer in made.layers
    )
    await store.put(key, _PROPOSALS.dump_json(replace(made, layers=layers)))


def turn_key(plan: RunPlan, conversation: Conversation) -> str | None:
    """Return the key of a user turn's proposals: a digest of all that they depend on.

    None if they are not to be reused: the mixture has no proposers or asks them at every step, or something in the
    request has no JSON form.
    """
    if not plan.layers or plan.fan_out == "every_step":
        return None
    mixture = plan.mixture.as_dict()
    parts = {
        name: mixture.get(name) for name in ("layers", "prompt", "template", "prompt_layout", "wait", "aggregation")
    }
    content = {
        "version": VERSION,
        "mixture": parts,
        "seed": plan.options.seed,
        "format": plan.options.reply.response_format if plan.mixture.aggregation == "selection" else None,
        "messages": [message_dict(message) for message in proposers_conversation(plan, conversation)],
    }
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError):
        return None
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def reused(made: TurnProposals, plan: RunPlan, meter: Meter) -> TurnProposals:
    """Return proposals as a run has them that reuses them: at no time and no cost, and the ledger says so."""
    slots = {(slot.layer, slot.name): slot for layer in plan.layers for slot in layer}
    started_s = meter.elapsed_s()

    def again(proposal: Proposal) -> Proposal:
        slot = slots.get((proposal.layer, proposal.agent))
        if proposal.status != "used" or slot is None:
            return replace(proposal, duration_s=0.0)
        price = next((model.price for model in slot.models if model.reference == proposal.model), slot.models[0].price)
        call = meter.open_call(
            agent=proposal.agent, model=proposal.model, purpose="proposal", layer=proposal.layer, price=price
        )
        call.reuse(proposal.finish_reason)
        return replace(proposal, attempts=call.values(meter.started_at), duration_s=0.0)

    layers = tuple(
        replace(layer, roster=tuple(map(again, layer.roster)), started_s=started_s, duration_s=0.0)
        for layer in made.layers
    )
    return replace(made, layers=layers)
