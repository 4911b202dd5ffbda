"""What a system costs and how long it takes beside the baseline, in one sentence."""

from collections.abc import Iterable

from moa._render.format import factor, seconds, usd
from moa.evaluation._analysis.collected import Collected, Evaluated
from moa.evaluation._analysis.cost_latency import Cost, CostLatency, economics

_AS_MUCH = 0.995


def cost_sentence(evaluation: Collected) -> str:
    """Return what the first system costs and how long it takes, and how that relates to the baseline, if there is one.

    Both are taken on the prompts that both have answered. What is unknown is called so, and what could only be
    estimated, as a file gives texts without token counts, is called an estimate; neither is taken for a measurement.
    """
    first = evaluation.candidate
    baseline = next((one for one in evaluation.systems if one.name == evaluation.baseline), None)
    if baseline is None or baseline is first:
        return f"{first.name}: {_figures(economics(first.answers))}."
    common = first.answers.is_there & baseline.answers.is_there
    if not common.any():
        return f"{first.name} and {baseline.name} have answered no prompt in common: nothing can be compared."
    mine, theirs = (economics(one.answers.at(common)) for one in (first, baseline))
    parts = [f"{one.name}: {_figures(found)}" for one, found in ((first, mine), (baseline, theirs))]
    relations = [*_relation("cost", _usd(mine), _usd(theirs)), *_relation("time", _median(mine), _median(theirs))]
    relation = f"{first.name} takes {' and '.join(relations)}" if relations else "Neither cost nor time can be compared"
    return f"{'; '.join(parts)}. {relation}{_elsewhere(first, baseline)}."


def caching_sentence(systems: Iterable[tuple[str, CostLatency | None]]) -> str:
    """Return what the services' prompt caches did for each system, in one sentence; empty if they did nothing.

    Args:
        systems: Each system's name, and what it costs.
    """
    parts = [f"{name}: {text}" for name, found in systems if found is not None and (text := _caching(found.cost))]
    return f"Read from the services' prompt caches: {'; '.join(parts)}." if parts else ""


def _caching(cost: Cost) -> str:
    if not cost.cached_input_tokens or not cost.input_tokens:
        return ""
    share = f"cached {cost.cached_input_tokens / cost.input_tokens:.0%} of input"
    if not cost.saved_usd:
        return share
    word = "saved" if cost.saved_usd > 0 else "lost"
    return f"{share}, {word} {usd(abs(cost.saved_usd))} per 1,000 prompts"


def _figures(found: CostLatency | None) -> str:
    if found is None:
        return "no answer"
    cost = found.cost
    if cost.usd is not None:
        price = f"{usd(cost.usd)} per 1,000 prompts"
    elif cost.about_usd is not None:
        price = f"about {usd(cost.about_usd)} per 1,000 prompts by estimate"
    else:
        price = "cost unknown"
    if found.total is None:
        return f"{price}, time unknown"
    return f"{price}, {seconds(found.total.p50)} at the median and {seconds(found.total.p95)} at the 95th percentile"


def _relation(what: str, mine: tuple[float | None, bool], theirs: tuple[float | None, bool]) -> list[str]:
    if mine[0] is None or not theirs[0]:
        return []
    ratio, about = mine[0] / theirs[0], "about " if mine[1] or theirs[1] else ""
    if _AS_MUCH <= ratio < 2 - _AS_MUCH:
        return [f"{about}the same {what}"]
    return [f"{about}{100 * ratio:.2g}% of the {what}" if ratio < 1 else f"{about}{factor(ratio)} times the {what}"]


def _usd(found: CostLatency | None) -> tuple[float | None, bool]:
    """Cost, and whether it is an estimate."""
    if found is None or found.cost.usd is not None:
        return (None if found is None else found.cost.usd), False
    return found.cost.about_usd, True


def _median(found: CostLatency | None) -> tuple[float | None, bool]:
    return (None if found is None or found.total is None else found.total.p50), False


def _elsewhere(*systems: Evaluated) -> str:
    """Whose times were measured under another load."""
    names = [one.name for one in systems if one.was_timed_elsewhere]
    return f" (the times of {' and '.join(names)} come out of a file, measured elsewhere)" if names else ""
