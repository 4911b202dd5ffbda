"""A mixture as checked values. The mixture file has exactly these keys."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StrictBool, StrictInt, StringConstraints, model_validator

from moa._messages import Sampling
from moa._mixture.model_reference import REFERENCE, check_reference
from moa._pricing.price import Price, UsDollars
from moa._validation.strict_model import NUMERIC, Amount, Seconds, StrictModel, Text, located_error

MAX_SAMPLES = 256
"""Maximum number of samples of one proposer; more is taken for a typing error."""


def _json_object(value: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON values: {error}") from error
    ours = sorted(value.keys() & {"model", "messages", "stream"})
    if ours:
        raise ValueError(f"{', '.join(ours)} can't be set here: the mixture sets it")
    return value


Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False), NUMERIC]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), NUMERIC]
Reference = Annotated[str, AfterValidator(check_reference), Field(json_schema_extra={"pattern": REFERENCE})]
Extra = Annotated[dict[str, Any], AfterValidator(_json_object)]
Degrade = Literal["proposers", "layers", "aggregator_alone"]
PromptLayout = Literal["last", "system"]
FanOut = Literal["user_turn", "every_step"]


class Hedge(StrictModel):
    """When to send a second, concurrent request for a slow call.

    Attributes:
        after_s: Seconds to wait for the first attempt; None: the agent's 95th percentile, once 20 calls are measured.
    """

    after_s: Seconds | None = None


Tier = Literal["flex", "standard", "priority"]
"""A service tier."""

FLEX_TIMEOUT_S = 900.0
"""Seconds for a reply in the flexible tier, which queues. Source: OpenAI's guide to flex processing (15 minutes)."""


class Agent(StrictModel):
    """A model with its parameters and role. A parameter that is None is left to the service.

    Attributes:
        model: Reference, `endpoint/model-id`.
        name: Name in traces and tables; None: the model's id.
        role: Additional system text.
        temperature: 0-2.
        top_p: Probability mass, 0-1.
        top_k: Number of candidate tokens.
        max_tokens: Maximum number of tokens in the reply.
        stop: Texts that end the reply.
        seed: Seed, for services that support one.
        reasoning_effort: As the service names it: `low`, `high` …
        samples: Number of replies, requested in parallel; Self-MoA is one proposer with several samples.
        timeout_s: Seconds for the whole reply, including retries, not including the wait for a free slot.
        idle_timeout_s: Longest silence inside a streamed reply, in seconds.
        fallback: References to try in this order if the model fails.
        hedge: When to send a second, concurrent request for a slow call.
        tier: Service tier to ask for: `flex` (cheaper and slower), `standard` or `priority`; None: the endpoint's own.
        price: US dollars per million tokens; takes precedence over every price table.
        extra: Additional fields of the service's request body, passed through unchanged.
    """

    model: Reference
    name: Text | None = None
    role: Text | None = None
    temperature: Temperature | None = None
    top_p: Probability | None = None
    top_k: Annotated[StrictInt, Field(ge=0)] | None = None
    max_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    stop: tuple[Annotated[str, StringConstraints(strict=True, min_length=1)], ...] = ()
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63)] | None = None
    reasoning_effort: Text | None = None
    samples: Annotated[StrictInt, Field(ge=1, le=MAX_SAMPLES)] = 1
    timeout_s: Seconds = 120.0
    idle_timeout_s: Seconds = 60.0
    fallback: tuple[Reference, ...] = ()
    hedge: Hedge | None = None
    tier: Tier | None = None
    price: Price | None = None
    extra: Extra = Field(default_factory=dict)

    def time_limit_s(self, endpoint_tier: str | None) -> float:
        """Return the seconds for a whole reply: longer in the flexible tier, unless `timeout_s` is given.

        Args:
            endpoint_tier: The tier of the model's endpoint, for an agent that names none.
        """
        if (self.tier or endpoint_tier) == "flex" and "timeout_s" not in self.model_fields_set:
            return FLEX_TIMEOUT_S
        return self.timeout_s

    @property
    def sampling(self) -> Sampling:
        """The sampling parameters for the providers."""
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            max_tokens=self.max_tokens,
            stop=self.stop,
            seed=self.seed,
            reasoning_effort=self.reasoning_effort,
            extra=self.extra,
        )


class Wait(StrictModel):
    """How long a layer waits.

    Attributes:
        min_proposals: Number of proposals (samples count) without which the layer fails.
        grace_s: Seconds for the other proposers once `min_proposals` have arrived; None: each has its own `timeout_s`.
    """

    min_proposals: Annotated[StrictInt, Field(ge=1)] = 1
    grace_s: Amount | None = None


