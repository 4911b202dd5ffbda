"""The mixture's aggregator over the same proposals, but for one proposer's, or in another order."""

from moa._mixture.roster import Member, roster
from moa._mixture.schema import Mixture
from moa.errors import UsageError
from moa.evaluation._runner.systems import System, alone_of


def variants_of(mixture: Mixture, *, leave_one_out: bool = False, shuffled: bool = False) -> tuple[System, ...]:
    """Return the systems that show what each proposer adds, and what the order of proposals does.

    Args:
        mixture: What is evaluated.
        leave_one_out: One system for each proposer of layer 1, which leaves out all of its samples.
        shuffled: One system that is shown the proposals in another order.

    Raises:
        UsageError: The mixture has not just one layer, or too few proposals.
    """
    wished = [name for name, is_wished in (("--leave-one-out", leave_one_out), ("--shuffled", shuffled)) if is_wished]
    if not wished:
        return ()
    if len(mixture.layers) != 1:
        raise UsageError(
            f"{' and '.join(wished)} need a mixture of one layer, whose proposals are those that the aggregator is "
            f"shown: {mixture.name} has {len(mixture.layers) or 'none'}"
        )
    members, alone = roster(mixture.layers[0]), alone_of(mixture.aggregator, mixture)
    systems = _without_each(mixture, members, alone) if leave_one_out else []
    if shuffled:
        if len(members) == 1:
            raise UsageError(f"--shuffled: {mixture.name} has one proposal, which has no other order")
        systems.append(System(name=f"{mixture.name}.shuffled", role="shuffled", mixture=alone))
    return tuple(systems)


def _without_each(mixture: Mixture, members: tuple[Member, ...], alone: Mixture) -> list[System]:
    samples: list[list[str]] = []
    for member in members:
        if member.sample == 0:
            samples.append([])
        samples[-1].append(member.name)
    if len(samples) == 1:
        raise UsageError(f"--leave-one-out: {mixture.name} has one proposer, without which nothing is left")
    return [
        System(name=f"{mixture.name}.without.{names[0]}", role="without", left_out=tuple(names), mixture=alone)
        for names in samples
    ]
