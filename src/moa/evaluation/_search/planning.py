"""What a search can show and would cost, before anything is bought."""

from dataclasses import dataclass, replace

from scipy.special import ndtri

from moa._render.format import seconds
from moa.evaluation._runner.cost_estimate import plan
from moa.evaluation._search import race
from moa.evaluation._search.conclusion import prompts_sentence
from moa.evaluation._search.search import MOST_RACED, Search, candidates_of


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """What a search can show and would cost.

    Attributes:
        sentences: The first one says whether the prompts are enough.
        prompts_needed: Of the evidence, to show that a mixture as good as the baseline is within the margin.
        candidates: How many mixtures there are.
        alone_usd: US dollars of the models alone and the baseline; None if a price is unknown.
        most_usd: US dollars if every mixture that enters the race answers as many prompts as it can.
        alone_minutes: Of wall time, for the models alone and the baseline, if no call fails.
        most_minutes: The same as `most_usd` is of dollars.
    """

    sentences: tuple[str, ...]
    prompts_needed: int
    candidates: int
    alone_usd: float | None
    most_usd: float | None
    alone_minutes: float
    most_minutes: float


def plan_search(search: Search) -> SearchPlan:
    """Return what a search can show, and what it takes if nothing is there yet."""
    candidates, spec = candidates_of(search), search.spec
    raced = min(MOST_RACED, len(candidates))
    family = 2 if search.holdout else raced + len(search.singles)
    critical = float(-ndtri((1.0 - race.LEVEL) / family))
    evidence = len(search.holdout or search.race)
    alone = plan(spec)
    systems = (*spec.systems, *(one.system for one in candidates))
    everything = plan(replace(spec, systems=systems))
    alone_usd = None if alone.total.unpriced else float(alone.total.priced_usd)
    all_usd = None if everything.total.unpriced else float(everything.total.priced_usd)
    share = _most_share(len(search.race), len(candidates))
    most_usd = None if alone_usd is None or all_usd is None else alone_usd + share * (all_usd - alone_usd)
    most_minutes = alone.minutes + share * (everything.minutes - alone.minutes)
    needed = race.prompts_needed(spec.margin, critical)
    sentences = [
        prompts_sentence(evidence, spec.margin, critical),
        f"{len(search.singles)} models alone and the baseline: {_about(alone_usd, alone.minutes)}.",
        f"{len(candidates)} mixtures, of which {raced} at most enter the race: {_about(most_usd, most_minutes)} with "
        f"the models alone; each on every prompt would be {_about(all_usd, everything.minutes)}.",
        *everything.assumptions,
    ]
    return SearchPlan(
        sentences=tuple(sentences),
        prompts_needed=needed,
        candidates=len(candidates),
        alone_usd=alone_usd,
        most_usd=most_usd,
        alone_minutes=alone.minutes,
        most_minutes=most_minutes,
    )


def _about(usd: float | None, minutes: float) -> str:
    price = "of unknown price" if usd is None else f"about ${usd:.2f}"
    return f"{price}, about {seconds(60 * minutes)}"


def _most_share(prompts: int, candidates: int) -> float:
    """Which share of all answers a race makes at most: half of the mixtures go on after each look."""
    if not candidates:
        return 0.0
    sizes, left, share, before = race.look_sizes(prompts), min(MOST_RACED, candidates), 0.0, 0
    for size in sizes:
        share += left * (size - before)
        left, before = max(3, -(-left // 2)), size
    return min(1.0, share / (candidates * prompts))
