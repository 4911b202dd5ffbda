"""What turns prompts into outputs: mixtures, their parts by themselves, other models, and outputs that were given.

Every system is a name with a mixture, or with outputs. What a mixture's parts share with it is not said here: they ask
the same agents the same things, under the same seeds, so the replies come out of the run's cache.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import Any

from moa._mixture.loading import load, single
from moa._mixture.roster import roster
from moa._mixture.schema import Agent, Layer, Mixture
from moa._pricing.price import Price
from moa.errors import EvaluationDataError, UsageError
from moa.evaluation._data.datasets import Instruction, without_white_space
from moa.evaluation._data.outputs import Output, read_outputs
from moa.evaluation._data.rows import FORMATS
from moa.evaluation._runner.manifest import SystemEntry

REFERENCES = "reference"
"""As a baseline: the answers that the dataset itself has."""

_DATA = (*FORMATS, ".gz", ".zst", ".bz2", ".xz", ".zip")
"""How names of outputs files end, and those of files that are meant as such but can't be read: none is a mixture's."""

_SELF_MOA_TEMPERATURE = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One system of an evaluation.

    Attributes:
        name: Unique in the evaluation; what AlpacaEval's files call `generator`.
        role: What it is there for, in a word, for those who read the report.
        mixture: What is asked; None for given outputs.
        outputs: Given outputs by instruction, None if it is asked.
        price: Of the tokens of given outputs.
        parent: Name of the system that is asked first: of the proposers, only those are asked here whose proposals were
            used there. So a part of a mixture stands on the very proposals that the mixture had.
        known: What a manifest says of it, if it was evaluated by an earlier session and isn't asked for by this one.
    """

    name: str
    role: str
    mixture: Mixture | None = None
    outputs: Mapping[str, Output] | None = None
    price: Price | None = None
    parent: str | None = None
    known: SystemEntry | None = None

    @property
    def is_single_model(self) -> bool:
        """Whether it is one model alone."""
        return self.mixture is not None and not self.mixture.layers

    def entry(self) -> SystemEntry:
        """What a manifest says of it."""
        return self.known or SystemEntry(
            name=self.name,
            role=self.role,
            mixture=None if self.mixture is None else self.mixture.as_dict(),
            price=None if self.price is None else (float(self.price.input), float(self.price.output)),
            outputs=None if self.outputs is None else _digest(self.outputs),
            parent=self.parent,
        )


def _digest(outputs: Mapping[str, Output]) -> str:
    entry = [(output.instruction, output.output) for output in outputs.values()]
    return hashlib.sha256(repr(entry).encode("utf-8", "surrogatepass")).hexdigest()


def parts_of(
    mixture: Mixture,
    *,
    self_moa: str | None = None,
    selection: bool = False,
    leave_one_out: bool = False,
    shuffled: bool = False,
) -> tuple[System, ...]:
    """Return the mixture, its aggregator alone, every member of layer 1 alone, and what is asked for besides.

    A member is an agent: of its samples the first one counts, so that nothing is picked after the fact.

    Args:
        mixture: What is evaluated.
        self_moa: Name of a member of layer 1, `aggregator`, or a model reference: a mixture of the same shape, with
            as many calls, in which this one alone proposes.
        selection: Best-of-n: the aggregator picks one of layer 1's proposals.
        leave_one_out: One system for each proposer of layer 1, which leaves out all of its samples.
        shuffled: One system that is shown the proposals in the reverse order.

    Raises:
        UsageError: The mixture has no layers, more than one where one is needed, or no such member.
        MixtureError: The reference is none.
    """
    own = System(name=mixture.name, role="mixture", mixture=mixture)
    if not mixture.layers:
        if self_moa or selection or leave_one_out or shuffled:
            raise UsageError(f"{mixture.name} has no layers: there is nothing to select from or to sample")
        return (own,)
    agents = _named_agents(mixture.layers[0])
    systems = [own, _alone("aggregator", "aggregator", mixture.aggregator, mixture)]
    systems += [_alone("member", f"member.{agent.name}", agent, mixture) for agent in agents]
    if self_moa:
        agent = _proposer(self_moa, mixture, agents)
        systems.append(System(name=f"{mixture.name}.self-moa", role="self_moa", mixture=self_moa_of(mixture, agent)))
    if selection:
        if mixture.aggregation == "selection" and len(mixture.layers) == 1:
            raise UsageError(f"{mixture.name} selects already: leave out --selection")
        systems.append(_variant("selection", "selection", mixture, agents, aggregation="selection"))
    if leave_one_out or shuffled:
        systems += _ablations(mixture, agents, leave_one_out=leave_one_out, shuffled=shuffled)
    return tuple(systems)


