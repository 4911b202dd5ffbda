"""What a search has shown: the winner, the best single model beside it, and what is open."""

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import numpy as np

from moa._render.format import usd
from moa.evaluation._search import race
from moa.evaluation._search.search import Found, Raced, is_eligible

State = Literal["good enough", "not shown", "worse", "dominated", "not tried"]
"""`good enough`: shown to be within the margin. `worse`: shown not to be. `dominated`: shown to be worse than something
that costs no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One candidate in the end.

    Attributes:
        raced: What is known of it.
        shown: Its mean advantage over the baseline in points, with simultaneous bounds; None before any prompt.
        state: What is shown of it.
        fits: Whether it is as cheap and as quick as a winner has to be.
    """

    raced: Raced
    shown: race.AdvantageBounds | None
    state: State
    fits: bool

    @property
    def name(self) -> str:
        """The candidate's name."""
        return self.raced.candidate.name

    @property
    def is_single(self) -> bool:
        """Whether it is a model alone."""
        return self.raced.candidate.form == "single"

    @property
    def usd(self) -> float:
        """US dollars per prompt; infinite if unknown."""
        return math.inf if self.raced.usd is None else self.raced.usd

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; dollars are per 1,000 prompts."""
        raced, shown, bounds = self.raced, self.shown, self.raced.bounds
        return {
            "name": self.name,
            "form": raced.candidate.form,
            "members": list(raced.candidate.members),
            "aggregator": raced.candidate.aggregator,
            "state": self.state,
            "fits": self.fits,
            "prompts": raced.prompts,
            "points": None if shown is None else shown.value,
            "points_low": None if shown is None else shown.low,
            "points_high": None if shown is None else shown.high,
            "usd_per_1000": None if raced.usd is None else 1000 * raced.usd,
            "usd_per_1000_low": None if bounds is None else 1000 * bounds.low_usd,
            "usd_per_1000_high": None if bounds is None or bounds.high_usd is None else 1000 * bounds.high_usd,
            "p95_s": raced.p95_s,
            "left_out": raced.left_out,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """What a search comes to.

    Attributes:
        sentences: The first one says whether a mixture pays, or that the prompts are too few to tell.
        winner: The cheapest candidate that is shown to be good enough; None if none is.
        pays: Whether the winner is a mixture that is shown to be better than every model alone that costs no more.
        single: The best model alone at the winner's price, or at the most that a winner may cost.
        standings: All candidates, the single models first.
    """

    sentences: tuple[str, ...]
    winner: Standing | None
    pays: bool
    single: Standing | None
    standings: tuple[Standing, ...]


def conclude(found: Found) -> Conclusion:
    """Return what a search has shown.

    The cheapest of those that are shown to be within the margin of the baseline wins; at the same price, a model alone
    does. A mixture pays if it wins and every model alone that costs no more is shown to be worse than it: that takes
    no further correction, as each of these comparisons has to succeed (Berger 1982, intersection-union tests).
    """
    standings = tuple(_standing(one, found) for one in found.raced)
    good = [one for one in standings if one.state == "good enough" and one.fits]
    winner = min(good, key=lambda one: (float(f"{one.usd:.3g}"), not one.is_single, -_value(one)), default=None)
    limit_usd = winner.usd if winner else found.search.max_cost_ratio * found.baseline_usd
    singles = [one for one in standings if one.is_single and one.usd <= limit_usd * (1 + 1e-9)]
    pays = (
        winner is not None and not winner.is_single and all(_lead(winner, single, found).low > 0 for single in singles)
    )
    best = max(singles, key=_value, default=None)
    return Conclusion(
        sentences=_sentences(found, winner, best, standings, pays=pays),
        winner=winner,
        pays=pays,
        single=best,
        standings=standings,
    )


def _value(standing: Standing) -> float:
    return -math.inf if standing.shown is None else standing.shown.value


def _lead(one: Standing, other: Standing, found: Found) -> race.AdvantageBounds:
    return race.shown(one.raced.advantages - other.raced.advantages, found.lead_critical)


def _standing(one: Raced, found: Found) -> Standing:
    margin, search = found.search.spec.margin, found.search
    fits = is_eligible(one, search, found.baseline_usd)
    if not np.any(~np.isnan(one.advantages)):
        return Standing(raced=one, shown=None, state="not tried" if one.left_out else "not shown", fits=fits)
    shown = race.shown(one.advantages, found.critical)
    state: State = "not shown"
    is_whole = len(one.advantages) == len(search.holdout or search.race)
    if is_whole and shown.low > -margin:
        state = "good enough"
    elif is_whole and shown.high < -margin:
        state = "worse"
    else:
        cheaper = [
            other.advantages
            for other in found.raced
            if other is not one and other.usd is not None and one.usd is not None and other.usd <= one.usd
        ]
        level = 1.0 - (1.0 - race.LEVEL) / max(1, len(found.raced) * len(cheaper))
        if race.is_dominated(one.advantages, cheaper, level):
            state = "dominated"
    return Standing(raced=one, shown=shown, state=state, fits=fits)


def _sentences(
    found: Found, winner: Standing | None, single: Standing | None, standings: tuple[Standing, ...], *, pays: bool
) -> tuple[str, ...]:
    search, spec = found.search, found.search.spec
    sentences = []
    if found.ended == "budget":
        sentences.append("The budget was used up before the search ended: a larger --budget continues it.")
    if winner is None:
        singles = [one.raced.advantages for one in standings if one.is_single and len(one.raced.advantages) > 1]
        sd = min((race.standard_deviation(one) for one in singles), default=race.ASSUMED_SD)
        prompts = len(search.holdout or search.race)
        if prompts < race.prompts_needed(spec.margin, found.critical, sd):
            sentences.append(prompts_sentence(prompts, spec.margin, found.critical, sd))
    if winner is not None and winner.is_single:
        sentences.append(
            f"No mixture pays: {winner.name} alone is shown to be good enough ({_points(winner)} against "
            f"{search.baseline.name}) and costs {_share(winner, found)} of it."
        )
    elif winner is not None and pays:
        beaten = f", and better than every model alone that costs no more (best: {single.name})" if single else ""
        sentences.append(
            f"{winner.name} pays: it costs {_share(winner, found)} of {search.baseline.name}, and is shown to be good "
            f"enough ({_points(winner)}){beaten}."
        )
    elif winner is not None and single is not None:
        lead = _lead(winner, single, found)
        sentences.append(
            f"No mixture is shown to pay: {winner.name} is the cheapest that is shown to be good enough "
            f"({_points(winner)}, {_share(winner, found)} of the cost of {search.baseline.name}), but {single.name} "
            f"alone costs no more and may be as good ({lead.value:+.1f} points, at least {lead.low:+.1f})."
        )
    else:
        is_open = found.ended == "budget" or any(one.state == "not shown" and not one.is_single for one in standings)
        pays_not = "No mixture is shown to pay" if is_open else "No mixture pays"
        sentences.append(
            f"{pays_not}: none is shown to be within {spec.margin:g} points of {search.baseline.name} at this price."
        )
        if single is not None:
            sentences.append(f"The best model alone at this price is {single.name} ({_points(single)}).")
    open_ones = [one for one in standings if one.state == "not shown" and not one.is_single]
    tried = [one for one in standings if one.raced.prompts and not one.is_single]
    broke_off = f", at most {usd(Decimal(found.lost_usd))} for calls that broke off," if found.lost_usd else ""
    sentences.append(
        f"{len(tried)} mixtures were tried with {found.calls:,} answers, where each on every prompt takes "
        f"{found.brute_force:,}; {len(open_ones)} are not shown either way. The search has cost "
        f"{usd(Decimal(found.spent_usd - found.lost_usd))}{broke_off}{' and unknown prices' if found.unpriced else ''} "
        "so far."
    )
    return tuple(sentences)


def prompts_sentence(prompts: int, margin: float, critical: float, sd: float = race.ASSUMED_SD) -> str:
    """Return whether so many prompts can show a margin."""
    needed, lead = race.prompts_needed(margin, critical, sd), race.lead_needed(prompts, margin, critical, sd)
    if prompts >= needed:
        return f"{prompts:,} prompts are enough to show a margin of {margin:g} points (about {needed:,} are needed)."
    return (
        f"{prompts:,} prompts are too few to show that a mixture as good as the baseline is within {margin:g} points: "
        f"that takes about {needed:,}. With these, one has to be about {lead:.1f} points better to be found."
    )


def _points(one: Standing) -> str:
    assert one.shown is not None
    return f"{one.shown.value:+.1f} points, at least {one.shown.low:+.1f}"


def _share(one: Standing, found: Found) -> str:
    if not found.baseline_usd:
        return f"${1000 * one.usd:.2f} per 1,000 prompts instead of 100%"
    return f"{100 * one.usd / found.baseline_usd:.0f}%"
