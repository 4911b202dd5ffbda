"""What a search may try: every small mixture of the models, and what each would cost at least."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from moa._ledger import Pricer
from moa._mixture.loading import single
from moa._mixture.schema import Agent, Layer, Mixture, Tier
from moa._usage import TokenUsage
from moa.evaluation._runner.systems import System, self_moa_of
from moa.evaluation._statistics.array_types import Bools, Floats

MAX_MEMBERS = 5
"""The largest subset of models that is tried."""

MAX_SAMPLES = 10
"""The most samples of a Self-MoA."""

TOKENIZER_SLACK = 0.7
"""An aggregator may count this share of the tokens that the members reported: vocabularies differ."""

Form = Literal["single", "synthesis", "selection", "self-moa"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One system that could win.

    Attributes:
        system: What is asked.
        form: How it answers.
        members: References of its proposers, each as often as it is sampled; empty for a single model.
        aggregator: The reference of the model that answers.
    """

    system: System
    form: Form
    members: tuple[str, ...]
    aggregator: str

    @property
    def name(self) -> str:
        """The system's name."""
        return self.system.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What one system has answered, prompt by prompt in the order of `Search.everything`; NaN where there is nothing.

    Attributes:
        advantages: Points above the baseline; also NaN where the baseline failed or a verdict is missing. All of shape
            (prompts,).
        answered: Whether there is an answer, or the failure to give one.
        usd: US dollars.
        seconds: Likewise.
        output_tokens: Likewise.
    """

    advantages: Floats
    answered: Bools
    usd: Floats
    seconds: Floats
    output_tokens: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a mixture's answers take per prompt, as far as its members' answers tell.

    Attributes:
        low_usd: US dollars at least: members, and an aggregator that reads them and writes nothing.
        high_usd: At most: the aggregator writes all that it may; None if that has no limit.
        low_s: 95th percentile of the seconds until the slowest member has answered.
    """

    low_usd: float
    high_usd: float | None
    low_s: float


def single_model(reference: str, max_tokens: int | None, tier: Tier | None) -> Candidate:
    """Return a model alone, in a service tier if one is named.

    Raises:
        MixtureError: The reference is none.
    """
    mixture = single(reference, **({} if max_tokens is None else {"max_tokens": max_tokens}))
    if tier is not None:
        mixture = mixture.in_tier(tier)
    system = System(name=reference, role="member", mixture=mixture)
    return Candidate(system=system, form="single", members=(), aggregator=reference)


def mixtures_of(
    models: Sequence[str],
    aggregators: Sequence[str],
    agents: Mapping[str, Agent],
    affordable: Mapping[tuple[str, str], int],
) -> Iterator[Candidate]:
    """Yield every candidate: subsets of the models under each aggregator and form, then Self-MoAs.

    Args:
        models: References of the proposers.
        aggregators: References of those that may aggregate.
        agents: How each of them is asked.
        affordable: How many samples of a model, under an aggregator, the cost limit pays for: Self-MoA at equal
            dollars. At equal calls it has as many samples as the largest subset has members.
    """
    labels = _labels((*models, *aggregators))
    most = min(MAX_MEMBERS, len(models))
    for size in range(2, most + 1):
        for members in combinations(models, size):
            for aggregator in aggregators:
                layer = Layer(proposers=tuple(agents[one] for one in members))
                name = f"{'+'.join(labels[one] for one in members)}@{labels[aggregator]}"
                mixture = Mixture(name=name, layers=(layer,), aggregator=agents[aggregator])
                yield _candidate(mixture, "synthesis", members)
                picks = mixture.model_copy(update={"name": f"{name}.selection", "aggregation": "selection"})
                yield _candidate(picks, "selection", members)
    for model in models:
        for aggregator in aggregators:
            for samples in sorted({most, affordable.get((model, aggregator), most)} - {0, 1}):
                name = f"{samples}x{labels[model]}@{labels[aggregator]}"
                shape = Mixture(
                    name=name,
                    layers=(Layer(proposers=(agents[model].model_copy(update={"samples": samples}),)),),
                    aggregator=agents[aggregator],
                )
                yield _candidate(self_moa_of(shape, agents[model]), "self-moa", (model,) * samples)


def _candidate(mixture: Mixture, form: Form, members: tuple[str, ...]) -> Candidate:
    role = {"selection": "selection", "self-moa": "self_moa"}.get(form, "mixture")
    system = System(name=mixture.name, role=role, mixture=mixture)
    return Candidate(system=system, form=form, members=members, aggregator=mixture.aggregator.model)


def _labels(references: Sequence[str]) -> dict[str, str]:
    """A short name of each model; its whole reference where two would have the same."""
    short = {one: one.partition("/")[2] for one in references}
    names = [short[one] for one in dict.fromkeys(references)]
    return {one: name if names.count(name) == 1 else one for one, name in short.items()}


def bounds_of(
    candidate: Candidate, alone: Mapping[str, Answers], prompt_tokens: Floats, price: Pricer, max_tokens: int | None
) -> Bounds:
    """Return what a mixture takes per prompt at least and at most.

    Args:
        candidate: A mixture.
        alone: What its members answered alone, by reference.
        prompt_tokens: Of each prompt, by estimate. Shape: (prompts,).
        price: Of its aggregator.
        max_tokens: What its aggregator may write.
    """
    parts = [alone[one] for one in candidate.members]
    members_usd = float(np.nanmean(np.sum([one.usd for one in parts], axis=0)))
    shown = TOKENIZER_SLACK * float(np.nanmean(prompt_tokens + np.sum([one.output_tokens for one in parts], axis=0)))
    slowest_s = np.max([one.seconds for one in parts], axis=0)
    least, most = (
        None if output is None else price(TokenUsage(input_tokens=round(tokens), output_tokens=output))
        for tokens, output in ((shown, 1), (shown / TOKENIZER_SLACK**2, max_tokens))
    )
    return Bounds(
        low_usd=members_usd + float(least or 0),
        high_usd=None if most is None else members_usd + float(most),
        low_s=float(np.nanpercentile(slowest_s, 95)),
    )


def affordable_samples(
    model: Answers, prompt_tokens: Floats, price: Pricer, limit_usd: float, max_samples: int = MAX_SAMPLES
) -> int:
    """Return how many samples of a model, and an aggregator that reads them, a limit of dollars per prompt pays for."""
    each, tokens = float(np.nanmean(model.usd)), float(np.nanmean(model.output_tokens))
    prompt = float(np.mean(prompt_tokens))

    def usd(samples: int) -> float:
        read = TokenUsage(input_tokens=round(prompt + samples * tokens), output_tokens=round(tokens))
        return samples * each + float(price(read) or 0)

    return max((samples for samples in range(2, max_samples + 1) if usd(samples) <= limit_usd), default=0)