def _ablations(mixture: Mixture, agents: Sequence[Agent], *, leave_one_out: bool, shuffled: bool) -> list[System]:
    if len(mixture.layers) != 1:
        raise UsageError(
            f"--leave-one-out and --shuffled need a mixture of one layer, whose proposals are those that the "
            f"aggregator is shown: {mixture.name} has {len(mixture.layers)}"
        )
    if len(agents) == 1:
        what = "without which nothing is left" if leave_one_out else "whose proposals have no other order"
        option = "--leave-one-out" if leave_one_out else "--shuffled"
        raise UsageError(f"{option}: {mixture.name} has one proposer, {what}")
    found = []
    if leave_one_out:
        for left_out in agents:
            rest = [agent for agent in agents if agent is not left_out]
            found.append(_variant("without", f"without.{left_out.name}", mixture, rest))
    if shuffled:
        found.append(_variant("shuffled", "shuffled", mixture, agents[::-1]))
    return found


def _named_agents(layer: Layer) -> list[Agent]:
    """A layer's proposers, each under the name that it has in its roster, so that it keeps it in another mixture."""
    return [member.agent.model_copy(update={"name": member.name}) for member in roster(layer) if member.sample == 0]


def _variant(role: str, part: str, mixture: Mixture, agents: Sequence[Agent], **changed: Any) -> System:
    """A mixture of one layer over proposals of another one."""
    name = f"{mixture.name}.{part}"
    one = {"name": name, "layers": (Layer(proposers=tuple(agents)),), "wait": None, **changed}
    return System(name=name, role=role, mixture=mixture.model_copy(update=one), parent=mixture.name)


def _alone(role: str, part: str, agent: Agent, mixture: Mixture) -> System:
    """Just one of the agents, under the same limits."""
    name = f"{mixture.name}.{part}"
    one = agent.model_copy(update={"samples": 1})
    limits = {"deadline_s": mixture.deadline_s, "allow_unpriced": mixture.allow_unpriced}
    alone = Mixture(name=name, layers=(), aggregator=one).model_copy(update=limits)
    return System(name=name, role=role, mixture=alone)


def request_of(agent: Agent) -> str:
    """Return what tells an agent's requests from others': all but its name and how often it is asked."""
    return agent.model_copy(update={"name": None, "samples": 1}).model_dump_json()


def as_arrived(mixture: Mixture, used: Collection[str]) -> Mixture | None:
    """Return the mixture with those proposers of layer 1 alone whose proposals were used; None if none is left.

    Args:
        mixture: One of whose proposers every one has its name.
        used: Names in the roster of the mixture that was asked before.
    """
    proposers = []
    for agent in mixture.layers[0].proposers:
        names = [member.name for member in roster(Layer(proposers=(agent,)))]
        there = [number for number, name in enumerate(names, 1) if name in used]
        if there:
            proposers.append(agent.model_copy(update={"samples": there[-1]}))
    if not proposers:
        return None
    return mixture.model_copy(update={"layers": (Layer(proposers=tuple(proposers)), *mixture.layers[1:])})


def _proposer(name: str, mixture: Mixture, agents: Sequence[Agent]) -> Agent:
    if name == "aggregator":
        return mixture.aggregator
    for agent in agents:
        if name in (agent.name, agent.model):
            return agent
    if "/" in name:
        return single(name).aggregator
    known = ", ".join(str(agent.name) for agent in agents)
    raise UsageError(f"--self-moa {name}: give aggregator, a model reference, or a member of layer 1 ({known})")


def self_moa_of(mixture: Mixture, agent: Agent) -> Mixture:
    """Return the mixture with every layer's proposers replaced by as many samples of one agent.

    At temperature 0 the samples would be the same text: such an agent gets 0.7.

    Source:
        Li et al. 2025, "Rethinking Mixture-of-Agents", arXiv 2502.00674: Self-MoA, and its temperature.
    """
    temperature = _SELF_MOA_TEMPERATURE if agent.temperature == 0 else agent.temperature
    layers = tuple(
        Layer(
            proposers=(agent.model_copy(update={"samples": layer.size, "temperature": temperature, "name": None}),),
            wait=layer.wait,
        )
        for layer in mixture.layers
    )
    return mixture.model_copy(update={"layers": layers})


