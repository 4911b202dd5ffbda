"""Planted verdicts: a judge, systems and lengths with a known truth, as arrays for the evaluation's statistics."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from moa.evaluation._metrics.verdicts import Verdicts
from moa.evaluation._statistics.array_types import Floats

Taste = Literal["none", "ratio", "bonus", "difference"]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A judge and two systems.

    Attributes:
        truth: Points by which the system is better at equal length, as the judge sees it where it can tell.
        prompts: How many.
        ties: Share of the pairs, 0-1, that are a tie to it.
        position: Share of the pairs, 0-1, on which it takes what is shown first.
        last: Share on which it takes what is shown last.
        coin: Share on which it tosses a coin in each order.
        shrugs: Share on which it says tie though one output is better.
        taste: In which form it likes length.
        slope: Logits for a doubled length; for `bonus` and `difference`, for a longer output and for a standard
            deviation.
        doublings: By how much the system's outputs are longer, as a power of two: mean.
        doublings_sd: And standard deviation over prompts.
        one_order: Whether each pair is judged in one random order, and both only on a random hundred.
    """

    truth: float = 0.0
    prompts: int = 805
    ties: float = 0.2
    position: float = 0.0
    last: float = 0.0
    coin: float = 0.0
    shrugs: float = 0.0
    taste: Taste = "none"
    slope: float = 1.0
    doublings: float = 0.0
    doublings_sd: float = 0.4
    one_order: bool = False


CHECKED_PAIRS = 100


def plant(world: World, rng: np.random.Generator, shared: Floats | None = None) -> Verdicts:
    """Return one draw of all verdicts on a system.

    Args:
        world: What is true.
        rng: Draws.
        shared: The opponent's lengths, where several systems are compared on the same prompts.
    """
    n = world.prompts
    opponent = np.exp(rng.normal(7.0, 0.7, n)) if shared is None else shared
    longer = rng.normal(world.doublings, world.doublings_sd, n)
    length = np.maximum(np.round(opponent * 2.0**longer), 1.0)
    even = world.truth / 100.0 / (1.0 - world.ties)
    logit = np.log((0.5 + even) / (0.5 - even)) + _taste(world, length, opponent)
    told = np.where(rng.random(n) < 1.0 / (1.0 + np.exp(-logit)), 1.0, 0.0)
    told[rng.random(n) < world.ties] = 0.5
    baseline_first, system_first = told.copy(), told.copy()
    kind = rng.random(n)
    shares = np.cumsum([world.position, world.last, world.coin, world.shrugs])
    by_position, by_last = kind < shares[0], (kind >= shares[0]) & (kind < shares[1])
    by_coin, shrugged = (kind >= shares[1]) & (kind < shares[2]), (kind >= shares[2]) & (kind < shares[3])
    baseline_first[by_position], system_first[by_position] = 0.0, 1.0
    baseline_first[by_last], system_first[by_last] = 1.0, 0.0
    for order in (baseline_first, system_first):
        order[by_coin] = rng.integers(2, size=int(by_coin.sum()))
        order[shrugged] = 0.5
    won = 0.5 * (baseline_first + system_first)
    if world.one_order:
        won = np.where(rng.random(n) < 0.5, baseline_first, system_first)
        untried = np.ones(n, dtype=bool)
        untried[rng.permutation(n)[:CHECKED_PAIRS]] = False
        baseline_first[untried] = system_first[untried] = np.nan
    return Verdicts(
        won=won,
        length=length,
        opponent_length=np.round(opponent),
        baseline_first=baseline_first,
        system_first=system_first,
        same=np.zeros(n, dtype=bool),
    )


def _taste(world: World, length: Floats, opponent: Floats) -> Floats:
    match world.taste:
        case "ratio":
            return world.slope * np.log2(length / opponent)
        case "bonus":
            return world.slope * np.sign(length - opponent)
        case "difference":
            return world.slope * np.tanh((length - opponent) / np.std(length - opponent))
    return np.zeros(len(length))
