"""What runs will take before they are run: tokens, dollars and seconds, at worst (budgets) and as expected (plans)."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from operator import attrgetter

from moa._engine.plan import AgentSlot, RunPlan
from moa._messages import Conversation
from moa._policies.call_statistics import VERDICT, CallStatistics, kind_of_call
from moa._usage import TokenUsage
from moa.providers._endpoint import Endpoint, LimitSettings
from moa.providers._redaction import endpoint_label
from moa.providers._token_estimates import (
    estimated_conversation_tokens,
    estimated_options_tokens,
    estimated_tokens,
    most_extra_tokens,
)

Layers = tuple[tuple[AgentSlot, ...], ...]

PROMPT_TOKENS = 250
"""Room for the prompt around the proposals: the default one has about 150 tokens, that for selecting about 130."""

TOKENS_PER_PROPOSAL = 16
"""Room for the delimiters around a proposal."""

CHOICE_TOKENS = 10
"""What an aggregator writes that only picks a proposal: its number, as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypicalReply:
    """What a model's replies are taken to be like if none of their kind was measured.

    Attributes:
        output_tokens: How many it has, or max_tokens if that is less.
        first_token_s: Seconds to the first token of a short prompt.
        input_per_s: Tokens of a prompt read per second.
        output_per_s: Tokens written per second.
    """

    output_tokens: int
    first_token_s: float
    input_per_s: float
    output_per_s: float


FROM_SERVICE = TypicalReply(output_tokens=400, first_token_s=0.6, input_per_s=math.inf, output_per_s=60.0)
"""Source of the length: outputs of the 223 models on AlpacaEval's leaderboard have 1,552 characters on average."""

FROM_EMBEDDED = TypicalReply(output_tokens=80, first_token_s=0.1, input_per_s=180.0, output_per_s=36.0)
"""As measured with short questions on two cores of a server's CPU, which other programs used, too."""


