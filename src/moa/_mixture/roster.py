"""Who answers in a layer: its proposers with their samples, each under a name of its own."""

from dataclasses import dataclass

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
    numbers: dict[str, int] = {}
    members: list[Member] = []
    for agent in layer.proposers:
        base = agent.name or split_reference(agent.model)[1]
        for sample in range(agent.samples):
            name = base
            # The first free number: what was taken once stays so, hence no number is tried twice.
            while name in taken and not (agent.name and sample == 0):
                numbers[base] = numbers.get(base, 1) + 1
                name = f"{base}#{numbers[base]}"
            taken.add(name)
            members.append(Member(name=name, agent=agent, index=len(members), sample=sample))
    return tuple(members)
