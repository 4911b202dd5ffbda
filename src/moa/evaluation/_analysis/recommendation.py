"""The one sentence that a user acts on, and the rule behind it."""

import math
from dataclasses import dataclass, replace
from typing import Literal

from moa.evaluation._statistics.estimates import Estimate
from moa.evaluation._statistics.non_inferiority import NonInferiority
from moa.evaluation._statistics.non_inferiority import Verdict as Finding

Advice = Literal["use", "do not use", "undecided"]

_MANY_PROMPTS = 100_000  # nobody judges more: the figure itself would say nothing then


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How a system's cost or latency relates to the baseline's.

    Attributes:
        value: System divided by baseline, infinite if the baseline's is 0 and the system's is not; None if either is
            unknown.
        unknown: Whose figure is unknown, for the sentence; empty if none is.
        is_filed: Whether a figure comes out of a file: it was measured elsewhere.
    """

    value: float | None
    unknown: tuple[str, ...] = ()
    is_precomputed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What is known of a system's quality against the baseline's.

    Attributes:
        finding: By the non-inferiority rule; None on too few verdicts.
        measure: What the estimate is, e.g. `length-controlled win rate`.
        is_difference: Whether the estimate is a difference of two win rates, in points, and not a win rate.
        n: Verdicts.
        of: Prompts in all, where not all of them are judged; else None.
        sequence_for: What the interval is about, if it is a confidence sequence; else empty.
    """

    finding: NonInferiority | None
    measure: str
    is_difference: bool
    n: int
    of: int | None = None
    sequence_for: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What a user should do.

    Attributes:
        advice: In a word.
        sentence: In a sentence.
        rule: How it was decided.
    """

    advice: Advice
    sentence: str
    rule: str


def conclude(system: str, baseline: str, quality: Quality, cost: Ratio, latency: Ratio) -> Recommendation:
    """Return what a user should do about a system in place of a baseline.

    Args:
        system: Its name.
        baseline: The other's name.
        quality: What the judge found.
        cost: Of one prompt, each priced on its own tokens.
        latency: Of the median prompt.

    Returns:
        The advice: a system that is better is to be used; one that is comparable only if it is cheaper or faster, as
        far as that is known; one that is worse is not.
    """
    finding = quality.finding
    if finding is None:
        few = "1 verdict is" if quality.n == 1 else f"{quality.n} verdicts are"
        sentence = f"Undecided: {few} too few to say anything about {system} and {baseline}."
        return Recommendation(advice="undecided", sentence=sentence, rule="")
    price = f"at {times(cost, 'cost')} and {times(latency, 'latency')}"
    proof = f"({_proof(quality, finding.estimate)})"
    rule = _rule(finding, quality.sequence_for)
    margin = f"{finding.margin:g} points"
    match finding.verdict:
        case Finding.WIN:
            text = f"Use {system}: better than {baseline} {price} {proof}."
            return Recommendation(advice="use", sentence=text, rule=rule)
        case Finding.WITHIN if _has_no_point(cost, latency):
            text = f"Don't use {system}: quality within {margin} of {baseline}, but {price} {proof}."
            return Recommendation(advice="do not use", sentence=text, rule=rule)
        case Finding.WITHIN:
            condition = " if it is cheaper" if cost.value is None else ""
            text = f"Use {system}{condition}: quality within {margin} of {baseline} {price} {proof}."
            return Recommendation(advice="use", sentence=text, rule=rule)
        case Finding.LOSE:
            text = f"Don't use {system}: worse than {baseline}, {price} {proof}."
            return Recommendation(advice="do not use", sentence=text, rule=rule)
    text = (
        f"Undecided: {_about(finding.more_prompts)} more prompts would settle whether {system} is within {margin} of "
        f"{baseline}; it comes {price} {proof}."
    )
    return Recommendation(advice="undecided", sentence=text, rule=rule)


def prefer_single_model(conclusion: Recommendation, mixture: str, alone: str, figure: str) -> Recommendation:
    """Return the advice against a mixture one of whose models is better alone; whatever the baseline.

    Args:
        conclusion: What the comparison with the baseline says.
        mixture: Its name.
        alone: The better model's.
        figure: By how much, in words.
    """
    if conclusion.advice == "do not use":
        return conclusion
    sentence = f"Don't use {mixture}: {alone} alone is better ({figure}). But for that: {conclusion.sentence}"
    return replace(conclusion, advice="do not use", sentence=sentence)


def ratio(system: tuple[str, float | None], baseline: tuple[str, float | None]) -> Ratio:
    """Return the system's figure divided by the baseline's; who has none is named.

    Args:
        system: Name and figure.
        baseline: Name and figure.
    """
    unknown = tuple(name for name, figure in (system, baseline) if figure is None)
    if system[1] is None or baseline[1] is None:
        return Ratio(value=None, unknown=unknown)
    if baseline[1] > 0:
        return Ratio(value=system[1] / baseline[1])
    return Ratio(value=math.inf if system[1] > 0 else 1.0)


def _has_no_point(cost: Ratio, latency: Ratio) -> bool:
    """Whether a system that is as good is known to be neither cheaper nor, as far as is known, faster."""
    return cost.value is not None and cost.value >= 1 and (latency.value is None or latency.value >= 1)


def _about(prompts: int | None) -> str:
    """A forecast in words, no more precise than two digits."""
    if prompts is None or prompts > _MANY_PROMPTS:
        return f"only more than {_MANY_PROMPTS:,}"
    unit = 10 ** max(0, len(str(prompts)) - 2)
    return f"about {unit * math.ceil(prompts / unit):,}"


def times(of: Ratio, what: str) -> str:
    """Return a ratio in words, e.g. `12 % of its cost`.

    Args:
        of: System to another.
        what: `cost` or `latency`.
    """
    if of.value is None:
        whose = " and ".join(of.unknown)
        return f"an unknown share of its {what} (that of {whose} is not known)"
    if math.isinf(of.value):
        return f"more than its {what}, which is nothing,"
    whats = f"{what}, as a file tells it," if of.is_precomputed else what
    if of.value < 0.995:
        return f"{100 * of.value:.2g} % of its {whats}"
    if of.value < 1.005:
        return f"the same {whats}"
    return f"{of.value:.2g} times its {whats}" if of.value < 100 else f"{of.value:.0f} times its {whats}"


def _proof(quality: Quality, estimate: Estimate) -> str:
    low, high, level = estimate.interval.low, estimate.interval.high, 100 * estimate.interval.level
    holds = " valid at every look" if quality.sequence_for else ""
    if quality.is_difference:
        ends = f"{level:g} % interval{holds} {low:+.1f} to {high:+.1f}"
        figure = f"{quality.measure} {estimate.value:+.1f} points, {ends}"
    else:
        ends = f"{level:g} % interval{holds} {low:.1f} to {high:.1f}"
        figure = f"{quality.measure} {estimate.value:.1f} %, {ends}; equal is 50"
    return f"{figure}; {quality.n:,}{'' if quality.of is None else f' of {quality.of:,}'} prompts"


def _rule(finding: NonInferiority, sequence_for: str) -> str:
    interval = finding.estimate.interval
    sequence = (
        f" The interval is a confidence sequence for {sequence_for}: it holds however often one looks."
        if sequence_for
        else ""
    )
    return (
        f"Non-inferiority with a margin of {finding.margin:g} points: better if the {100 * interval.level:g} % "
        "interval lies above equality, comparable if it lies above equality less the margin, worse if it lies below "
        f"equality, undecided otherwise. What is comparable is worth using only if it is cheaper or faster.{sequence}"
    )
