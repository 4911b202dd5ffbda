"""What turns prompts into outputs: the mixture, its parts by themselves, and what it is compared with."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from moa._mixture.loading import load, preset_names, single
from moa._mixture.roster import Member, roster
from moa._mixture.schema import Agent, Layer, Mixture
from moa._pricing.price import Price
from moa.errors import EvaluationDataError, UsageError
from moa.evaluation._data.outputs import SUFFIXES, Output, read_outputs

Role = Literal[
    "mixture", "aggregator", "member", "self_moa", "selection", "without", "shuffled", "baseline", "reference"
]

REFERENCES = "reference"
"""As a baseline: the answers that the dataset itself has."""

_SELF_MOA_TEMPERATURE = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One system of an evaluation.

    Attributes:
        name: Unique in the evaluation; what AlpacaEval's files call `generator`.
        role: What it is there for.
        mixture: What is asked. For a member: itself alone, for prompts on which the mixture did not wait for it. For
            selection, and for what is aggregated anew: the aggregator alone. None for outputs of a file.
        member: For a member, its name in the roster of layer 1.
        left_out: For a mixture without one of its proposers: the names of its samples in the roster of layer 1.
        outputs: For a file: its outputs by instruction.
        price: For a file: of its tokens.
        cached: For a member: it answers by the mixture's proposals. If not, it is asked alone, which costs as much
            again but shows when its first token comes: proposals are not streamed.
    """

    name: str
    role: Role
    mixture: Mixture | None = None
    member: str | None = None
    left_out: tuple[str, ...] = ()
    outputs: Mapping[str, Output] | None = None
    price: Price | None = None
    cached: bool = True

    @property
    def is_asked(self) -> bool:
        """Whether it is asked by itself, and not fed by the mixture's proposals or by a file."""
        if self.role == "member":
            return not self.cached
        return self.mixture is not None and not self.follows

    @property
    def follows(self) -> bool:
        """Whether its aggregator is asked about the proposals that the mixture has bought."""
        return self.role in ("selection", "without", "shuffled")

    def as_dict(self) -> dict[str, Any]:
        """What a manifest says of it: all that is needed to ask it again."""
        return {
            "name": self.name,
            "role": self.role,
            "member": self.member,
            "cached": self.cached,
            "mixture": None if self.mixture is None else self.mixture.as_dict(),
            "price": None if self.price is None else [float(self.price.input), float(self.price.output)],
            "outputs": None if self.outputs is None else _digest(self.outputs),
            # Not in every manifest: runs that were begun before there was such a system can be resumed.
            **({"left_out": list(self.left_out)} if self.left_out else {}),
        }


def _digest(outputs: Mapping[str, Output]) -> str:
    told = [(output.instruction, output.output) for output in outputs.values()]
    return hashlib.sha256(repr(told).encode("utf-8", "surrogatepass")).hexdigest()


def parts_of(
    mixture: Mixture, *, self_moa: str | None = None, selection: bool = False, cached: bool = True
) -> tuple[System, ...]:
    """Return the mixture, its aggregator alone, every member of layer 1 alone, and what is asked for besides.

    A member is an agent: of its samples the first one counts, so that nothing is picked after the fact.

    Args:
        mixture: What is evaluated.
        self_moa: Name of a member of layer 1, `aggregator`, or a model reference: a mixture of the same shape, with
            as many calls, in which this one alone proposes.
        selection: Best-of-n: the aggregator picks one of layer 1's proposals.
        cached: Whether members answer by the mixture's proposals, and are not asked again.

    Raises:
        UsageError: The mixture has no layers or no such member.
        MixtureError: The reference is none.
    """
    own = System(name=mixture.name, role="mixture", mixture=mixture)
    if not mixture.layers:
        if self_moa or selection:
            raise UsageError(f"{mixture.name} has no layers: there is nothing to select from or to sample")
        return (own,)
    alone = alone_of(mixture.aggregator, mixture)
    systems = [own, System(name=f"{mixture.name}.aggregator", role="aggregator", mixture=alone)]
    systems += [_member(member, mixture, cached) for member in roster(mixture.layers[0]) if member.sample == 0]
    if self_moa:
        agent = _proposer(self_moa, mixture)
        systems.append(System(name=f"{mixture.name}.self-moa", role="self_moa", mixture=self_moa_of(mixture, agent)))
    if selection:
        if mixture.aggregation == "selection" and len(mixture.layers) == 1:
            raise UsageError(f"{mixture.name} selects already: leave out --selection")
        systems.append(System(name=f"{mixture.name}.selection", role="selection", mixture=alone))
    return tuple(systems)


def alone_of(agent: Agent, mixture: Mixture) -> Mixture:
    """Return the mixture of just one of the agents, under the same limits."""
    one = agent.model_copy(update={"samples": 1})
    limits = {"deadline_s": mixture.deadline_s, "allow_unpriced": mixture.allow_unpriced}
    return Mixture(name=mixture.name, layers=(), aggregator=one).model_copy(update=limits)


def _member(member: Member, mixture: Mixture, cached: bool) -> System:
    return System(
        name=f"{mixture.name}.member.{member.name}",
        role="member",
        member=member.name,
        mixture=alone_of(member.agent, mixture),
        cached=cached,
    )


def _proposer(name: str, mixture: Mixture) -> Agent:
    if name == "aggregator":
        return mixture.aggregator
    members = roster(mixture.layers[0])
    for member in members:
        if name in (member.name, member.agent.model):
            return member.agent
    if "/" in name:
        return single(name).aggregator
    known = ", ".join(dict.fromkeys(member.name for member in members if member.sample == 0))
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
    role: Role = "baseline",
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
    is_file = not isinstance(source, Mixture) and str(source).lower().endswith(SUFFIXES)
    if not is_file and isinstance(source, str) and _is_reference(source):
        given = {"price": price, "max_tokens": max_tokens}
        return System(
            name=source, role=role, mixture=single(source, **{k: v for k, v in given.items() if v is not None})
        )
    if max_tokens is not None:
        raise UsageError("--baseline-max-tokens is for a model: a mixture sets its own, and a file has been written")
    if is_file:
        return _from_file(Path(str(source)).expanduser(), price, role)
    if price is not None:
        raise UsageError("--baseline-price is for a model or an outputs file: a mixture has its prices in its file")
    mixture = load(source)
    return System(name=mixture.name, role=role, mixture=mixture)


def _is_reference(source: str) -> bool:
    return "/" in source and not source.endswith((".yaml", ".yml")) and not _is_file(source)


def _is_file(source: str) -> bool:
    return source not in preset_names() and Path(source).expanduser().is_file()


def _from_file(path: Path, price: Price | None, role: Role) -> System:
    outputs = read_outputs(path)
    names = sorted({output.generator for output in outputs})
    if len(names) > 1:
        found = ", ".join(names[:3])
        raise EvaluationDataError(f"holds outputs of {len(names)} generators ({found} …): give one of them", path=path)
    by_instruction = {output.instruction: output for output in outputs}
    return System(name=names[0], role=role, outputs=by_instruction, price=price)


def check_names(systems: Sequence[System]) -> None:
    """Make sure that every system has a name of its own.

    Raises:
        UsageError: Two have the same.
    """
    names = [system.name for system in systems]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two systems are called {twice}: give the mixture another `name:`")
