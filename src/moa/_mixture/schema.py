"""What a mixture is, as checked values. The mixture file has exactly these keys."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StrictBool, StrictInt, StringConstraints, model_validator

from moa._messages import Sampling
from moa._mixture.model_reference import REFERENCE, check_reference
from moa._pricing.price import Price, UsDollars
from moa._validation.strict_model import NUMERIC, Amount, Seconds, StrictModel, Text, located_error

MAX_SAMPLES = 256
"""Most samples of one proposer; more is a slip of the finger."""


def _json_object(value: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"expected values that JSON has: {error}") from error
    ours = sorted(value.keys() & {"model", "messages", "stream"})
    if ours:
        raise ValueError(f"{', '.join(ours)} can't be set here: the mixture decides it")
    return value


Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False), NUMERIC]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), NUMERIC]
Reference = Annotated[str, AfterValidator(check_reference), Field(json_schema_extra={"pattern": REFERENCE})]
Extra = Annotated[dict[str, Any], AfterValidator(_json_object)]
Degrade = Literal["proposers", "layers", "aggregator_alone"]
PromptLayout = Literal["last", "system"]
FanOut = Literal["user_turn", "every_step"]


class Hedge(StrictModel):
    """When to ask a second time beside a slow call.

    Attributes:
        after_s: Seconds to wait for the first attempt; None: the agent's own 95th percentile, once 20 calls are known.
    """

    after_s: Seconds | None = None


class Agent(StrictModel):
    """One model with its parameters and role. Where a parameter is None, the service decides.

    Attributes:
        model: Reference, `endpoint/model-id`.
        name: What it is called in traces and tables; None: its model's id.
        role: Its system text.
        temperature: 0-2.
        top_p: Probability mass, 0-1.
        top_k: Number of candidate tokens.
        max_tokens: Most tokens of its reply.
        stop: Texts that end its reply.
        seed: For services that have one.
        reasoning_effort: In the service's words: `low`, `high` …
        samples: How many times it answers, side by side; Self-MoA is one proposer with several.
        timeout_s: Seconds for the whole reply, retries included, waiting for a free place not.
        idle_timeout_s: Longest silence inside a streamed reply, in seconds.
        fallback: References that answer in its stead, in this order, if its own model can't.
        hedge: When to ask a second time beside a slow call.
        price: US dollars per million tokens, before any other table of prices.
        extra: Further fields of the service's request body, passed through untouched.
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
    price: Price | None = None
    extra: Extra = Field(default_factory=dict)

    @property
    def sampling(self) -> Sampling:
        """The parameters of sampling, as the providers take them."""
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
        min_proposals: How many must arrive (samples counted), or the layer fails.
        grace_s: Seconds that the rest gets once so many are in; None: until their own `timeout_s`.
    """

    min_proposals: Annotated[StrictInt, Field(ge=1)] = 1
    grace_s: Amount | None = None


class Layer(StrictModel):
    """Agents that answer side by side.

    Attributes:
        proposers: At least one.
        wait: In place of the mixture's.
    """

    proposers: Annotated[tuple[Agent, ...], Field(json_schema_extra={"minItems": 1})]
    wait: Wait | None = None

    @property
    def size(self) -> int:
        """How many proposals it makes, samples counted."""
        return sum(agent.samples for agent in self.proposers)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.proposers:
            raise located_error("expected at least one proposer", "proposers")
        named: dict[str, int] = {}
        for index, agent in enumerate(self.proposers):
            if agent.name is not None and named.setdefault(agent.name, index) != index:
                message = f"{agent.name!r} is the name of proposer {named[agent.name]} already"
                raise located_error(message, "proposers", index, "name")
        if self.wait and self.wait.min_proposals > self.size:
            raise located_error(_too_many(self.wait, self.size), "wait", "min_proposals")
        return self


def _too_many(wait: Wait, size: int, layer: str = "the layer") -> str:
    return f"expected at most {size}, as {layer} makes only {size} proposal(s), got {wait.min_proposals}"


class Mixture(StrictModel):
    """A named arrangement of layers and an aggregator.

    Attributes:
        name: What it is called.
        description: What it is for.
        layers: The proposers; without any, the aggregator answers the plain conversation.
        aggregator: Writes the final answer, or under selection picks it.
        aggregation: `synthesis` (write a new answer from the proposals) or `selection` (pick one of them).
        prompt: `default`, `numbered`, or the path of a template, relative to the mixture's file.
        template: Text of the template that `prompt` names; read when the mixture is loaded.
        prompt_layout: Where proposals are shown: `last` (behind the last user turn, so that services can cache the
            conversation before it) or `system` (in the system message, as in published work).
        fan_out: When proposers are asked: once per `user_turn` (the steps of its tool loop reuse the proposals) or at
            `every_step`; None: once per user turn where the request gives tools.
        wait: How long layers wait.
        on_aggregator_failure: `error`, or `best_proposal`: the longest complete proposal becomes a degraded answer.
        deadline_s: Seconds for the whole run.
        aggregator_share: Part of the deadline, 0-1, that the layers leave to the aggregator: they close before it.
        budget_usd: US dollars for the whole run.
        degrade: What a budget may drop, in this order.
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
            raise located_error("an aggregator answers once: use samples with proposers", "aggregator", "samples")
        if self.template is not None and self.prompt in ("default", "numbered"):
            raise located_error(f"a template needs a prompt that names its file, not {self.prompt!r}", "template")
        for number, layer in enumerate(self.layers, 1):
            if self.wait and not layer.wait and self.wait.min_proposals > layer.size:
                raise located_error(_too_many(self.wait, layer.size, f"layer {number}"), "wait", "min_proposals")
        return self

    @property
    def references(self) -> tuple[str, ...]:
        """Every model that it may call, fallbacks included, each once, in order."""
        agents = [agent for layer in self.layers for agent in layer.proposers] + [self.aggregator]
        return tuple(dict.fromkeys(name for agent in agents for name in (agent.model, *agent.fallback)))

    @property
    def most_calls(self) -> int:
        """The most calls that a run makes, retries aside: every sample with its fallbacks, hedged ones twice."""
        agents = [agent for layer in self.layers for agent in layer.proposers] + [self.aggregator]
        return sum(agent.samples * (1 + len(agent.fallback)) * (2 if agent.hedge else 1) for agent in agents)

    def as_dict(self) -> dict[str, Any]:
        """The mixture as plain JSON-ready values without what is default; `load` takes it back.

        The layout of prompts is always there if there are proposals: records name it even where it is the default.
        """
        values = self.model_dump(mode="json", exclude_defaults=True)
        if self.layers:
            values["prompt_layout"] = self.prompt_layout
        else:
            values.pop("prompt_layout", None)
        return values
