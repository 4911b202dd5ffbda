"""Checks before the server starts: which mixtures can run, and whether budgets can be kept."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from moa._config.settings import Settings
from moa._mixture.loading import load, preset_names, single
from moa._mixture.roster import roster
from moa._mixture.schema import Mixture
from moa._runtime.health import Health, check_endpoints, obstacles
from moa.errors import UsageError


def usable_mixtures(names: Sequence[str], settings: Settings) -> tuple[tuple[Mixture, ...], Mapping[str, str]]:
    """Return the mixtures that can be served, and why others can't.

    Args:
        names: Presets and files; none: every preset.
        settings: The endpoints.

    Returns:
        The mixtures, and for each that was named but can't run its obstacles, by its name. Presets that were not named
        are left out in silence: few have credentials for all of them.

    Raises:
        MixtureError: One of them is no mixture.
        UsageError: Two have the same name, or none can be served.
    """
    mixtures = tuple(load(name) for name in names or preset_names())
    known = [mixture.name for mixture in mixtures]
    twice = sorted({name for name in known if known.count(name) > 1})
    if twice:
        raise UsageError(f"two mixtures are called {twice[0]}: clients could not address both")
    healths = _healths(settings)
    found = {mixture.name: obstacles(mixture, healths) for mixture in mixtures}
    usable = tuple(mixture for mixture in mixtures if not found[mixture.name])
    left_out = {name: _reasons(faults) for name, faults in found.items() if faults}
    if not usable:
        lines = "\n".join(f"  {name}: {why}" for name, why in left_out.items())
        raise UsageError(f"no mixture can be served:\n{lines}\n`moa doctor` shows the endpoints")
    return usable, left_out if names else {}


def _reasons(faults: Sequence[str]) -> str:
    """Obstacles as one sentence, each once for its endpoint: all models of an endpoint lack the same key."""
    parts = (fault.partition(": ") for fault in faults)
    return "; ".join(dict.fromkeys(f"{reference.partition('/')[0]}: {reason}" for reference, _, reason in parts))


def _healths(settings: Settings) -> Sequence[Health]:
    # In a thread: a worker process builds its application inside of its event loop.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, check_endpoints(settings, connect=None)).result()


def require_usable(references: Sequence[str], settings: Settings) -> None:
    """Make sure that models can be served alone.

    Raises:
        MixtureError: One is no reference to a model.
        UsageError: An endpoint isn't ready.
    """
    healths = _healths(settings) if references else ()
    faults = [fault for reference in references for fault in obstacles(single(reference), healths)]
    if faults:
        raise UsageError(f"--compare-with: {_reasons(faults)}")


def require_bounded(mixtures: Sequence[Mixture], *, budget: str) -> None:
    """Make sure that a budget can work with the mixtures: it is kept by refusing runs whose worst case is too much.

    The aggregator may do without `max_tokens`, as requests can set it.

    Args:
        mixtures: What is served.
        budget: Where the budget comes from, for the error.

    Raises:
        UsageError: A proposer has no `max_tokens`, so that every request would be refused.
    """
    for mixture in mixtures:
        members = [member for layer in mixture.layers for member in roster(layer)]
        unbounded = sorted({member.name for member in members if member.agent.max_tokens is None})
        if unbounded:
            raise UsageError(
                f"{budget} can't work with {mixture.name}: it needs to know what a run costs at most; set `max_tokens` "
                f"for {', '.join(unbounded)} in the mixture"
            )