def reply_assumptions() -> tuple[str, ...]:
    """Return in sentences what replies are taken to be like that were not measured."""
    service, embedded = FROM_SERVICE, FROM_EMBEDDED
    return (
        f"A reply has {service.output_tokens} tokens ({embedded.output_tokens} of the embedded model), or max_tokens "
        "if that is less; a prompt has one for every 4 bytes.",
        f"A service takes {service.first_token_s:g} s to the first token and writes {service.output_per_s:g} tokens a "
        f"second; the embedded model reads {embedded.input_per_s:g} a second and writes {embedded.output_per_s:g}.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RemainingRun:
    """What of a run is still to be done.

    Attributes:
        layers: The proposers' layers.
        conversation: What the caller said.
        shown: Texts of the proposals that the next layer (or the aggregator) is shown; none before layer 1.
    """

    layers: Layers
    conversation: Conversation
    shown: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CallForecast:
    """One planned call: whose it is, what kind of call, and the tokens that it takes."""

    slot: AgentSlot
    kind: str
    usage: TokenUsage

    @property
    def cost_usd(self) -> Decimal | None:
        """What they cost in US dollars; None if the price is unknown."""
        return self.slot.models[0].price(self.usage)

    @property
    def uncached_usd(self) -> Decimal | None:
        """What they cost without any prompt cache."""
        return self.slot.models[0].price(replace(self.usage, cached_input_tokens=0))

    @property
    def usd(self) -> Decimal:
        """The same, an unknown price counted as nothing: a budget has refused it before, or allows it."""
        return self.cost_usd or Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunForecast:
    """What a run takes.

    Attributes:
        expected: Planned calls by layer as they are expected, the samples of an agent counted, the aggregator's last.
        worst_usd: US dollars if every reply uses up its `max_tokens`; None if a price or a `max_tokens` is unknown.
        expected_usd: US dollars if replies are as long as they are expected to be; None if a price is unknown.
    """

    expected: tuple[tuple[CallForecast, ...], ...]
    worst_usd: Decimal | None
    expected_usd: Decimal | None

    @property
    def calls(self) -> int:
        """How many calls are planned."""
        return sum(map(len, self.expected))


def forecast(
    plan: RunPlan,
    layers: Layers,
    reply: Callable[[AgentSlot, str], tuple[int, int]],
    *,
    tier: Callable[[AgentSlot], str | None] = attrgetter("tier"),
    conversation_tokens: int = 0,
    shown: Sequence[int] = (),
) -> Iterator[tuple[CallForecast, ...]]:
    """Give one attempt of each call of these layers and of the aggregator, by layer, the aggregator's last.

    Args:
        plan: The run.
        layers: The layers that are to be run.
        reply: How many tokens an agent writes in a call of this kind, and how many of them are reasoning.
        tier: In which service tier an agent's calls are priced; by default, in the one that they ask for.
        conversation_tokens: Tokens of what the caller said.
        shown: Tokens of each proposal that the first of these layers is shown.
    """
    template = estimated_tokens(plan.mixture.template or "")
    for slots in (*layers, (plan.aggregator,)):
        prompt = conversation_tokens + (template + prompt_tokens(shown) if shown else 0)
        prompt += estimated_options_tokens(
            plan.options.reply if slots[-1] is plan.aggregator else plan.proposers_options
        )
        calls = []
        for slot in slots:
            picks = slot is plan.aggregator and bool(plan.layers) and plan.mixture.aggregation == "selection"
            kind = kind_of_call(slot.layer, slot.sampling.max_tokens, has_format=picks)
            tokens = prompt + estimated_tokens(slot.agent.role or "")
            written, reasoning = reply(slot, kind)
            usage = TokenUsage(input_tokens=tokens, output_tokens=written, reasoning_tokens=reasoning, tier=tier(slot))
            calls.append(CallForecast(slot=slot, kind=kind, usage=usage))
        yield tuple(calls)
        shown = [call.usage.output_tokens - call.usage.reasoning_tokens for call in calls]


def worst_case(plan: RunPlan, rest: RemainingRun, layers: Layers) -> list[CallForecast]:
    """Return each call of these layers and of the aggregator, the aggregator's last.

    Replies are as long as their `max_tokens` allow: what is written is known only afterwards, and what a service then
    reports never exceeds that.

    Args:
        plan: The run.
        rest: What is still to be done; its `layers` are not looked at.
        layers: The layers that are to be run.
    """
    calls = forecast(
        plan,
        layers,
        lambda slot, kind: (slot.sampling.max_tokens or 0, 0),
        # A call in a cheaper tier may be served, and charged, in the usual one.
        tier=attrgetter("dearer_tier"),
        conversation_tokens=estimated_conversation_tokens(rest.conversation),
        shown=[estimated_tokens(text) for text in rest.shown],
    )
    return [_at_worst(call) for layer in calls for call in layer]


def _at_worst(call: CallForecast) -> CallForecast:
    """The call with what a service may add of its own accord to a prompt and to a reply."""
    prompt, reply = most_extra_tokens(call.slot.sampling)
    usage = replace(
        call.usage,
        input_tokens=call.usage.input_tokens + prompt,
        output_tokens=call.usage.output_tokens + reply,
    )
    return replace(call, usage=usage)


def total_usd(calls: Iterable[CallForecast]) -> Decimal | None:
    """Return what calls cost together in US dollars; None if any price is unknown."""
    costs = [call.cost_usd for call in calls]
    known = [cost for cost in costs if cost is not None]
    return sum(known, Decimal(0)) if len(known) == len(costs) else None


def prompt_tokens(shown: Sequence[int]) -> int:
    """Return the tokens of a prompt that shows proposals of so many tokens each; 0 if there are none."""
    return PROMPT_TOKENS + sum(shown) + TOKENS_PER_PROPOSAL * len(shown) if shown else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """What the next replies are expected to be like: as the measured ones of their kind, else as is assumed.

    Attributes:
        endpoints: By name.
        measured: By endpoint (its name and address), model and kind of call.
    """

    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    measured: Mapping[tuple[str, str, str], CallStatistics] = field(default_factory=dict)

    def calls(self, plan: RunPlan, conversation_tokens: int = 0) -> list[tuple[CallForecast, ...]]:
        """Return the calls of a run as they are expected, by layer, the aggregator's last.

        Args:
            plan: The run.
            conversation_tokens: Tokens of what the caller said.
        """
        layers = forecast(plan, plan.layers, self._reply)
        return [tuple(self.with_prompt(call, conversation_tokens) for call in calls) for calls in layers]

    def with_prompt(self, call: CallForecast, tokens: int) -> CallForecast:
        """Return a call with so many tokens more in its prompt; as much of it is cached as was measured."""
        input_tokens, measured = call.usage.input_tokens + tokens, self._measured(call.slot, call.kind)
        share = measured.cached_input_tokens / measured.input_tokens if measured and measured.input_tokens else 0.0
        usage = replace(call.usage, input_tokens=input_tokens, cached_input_tokens=round(share * input_tokens))
        return replace(call, usage=usage)

    def as_verdict(self, call: CallForecast) -> CallForecast:
        """Return the call of a judge whose reply has a given form, as such replies were measured, however limited."""
        endpoint, model = self._endpoint(call.slot)
        label = "" if endpoint is None else endpoint_label(endpoint)
        for (known_label, known_model, kind), measured in self.measured.items():
            if (known_label, known_model) == (label, model) and kind.startswith(VERDICT):
                usage = replace(call.usage, output_tokens=round(measured.output_tokens / measured.calls))
                return self.with_prompt(replace(call, kind=kind, usage=usage), 0)
        return call

    def seconds(self, call: CallForecast) -> float:
        """Return how long a call is expected to take from sending to the end."""
        if (measured := self._measured(call.slot, call.kind)) is not None:
            return measured.seconds / measured.calls
        if (others := self._others(call.slot)).output_tokens:
            return call.usage.output_tokens * others.seconds / others.output_tokens
        typical = self._typical(call.slot)
        reading = call.usage.input_tokens / typical.input_per_s
        return typical.first_token_s + reading + call.usage.output_tokens / typical.output_per_s

    def is_measured(self, call: CallForecast) -> bool:
        """Whether replies of its kind were measured."""
        return self._measured(call.slot, call.kind) is not None

    def _reply(self, slot: AgentSlot, kind: str) -> tuple[int, int]:
        if (measured := self._measured(slot, kind)) is not None:
            return round(measured.output_tokens / measured.calls), round(measured.reasoning_tokens / measured.calls)
        longest = slot.sampling.max_tokens
        picks = kind == kind_of_call(slot.layer, longest, has_format=True)
        others = self._others(slot, "text")
        expected = CHOICE_TOKENS if picks else self._typical(slot).output_tokens
        if others.calls and not picks:
            expected = round(others.output_tokens / others.calls)
        return expected if longest is None else min(expected, longest), 0

    def limits(self, reference: str) -> Iterator[tuple[str, LimitSettings]]:
        """Give what limits a model's calls: its endpoint's limits and its own, by name."""
        name, _, model = reference.partition("/")
        if (endpoint := self.endpoints.get(name)) is not None:
            yield name, endpoint.limits
            yield reference, endpoint.limits_of(model)

    def _others(self, slot: AgentSlot, form: str = "") -> CallStatistics:
        """What was measured of all of a model's calls, or of those whose kind names a form."""
        endpoint, model = self._endpoint(slot)
        label = "" if endpoint is None else endpoint_label(endpoint)
        found = [each for key, each in self.measured.items() if key[:2] == (label, model) and form in key[2]]
        return sum(found, CallStatistics())

    def _typical(self, slot: AgentSlot) -> TypicalReply:
        endpoint, _ = self._endpoint(slot)
        return FROM_EMBEDDED if endpoint is not None and endpoint.kind == "local" else FROM_SERVICE

    def _endpoint(self, slot: AgentSlot) -> tuple[Endpoint | None, str]:
        name, _, model = slot.models[0].reference.partition("/")
        return self.endpoints.get(name), model

    def _measured(self, slot: AgentSlot, kind: str) -> CallStatistics | None:
        endpoint, model = self._endpoint(slot)
        return None if endpoint is None else self.measured.get((endpoint_label(endpoint), model, kind))


class Workload:
    """Runs that are to be made, and how long all of them take.

    Source: the bounds of operational analysis (Denning and Buzen, ACM Computing Surveys 10, 1978): no less than what
    the busiest limit lets through, and no less than all runs in turn by as many as are under way at once.

    Args:
        expectations: What replies are expected to be like.
    """

    def __init__(self, expectations: Expectations) -> None:
        self._expectations = expectations
        self._runs = self._run_s = self._longest_s = 0.0
        self._busy_s, self._calls, self._tokens = (defaultdict[str, float](float) for _ in range(3))
        self._limits: dict[str, LimitSettings] = {}

    def add(
        self, layers: Iterable[Iterable[tuple[CallForecast, float]]], runs: float, *, after_s: float = 0.0
    ) -> float:
        """Add runs whose layers are asked one after another, and the calls of a layer side by side.

        Args:
            layers: Each call, and how many of these runs make it: those that others make, too, are made once.
            runs: How many.
            after_s: Seconds that pass before the first of them can begin.

        Returns:
            Seconds of one run.
        """
        if not runs:
            return 0.0
        total_s = 0.0
        for calls in layers:
            layer_s, busy_s = 0.0, defaultdict[str, float](float)
            for call, times in calls:
                if not times:
                    continue
                seconds = self._expectations.seconds(call)
                layer_s = max(layer_s, seconds * times / runs)
                for name, limit in self._expectations.limits(call.slot.models[0].reference):
                    self._limits[name] = limit
                    self._busy_s[name] += seconds * times
                    self._calls[name] += times
                    self._tokens[name] += call.usage.total_tokens * times
                    busy_s[name] += seconds * times / runs / (limit.max_concurrency or math.inf)
            total_s += max(layer_s, *busy_s.values(), 0.0)
        if not total_s:
            return 0.0  # others make all of their calls
        self._runs += runs
        self._run_s += total_s * runs
        self._longest_s = max(self._longest_s, after_s + total_s)
        return total_s

    def seconds(self, concurrency: int) -> float:
        """Return how long all runs take, with so many of them under way at once and no failures."""
        if not self._runs:
            return 0.0
        bounds = [math.ceil(self._runs / concurrency) * self._run_s / self._runs, self._longest_s]
        for name, limit in self._limits.items():
            if limit.max_concurrency is not None:
                bounds.append(self._busy_s[name] / limit.max_concurrency)
            # What a minute allows is there at once when it begins.
            if limit.requests_per_minute is not None:
                bounds.append(60.0 * (math.ceil(self._calls[name] / limit.requests_per_minute) - 1))
            if limit.tokens_per_minute is not None:
                bounds.append(60.0 * (math.ceil(self._tokens[name] / limit.tokens_per_minute) - 1))
        return max(bounds)
