"""Who answers in a layer: its proposers with their samples, each under a name of its own."""

from dataclasses import dataclass
from itertools import count

from moa._mixture.model_reference import split_reference
from moa._mixture.schema import Agent, Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One place in a layer's roster.

    Attributes:
        name: Unique in its layer.
        agent: What answers.
        index: Place in the roster, from 0; the next layer sees the proposals in this order.
        sample: Number of this sample of its agent, from 0.
    """

    name: str
    agent: Agent
    index: int
    sample: int


def roster(layer: Layer) -> tuple[Member, ...]:
    """Return a layer's members in order, samples expanded.

    A member is called by its agent's name or its model's id; a name that is taken already gets `#2`, `#3` …
    """
    taken = {agent.name for agent in layer.proposers if agent.name}
    members: list[Member] = []
    for agent in layer.proposers:
        for sample in range(agent.samples):
            name = _name(agent, sample, taken)
            taken.add(name)
            members.append(Member(name=name, agent=agent, index=len(members), sample=sample))
    return tuple(members)


def _name(agent: Agent, sample: int, taken: set[str]) -> str:
    if agent.name and sample == 0:
        return agent.name
    base = agent.name or split_reference(agent.model)[1]
    if base not in taken:
        return base
    return next(name for number in count(2) if (name := f"{base}#{number}") not in taken)
