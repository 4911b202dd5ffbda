"""The plan of a run: every agent of the mixture with its resolved models, its seed and its position."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from hashlib import blake2b
from typing import Protocol

from moa._ledger import Pricer
from moa._messages import ReplyOptions, Sampling
from moa._mixture.roster import Member, roster
from moa._mixture.schema import Agent, FanOut, Mixture
from moa._pricing.price import Price
from moa.events import AgentInfo
from moa.providers._base import Provider
from moa.providers._service_tier import dearer_tier, tier_of

_PLAIN, _AS_PLANNED = ReplyOptions(), Sampling()

MAX_CACHED_PLANS = 64
"""Mixtures whose plans are kept between runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that is ready to be asked: its reference, its id at its service, who calls it, what it costs.

    Attributes:
        tier: The service tier of its endpoint; None if that names none.
    """

    reference: str
    id: str
    provider: Provider
    price: Pricer
    tier: str | None = None


class Models(Protocol):
    """Where the engine gets its models from."""

    def model(self, reference: str, price: Price | None) -> Model:
        """Return the model of a reference; `price` overrides every known price.

        Raises:
            ConfigError: Its endpoint is unknown or can't be used.
        """
        ...

    async def prices_ready(self) -> None:
        """Wait until prices can be asked without blocking the event loop."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What a caller may ask of one run.

    Attributes:
        seed: Makes the samples of every agent repeatable where services take seeds.
        deadline_s: Seconds for the whole run; the mixture's own deadline holds too, the tighter one wins.
        budget_usd: US dollars for the whole run; the mixture's own budget holds too, the tighter one wins.
        reply: Tools, response format and the like, for the aggregator.
        sampling: Parameters that override the aggregator's own.
        proposal_deltas: Whether proposals are yielded piece by piece.
        answer_deltas: Whether the answer is yielded piece by piece.
        cache_scope: As in `CallContext`.
    """

    seed: int | None = None
    deadline_s: float | None = None
    budget_usd: Decimal | None = None
    reply: ReplyOptions = field(default_factory=ReplyOptions)
    sampling: Sampling | None = None
    proposal_deltas: bool = False
    answer_deltas: bool = False
    cache_scope: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSlot:
    """An agent in its place.

    Attributes:
        name: Unique in its layer.
        layer: From 1; the aggregator's is the last.
        index: Place in the roster, from 0.
        models: The agent's own model, then its fallbacks.
        sampling: With the seed of this run and sample.
        group: Index of the first of the agent's samples; None if it has one sample only.
        sample: How many slots before it in its layer ask the very same; a cache keeps one reply for each.
        info: The slot as events describe it.
    """

    name: str
    layer: int
    index: int
    agent: Agent
    models: tuple[Model, ...]
    sampling: Sampling
    group: int | None = None
    sample: int = 0
    info: AgentInfo

    @property
    def tier(self) -> str | None:
        """The tier that its calls ask for; None for the usual one."""
        return tier_of(self.sampling.extra.get("service_tier") or self.agent.tier or self.models[0].tier)

    @property
    def dearer_tier(self) -> str | None:
        """The tier of its calls if that may cost more than the usual one, else None."""
        return dearer_tier(self.tier)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """Who is asked, in which order, with what."""

    mixture: Mixture
    layers: tuple[tuple[AgentSlot, ...], ...]
    aggregator: AgentSlot
    options: RunOptions

    @property
    def deadline_s(self) -> float | None:
        """Seconds for the whole run, None without a limit."""
        limits = [limit for limit in (self.mixture.deadline_s, self.options.deadline_s) if limit is not None]
        return min(limits, default=None)

    @property
    def budget_usd(self) -> Decimal | None:
        """US dollars for the whole run, None without a limit."""
        limits = [limit for limit in (self.mixture.budget_usd, self.options.budget_usd) if limit is not None]
        return min(limits, default=None)

    @property
    def fan_out(self) -> FanOut:
        """When proposers are asked."""
        return self.mixture.fan_out or ("user_turn" if self.options.reply.tools else "every_step")

    @property
    def unseeded(self) -> tuple[str, ...]:
        """References of models whose service takes no seed although this run has one; sorted."""
        models = (model for slot in self._slots() if slot.sampling.seed is not None for model in slot.models)
        return tuple(sorted({model.reference for model in models if not model.provider.takes_seed}))

    @property
    def proposers_options(self) -> ReplyOptions:
        """What proposers are asked for: under selection their text is the answer, so its format counts."""
        if self.mixture.aggregation == "selection":
            return ReplyOptions(response_format=self.options.reply.response_format)
        return _PLAIN

    def _slots(self) -> Iterator[AgentSlot]:
        for layer in self.layers:
            yield from layer
        yield self.aggregator


class Planner:
    """Makes plans. What depends on the mixture alone is kept: batches and servers run the same ones again and again.

    Args:
        models: Where the agents' models come from.
    """

    def __init__(self, models: Models) -> None:
        self._models = models
        # By identity, as comparing mixtures costs more than planning them; each entry keeps its mixture alive.
        self._plan_for: dict[int, RunPlan] = {}

    def plan(self, mixture: Mixture, options: RunOptions) -> RunPlan:
        """Return the plan of one run.

        Raises:
            ConfigError: A model's endpoint is unknown or can't be used; nothing has been sent.
        """
        plan = self._plan_for.get(id(mixture))
        if plan is None:
            if len(self._plan_for) >= MAX_CACHED_PLANS:
                self._plan_for.clear()
            plan = self._plan_for[id(mixture)] = _plan_for(mixture, self._models)
        return _for_run(plan, options)

    def forget(self) -> None:
        """Forget all models: they were closed."""
        self._plan_for.clear()


def _plan_for(mixture: Mixture, models: Models) -> RunPlan:
    """The plan of a run of which nothing special is asked."""
    layers = tuple(
        tuple(_slot(member, number, models) for member in roster(layer))
        for number, layer in enumerate(mixture.layers, 1)
    )
    layers = tuple(_number_duplicates(slots) for slots in layers)
    name = mixture.aggregator.name or ("aggregator" if layers else "model")
    last = Member(name=name, agent=mixture.aggregator, index=0, sample=0)
    return RunPlan(
        mixture=mixture, layers=layers, aggregator=_slot(last, len(layers) + 1, models), options=RunOptions()
    )


def _slot(member: Member, layer: int, models: Models) -> AgentSlot:
    agent = member.agent
    own = models.model(agent.model, agent.price)
    fallbacks = tuple(models.model(reference, None) for reference in agent.fallback)
    sampling = agent.sampling
    if sampling.seed is not None and member.sample:
        sampling = replace(sampling, seed=sampling.seed + member.sample)
    return AgentSlot(
        name=member.name,
        layer=layer,
        index=member.index,
        agent=agent,
        models=(own, *fallbacks),
        sampling=sampling,
        group=member.index - member.sample if agent.samples > 1 else None,
        info=AgentInfo(agent=member.name, model=agent.model, index=member.index),
    )


def _number_duplicates(slots: tuple[AgentSlot, ...]) -> tuple[AgentSlot, ...]:
    """The slots with their samples numbered: a slot that asks the same as another one wants a reply of its own."""
    extras: dict[int, str] = {}
    seen: Counter[tuple[object, ...]] = Counter()
    numbered = []
    for slot in slots:
        sampling, agent = slot.sampling, slot.agent
        if id(agent) not in extras:  # an agent's samples share it
            extras[id(agent)] = json.dumps(sampling.extra, sort_keys=True, default=repr)
        plain = (getattr(sampling, each.name) for each in fields(sampling) if each.name != "extra")
        asked = (slot.models[0].reference, agent.role, extras[id(agent)], *plain)
        numbered.append(replace(slot, sample=seen[asked]) if seen[asked] else slot)
        seen[asked] += 1
    return tuple(numbered)


def _for_run(plan: RunPlan, options: RunOptions) -> RunPlan:
    """The plan with what is asked of one run."""
    layers, aggregator = plan.layers, plan.aggregator
    if options.seed is not None:
        layers = tuple(tuple(_seeded(slot, options.seed) for slot in slots) for slots in layers)
        aggregator = _seeded(aggregator, options.seed)
    if options.sampling is not None and options.sampling != _AS_PLANNED:
        aggregator = replace(aggregator, sampling=_overridden(aggregator.sampling, options.sampling))
    return RunPlan(mixture=plan.mixture, layers=layers, aggregator=aggregator, options=options)


def _seeded(slot: AgentSlot, seed: int) -> AgentSlot:
    asked = (slot.models[0].reference, slot.agent.role, slot.sampling)
    return replace(slot, sampling=replace(slot.sampling, seed=derived_seed(seed, asked, slot.sample)))


def derived_seed(seed: int, asked: object, sample: int = 0) -> int:
    """Return the seed of one sample: from 0 to 2**31 - 1, which every service takes.

    It follows from what is asked, and not from who asks it where: the same agent in another mixture gives the same
    reply, which a cache then has. With one seed for all of them the samples of an agent would be the same text.

    Args:
        seed: Of the run.
        asked: What tells an agent, or a question, from others, by its `repr`.
        sample: How many before it ask the very same.
    """
    digest = blake2b(f"{seed}/{asked!r}/{sample}".encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest) >> 1


def _overridden(own: Sampling, override: Sampling) -> Sampling:
    names = ("temperature", "top_p", "top_k", "max_tokens", "seed", "reasoning_effort")
    given = {name: value for name in names if (value := getattr(override, name)) is not None}
    stop, extra = override.stop or own.stop, {**own.extra, **override.extra}
    return replace(own, **given, stop=stop, extra=extra)