def baseline_of(
    source: str | Path | Mixture,
    *,
    price: Price | None = None,
    max_tokens: int | None = None,
    role: str = "baseline",
) -> System:
    """Return what systems are compared with.

    Args:
        source: Path of an outputs file in AlpacaEval's format (`.json`, `.jsonl`, also with `.gz`), a mixture (a
            preset or file), or a model reference.
        price: US dollars per million tokens, for a file that carries usage, or for a model.
        max_tokens: The most that a model writes; None for what its service allows.
        role: `baseline`, or `reference` for what all systems are judged against.

    Raises:
        EvaluationDataError: The file can't be used.
        MixtureError: The mixture or reference can't be used.
        UsageError: Price or max_tokens are given for what has none.
    """
    is_file = not isinstance(source, Mixture) and str(source).lower().endswith(_DATA)
    mixture = None if is_file else load(source)
    is_model = mixture is not None and mixture.name == mixture.aggregator.model
    if max_tokens is not None and not is_model:
        raise UsageError("--baseline-max-tokens is for a model: a mixture sets its own, and a file has been written")
    if mixture is None:
        return outputs_of(Path(str(source)), role=role, price=price)
    if is_model:
        given = {"price": price, "max_tokens": max_tokens}
        mixture = single(mixture.name, **{key: value for key, value in given.items() if value is not None})
    elif price is not None:
        raise UsageError("--baseline-price is for a model or an outputs file: a mixture has its prices in its file")
    return System(name=mixture.name, role=role, mixture=mixture)


def sides_of(systems: Sequence[System]) -> dict[str, tuple[str, ...]]:
    """Return by each system's name what tells the makers of its models: their references, or its generator's name."""
    return {one.name: one.mixture.references if one.mixture else (one.name,) for one in systems}


def outputs_of(path: Path, *, role: str, name: str | None = None, price: Price | None = None) -> System:
    """Return the system whose outputs a file in AlpacaEval's format has.

    Args:
        path: The file.
        role: See `System`.
        name: What to call it; None: as the file does.
        price: US dollars per million of its tokens.

    Raises:
        EvaluationDataError: The file can't be used, or holds outputs of several systems.
    """
    path = path.expanduser()
    outputs = read_outputs(path)
    names = sorted({output.generator for output in outputs})
    if len(names) > 1:
        found = ", ".join(names[:3])
        raise EvaluationDataError(f"holds outputs of {len(names)} generators ({found} …): give one of them", path=path)
    by_instruction: dict[str, Output] = {}
    for number, output in enumerate(outputs, 1):
        other = by_instruction.setdefault(output.instruction, output)
        if other.output != output.output:
            first = outputs.index(other) + 1
            raise EvaluationDataError(
                f"has another output to the instruction of row {first}: keep one of them", path=path, row=number
            )
    return System(name=name or names[0], role=role, outputs=by_instruction, price=price)


def matched(system: System, instructions: Iterable[Instruction]) -> System:
    """Return a system of given outputs with them by the prompts' own texts.

    An instruction that differs from a prompt by its line ends or the white space around it is that prompt.

    Raises:
        EvaluationDataError: No output is of any of these prompts.
    """
    if system.outputs is None:
        return system
    texts = [one.text for one in instructions]
    exact, alike = set(texts), {without_white_space(text): text for text in texts}
    outputs: dict[str, Output] = {}
    for own, output in system.outputs.items():
        prompt = own if own in exact else alike.get(without_white_space(own), own)
        outputs.setdefault(own if prompt in system.outputs else prompt, output)
    if not exact & outputs.keys():
        theirs, ours = (shorten(text, 80, placeholder=" …") for text in (next(iter(outputs)), texts[0]))
        raise EvaluationDataError(
            f"{system.name} has no output to any of these prompts: its first instruction is “{theirs}”, the first "
            f"prompt is “{ours}”"
        )
    return replace(system, outputs=outputs)


def earlier_system(entry: SystemEntry) -> System:
    """Return the system that a manifest tells of; given outputs are with the run's answers."""
    return System(name=entry.name, role=entry.role, mixture=entry.load(), parent=entry.parent, known=entry)


def check_names(systems: Sequence[System]) -> None:
    """Make sure that every system has a name of its own.

    Raises:
        UsageError: Two have the same.
    """
    names = [system.name for system in systems]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two systems are called {twice}: give the mixture another `name:`")