class Layer(StrictModel):
    """Agents that answer in parallel.

    Attributes:
        proposers: At least one.
        wait: Overrides the mixture's `wait`.
    """

    proposers: Annotated[tuple[Agent, ...], Field(json_schema_extra={"minItems": 1})]
    wait: Wait | None = None

    @property
    def size(self) -> int:
        """Number of proposals, including samples."""
        return sum(agent.samples for agent in self.proposers)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.proposers:
            raise located_error("expected at least one proposer", "proposers")
        named: dict[str, int] = {}
        for index, agent in enumerate(self.proposers):
            if agent.name is not None and named.setdefault(agent.name, index) != index:
                message = f"{agent.name!r} is already the name of proposer {named[agent.name]}"
                raise located_error(message, "proposers", index, "name")
        if self.wait and self.wait.min_proposals > self.size:
            raise located_error(_too_many(self.wait, self.size), "wait", "min_proposals")
        return self


def _too_many(wait: Wait, size: int, layer: str = "the layer") -> str:
    return f"expected at most {size}, as {layer} makes only {size} proposal(s), got {wait.min_proposals}"


class Mixture(StrictModel):
    """A named arrangement of layers and an aggregator.

    Attributes:
        name: Its name.
        description: Its purpose.
        layers: Layers of proposers; without any, the aggregator answers the conversation alone.
        aggregator: Writes the answer, or selects it.
        aggregation: `synthesis` (write a new answer from the proposals) or `selection` (select one of them).
        prompt: `default`, `numbered`, or the path of a template, relative to the mixture's file.
        template: Text of the template that `prompt` names; read when the mixture is loaded.
        prompt_layout: Position of the proposals: `last` (after the last user turn, so that services can cache the
            conversation before it) or `system` (in the system message, as in published work).
        fan_out: When proposers are asked: once per `user_turn` (the steps of its tool loop reuse the proposals) or at
            `every_step`; None: once per user turn where the request gives tools.
        wait: How long the layers wait.
        on_aggregator_failure: `error`, or `best_proposal`: the longest complete proposal becomes a degraded answer.
        deadline_s: Time limit of the run, in seconds.
        aggregator_share: Share of the deadline, 0-1, that is reserved for the aggregator: the layers close before it.
        budget_usd: Budget of the run, in US dollars.
        degrade: What to drop, in this order, if the budget is too small.
        allow_unpriced: Whether models without a known price may run under a budget.
    """

    name: Text = "mixture"
    description: str = ""
    layers: tuple[Layer, ...]
    aggregator: Agent
    aggregation: Literal["synthesis", "selection"] = "synthesis"
    prompt: Text = "default"
    template: str | None = None
    prompt_layout: PromptLayout = "last"
    fan_out: FanOut | None = None
    wait: Wait | None = None
    on_aggregator_failure: Literal["error", "best_proposal"] = "error"
    deadline_s: Seconds | None = None
    aggregator_share: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False), NUMERIC] = 1 / 3
    budget_usd: UsDollars | None = None
    degrade: tuple[Degrade, ...] = ()
    allow_unpriced: StrictBool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.aggregator.samples != 1:
            raise located_error("an aggregator answers once: `samples` is for proposers", "aggregator", "samples")
        if self.template is not None and self.prompt in ("default", "numbered"):
            raise located_error(f"a template needs a prompt that names its file, not {self.prompt!r}", "template")
        for number, layer in enumerate(self.layers, 1):
            if self.wait and not layer.wait and self.wait.min_proposals > layer.size:
                raise located_error(_too_many(self.wait, layer.size, f"layer {number}"), "wait", "min_proposals")
        return self

    def in_tier(self, tier: Tier) -> Self:
        """Return the mixture with all of its agents in one service tier."""

        def changed(agent: Agent) -> Agent:
            return agent.model_copy(update={"tier": tier})

        layers = tuple(
            layer.model_copy(update={"proposers": tuple(map(changed, layer.proposers))}) for layer in self.layers
        )
        return self.model_copy(update={"layers": layers, "aggregator": changed(self.aggregator)})

    @property
    def agents(self) -> tuple[Agent, ...]:
        """Every agent, the aggregator last."""
        return (*(agent for layer in self.layers for agent in layer.proposers), self.aggregator)

    @property
    def references(self) -> tuple[str, ...]:
        """Every model that it may call, fallbacks included, each once, in order."""
        return tuple(dict.fromkeys(name for agent in self.agents for name in (agent.model, *agent.fallback)))

    @property
    def most_calls(self) -> int:
        """The most calls that a run makes, retries aside: every sample with its fallbacks, hedged ones twice."""
        return sum(agent.samples * (1 + len(agent.fallback)) * (2 if agent.hedge else 1) for agent in self.agents)

    @property
    def most_calls_at_once(self) -> int:
        """The most calls of a run that are under way at the same time: every sample of a layer, hedged ones twice."""
        layers = [*(layer.proposers for layer in self.layers), (self.aggregator,)]
        return max(sum(agent.samples * (2 if agent.hedge else 1) for agent in agents) for agents in layers)

    def as_dict(self) -> dict[str, Any]:
        """The mixture as JSON-ready values without defaults; `load` reads it.

        The layout of prompts is always there if there are proposals: records name it even where it is the default.
        """
        values = self.model_dump(mode="json", exclude_defaults=True)
        if self.layers:
            values["prompt_layout"] = self.prompt_layout
        else:
            values.pop("prompt_layout", None)
        return values
