"""The one sentence that a user acts on: the first line of a table that holds."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from moa._render.format import count, factor
from moa.evaluation._length_control.bounded_taste import STEEPEST
from moa.evaluation._metrics.evidence import Evidence
from moa.evaluation._metrics.single_model import SingleModel
from moa.evaluation._statistics.estimates import Estimate, Interval
from moa.evaluation._statistics.findings import MANY_PROMPTS, MIN_DATA, Assessment, Finding, withstands

Advice = Literal["use", "your call", "do not use", "undecided"]

MIN_CONSISTENCY = 0.25
"""Share of the pairs of different outputs, 0-1, on which a judge has to keep its side beyond chance for its verdicts to
be followed at all."""

MOST_MISSING = 0.2
"""Share of the verdicts, and of the baseline's answers, 0-1, that may be missing."""

NOTABLE = 0.01
"""Share of the prompts, 0-1, from which on it is said that a system has no answer to them."""

LEAST_CONTROLS_RIGHT = 0.75
"""Share of the control pairs, 0-1, that a judge has to get right in both orders; a coin gets a quarter."""

MIN_CONTROLS = 8
"""Fewest control pairs that say anything."""


_WIN_RATE = "win rate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How a system's cost or latency relates to another's.

    Attributes:
        value: System divided by the other, infinite if the other's is 0 and the system's is not; None if either is
            unknown.
        unknown: Whose figure is unknown, for the sentence; empty if none is.
        is_precomputed: Whether a figure comes out of a file: it was measured elsewhere.
    """

    value: float | None
    unknown: tuple[str, ...] = ()
    is_precomputed: bool = False

    @property
    def is_less(self) -> bool:
        """Whether the system is known to take less, by half a percent at least."""
        return self.value is not None and self.value < _AS_MUCH


_AS_MUCH = 0.995


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeChecks:
    """What is known of the judge besides its verdicts.

    Attributes:
        missing: Share of the verdicts that were asked for, 0-1, that are missing.
        all_equal: The score, in percent, that a measure gives every output of every system; None if they differ.
        controls: Pairs with a known loser that it was shown, in both orders.
        controls_right: Those on which it preferred the right output both times.
        contradicted: What people's labels say against its verdicts, as a clause; empty if they don't.
    """

    missing: float = 0.0
    all_equal: float | None = None
    controls: int = 0
    controls_right: int = 0
    contradicted: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A single model in the mixture's place.

    Attributes:
        name: What to call it.
        found: What is shown about it.
        cost: Of one prompt, in relation to the mixture's.
        cost_to_baseline: The same in relation to the baseline's.
    """

    name: str
    found: SingleModel
    cost: Ratio
    cost_to_baseline: Ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictBasis:
    """All that the first sentence may depend on.

    Attributes:
        mixture: Its name; `baseline` the other's.
        evidence: What the verdicts show; None if there are none.
        judge: What is known of the judge.
        cost: The mixture's in relation to the baseline's, each priced on its own tokens.
        latency: Likewise, of the median prompt.
        alternative: The best single model; None if there is none, or nothing is known of it.
        planned: Prompts in all.
        opponent: A third system, where mixture and baseline were both judged against one; else None.
        looked: Whether one looked before all prompts were judged.
        failures: On how many prompts a system has no answer, and of how many, by what it is called here.
        other_way: In which categories, and by which measures or judge, the mixture is shown to be on the other side of
            equality; in words.
        measure: What a figure without a length model is.
    """

    mixture: str
    baseline: str
    evidence: Evidence | None
    judge: JudgeChecks
    cost: Ratio
    latency: Ratio
    alternative: Alternative | None = None
    planned: int = 0
    opponent: str | None = None
    looked: bool = False
    failures: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    other_way: tuple[str, ...] = ()
    measure: str = _WIN_RATE

    @property
    def is_indirect(self) -> bool:
        """Whether figures are differences, in points, of two win rates against a third system."""
        return self.opponent is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What a user should do.

    Attributes:
        advice: In a word.
        sentence: In a sentence.
        proof: The figures behind it, in a sentence; empty if there are none.
        line: Which line of the table it is, by its title.
        system: What to use, if it says so: the mixture's or a single model's name; else None.
    """

    advice: Advice
    sentence: str
    proof: str = ""
    line: str = ""
    system: str | None = None


Line = Callable[[VerdictBasis, Evidence], Recommendation | None]


def recommend(case: VerdictBasis) -> Recommendation:
    """Return what a user should do about a mixture in place of a baseline: the first line of `LINES` that holds."""
    evidence = case.evidence
    if evidence is None:
        sentence = f"Undecided: there is no verdict on {case.mixture} and {case.baseline} yet."
        return Recommendation(advice="undecided", sentence=sentence)
    for line in LINES:
        found = line(case, evidence)
        if found is not None:
            caveats = () if found.advice == "undecided" else _caveats(case, evidence, found)
            return replace(found, sentence=" ".join((found.sentence, *caveats)))
    raise AssertionError("the last line always holds")


def why_undecidable(case: VerdictBasis) -> str | None:
    """Return the sentence that nothing can be said about two systems, whatever the figures are; None where it can."""
    evidence = case.evidence
    found = (None if evidence is None else line(case, evidence) for line in _VETOES)
    return next((one.sentence for one in found if one is not None), None)


def judge_cannot_tell(case: VerdictBasis, evidence: Evidence) -> Recommendation | None:
    """Line 1: the judge fails on controls, is contradicted by people, changes sides, or gives no or equal verdicts."""
    judge, consistency = case.judge, evidence.consistency
    if judge.all_equal is not None and judge.all_equal < 100.0:
        sentence = (
            f"Undecided: {case.measure} tells nothing apart: every answer of every system scores {judge.all_equal:g}%. "
            "Try it on answers that you know to be right."
        )
        return _found("undecided", sentence, case, evidence, judge_cannot_tell)
    if judge.controls >= MIN_CONTROLS and judge.controls_right < LEAST_CONTROLS_RIGHT * judge.controls:
        why = (
            f"of {judge.controls} control pairs, an answer and the same words in disorder, it got only "
            f"{judge.controls_right} right"
        )
    elif judge.contradicted:
        why = judge.contradicted
    elif consistency is not None and consistency.of_different < MIN_CONSISTENCY:
        flips = consistency.flips / max(1.0 - consistency.same, 1e-9)
        habit = f"it changed sides on {100 * flips:.0f}% of the pairs when the two answers changed places"
        why = habit if flips >= MIN_CONSISTENCY else "it calls nearly everything a tie"
    elif judge.missing > MOST_MISSING:
        why = f"{100 * judge.missing:.0f}% of its verdicts are missing or can't be read"
    else:
        return None
    sentence = (
        f"Undecided: the judge can't tell {case.mixture} from {case.baseline}: {why}. "
        "Take a stronger --judge-model and judge again with --rejudge."
    )
    return _found("undecided", sentence, case, evidence, judge_cannot_tell)


def baseline_missing(case: VerdictBasis, evidence: Evidence) -> Recommendation | None:
    """Line 2: the baseline has no answer on more than a fifth of the prompts."""
    failed, asked = case.failures.get(case.baseline, (0, 0))
    if failed <= MOST_MISSING * asked:
        return None
    sentence = (
        f"Undecided: {case.baseline} gave no answer on {failed:,} of {asked:,} prompts, and nothing can be compared "
        "with it there. The same command asks again."
    )
    return _found("undecided", sentence, case, evidence, baseline_missing)


def length_hides_quality(case: VerdictBasis, evidence: Evidence) -> Recommendation | None:
    """Line 3: a taste for length alone could have made the difference, and the verdicts can't say."""
    length = evidence.length
    if length.is_identified:
        return None
    sentence = (
        f"Undecided: length can't be told from quality. {case.mixture}'s answers are {length.ratio:.2g} times as long "
        f"as {evidence_against(case)}'s, and the win rate is {_figure(evidence.raw, case)}; a judge that gives up to "
        f"{_taste(2.0):.0f} points for a doubled length could have made {length.moves:.0f} points of that. "
        "Have both write answers of about the same length (by their prompts, or max_tokens) and compare again."
    )
    return _found("undecided", sentence, case, evidence, length_hides_quality)


def figures_disagree(case: VerdictBasis, evidence: Evidence) -> Recommendation | None:
    """Line 4: preferences as they are and preferences at equal length give opposite advice."""
    if not evidence.disagree:
        return None
    longer = "longer" if evidence.length.ratio > 1 else "shorter"
    raw, controlled = (_amount(found, case) for found in (evidence.raw, evidence.controlled))
    sentence = (
        f"Your call: as the answers are, {case.mixture} is {raw}; at equal length it is {controlled}. Its answers are "
        f"{longer} ({evidence.length.ratio:.2g} times), and what to do depends on what length is worth to you."
    )
    return _found("your call", sentence, case, evidence, figures_disagree)


def too_few_prompts(case: VerdictBasis, evidence: Evidence) -> Recommendation | None:
    """Line 5: there are less than 30 prompts' worth of data."""
    share = 1.0 if evidence.consistency is None else max(evidence.consistency.share, MIN_CONSISTENCY)
    missing = math.ceil(MIN_DATA / share) - evidence.n
    if missing <= 0:
        return None
    rows = np.count_nonzero(evidence.rows)
    repeated = "" if rows == evidence.n else f" (in {rows:,} rows)"
    few = f"{_prompts(evidence.n)}{repeated} {'is' if evidence.n == 1 else 'are'}"
    sentence = (
        f"Undecided: {few} too few to say anything about {case.mixture} and {case.baseline}; at least "
        f"{missing} more are needed."
    )
    return _found("undecided", sentence, case, evidence, too_few_prompts)


def use_single_model(case: VerdictBasis, evidence: Evidence) -> Recommendation | None:
    """Line 6: a single model is not worse than the mixture and the baseline by the margin, and cheaper than both."""
    other = case.alternative
    if other is None or not (replaces(other) and other.cost.is_less and is_fine(other.found.to_mixture)):
        return None
    if not (is_fine(evidence.controlled) or is_fine(other.found.strictly)):
        return None  # one in forty errors for the mixture, and as many again for the model, would be too many
    sentence = (
        f"Use {other.name}, not the mixture: it is {_amount(other.found.to_mixture, case, to=case.mixture)} at "
        f"{times(other.cost, 'cost')}, and {_amount(other.found.to_baseline, case)} at "
        f"{times(other.cost_to_baseline, 'cost')}."
    )
    gap = other.found.to_mixture.gap
    proof = (
        f"{other.name} less {case.mixture}: {gap.value:+.1f} points, {_ends(gap)}; less {case.baseline}: "
        f"{other.found.to_baseline.gap.value:+.1f} points, {_ends(other.found.to_baseline.gap)}. It is the best of "
        f"{other.found.of}, picked on other prompts than those that its figures come from"
    )
    found = _found("use", sentence, case, evidence, use_single_model)
    return replace(found, proof=f"{proof}; {found.proof}", system=other.found.name)


def use_mixture(case: VerdictBasis, evidence: Evidence) -> Recommendation | None:
    """Line 7: the mixture is better, or not worse by the margin, and cheaper."""
    if not (is_fine(evidence.controlled) and case.cost.is_less):
        return None
    other, name = case.alternative, case.mixture
    sentence = f"Use {name}: {_amount(evidence.controlled, case)} at {_price(case)}."
    if other is not None and other.cost.is_less and other.found.to_mixture.finding is Finding.UNDECIDED:
        costs = f"{other.name} costs {100 * (other.cost.value or 0.0):.2g}% of what it costs"
        if replaces(other):
            sentence = (
                f"Use {name} or {other.name}: the mixture is {_amount(evidence.controlled, case)} at {_price(case)}; "
                f"{costs}, and which of the two is better is not decided."
            )
        else:
            sentence = f"{sentence} Still open: {costs}, and may be as good{_forecast(other.found)}."
    return replace(_found("use", sentence, case, evidence, use_mixture), system=name)


def your_call(case: VerdictBasis, evidence: Evidence) -> Recommendation | None:
    """Line 8: worse by less than the margin; or as good or better, but not known to be cheaper."""
    found = evidence.controlled
    if not (is_fine(found) or found.finding is Finding.SLIGHTLY_WORSE):
        return None
    if case.cost.value is None:
        price = f"; what it costs compared to that is not known (no figure for {' and '.join(case.cost.unknown)})"
        price += "" if case.latency.value is None else f", it comes at {times(case.latency, 'latency')}"
    else:
        price = f" at {_price(case)}"
    sentence = f"Your call: {found.gap.interval:+.1f} points{price}. {case.mixture} is {_amount(found, case)}."
    return _found("your call", sentence, case, evidence, your_call)


def do_not_use(case: VerdictBasis, evidence: Evidence) -> Recommendation | None:
    """Line 9: the mixture is worse by more than the margin."""
    if evidence.controlled.finding is not Finding.WORSE:
        return None
    sentence = f"Don't use {case.mixture}: {_amount(evidence.controlled, case)}, at {_price(case)}."
    return _found("do not use", sentence, case, evidence, do_not_use)


def undecided(case: VerdictBasis, evidence: Evidence) -> Recommendation:
    """Line 10: nothing is shown."""
    found = evidence.controlled
    if evidence.consistency is None:
        why = (
            "nothing shows whether the judge keeps its side when two answers change places, so that they can't be "
            "called equally good; judge again with --rejudge, which tries both orders"
        )
    elif found.more_prompts is None:
        why = f"it takes more than {MANY_PROMPTS:,} prompts to decide"
    else:
        why = f"it takes at least {_about(found.more_prompts)} more prompts to decide"
    sentence = f"Undecided: keep {case.baseline} for now; {why}. {case.mixture} comes at {_price(case)}."
    return _found("undecided", sentence, case, evidence, undecided)


_VETOES: tuple[Line, ...] = (
    judge_cannot_tell,
    baseline_missing,
    length_hides_quality,
    figures_disagree,
    too_few_prompts,
)

LINES: tuple[Line, ...] = (
    *_VETOES,
    use_single_model,
    use_mixture,
    your_call,
    do_not_use,
    undecided,
)
"""The table of the verdict: the first line that holds is the first sentence."""


def _taste(ratio: float) -> float:
    """Points that a judge gives at most for answers that are so many times as long."""
    return 100.0 / (1.0 + math.exp(-STEEPEST * abs(math.log2(ratio)))) - 50.0


def _caveats(case: VerdictBasis, evidence: Evidence, found: Recommendation) -> Iterator[str]:
    """What a reader of the first sentence has to know besides: on what it rests that the data don't show."""
    single = case.alternative if case.alternative and found.system == case.alternative.found.name else None
    for name, (failed, asked) in case.failures.items():
        if name in found.sentence and failed > NOTABLE * asked:
            yield f"{name} gave no answer on {failed:,} of {asked:,} prompts."
    basis = evidence.controlled if single is None else single.found.to_baseline
    if evidence.left_out and not withstands(basis, evidence.left_out, evidence.most):
        what = "verdict" if case.measure == _WIN_RATE else "score"
        missing = f"{np.count_nonzero(~evidence.rows):,} of {len(evidence.rows):,} prompts have no {what}"
        yield f"{missing}: they are taken to be like the others."
    if evidence.length.is_bounded and _taste(evidence.length.ratio) > basis.margin:
        yield (
            f"This holds for a judge that gives up to {_taste(2.0):.0f} points for a doubled length, and no more: "
            f"{case.mixture}'s answers are {evidence.length.ratio:.2g} times as long."
        )
    if case.judge.all_equal is not None:
        yield f"Every answer scores {case.judge.all_equal:g}%: harder prompts may tell them apart."
    if case.other_way:
        yield f"It is the other way round {' and '.join(case.other_way)}."


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


def times(of: Ratio, what: str) -> str:
    """Return a ratio in words, e.g. `12% of its cost`.

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
    if of.value < _AS_MUCH:
        return f"{100 * of.value:.2g}% of its {whats}"
    if of.value < 2.0 - _AS_MUCH:
        return f"the same {whats}"
    return f"{factor(of.value)} times its {whats}"


def is_fine(found: Assessment) -> bool:
    """Return whether a system is shown to be better, or not worse by the margin."""
    return found.finding in (Finding.BETTER, Finding.GOOD_ENOUGH)


def replaces(other: Alternative) -> bool:
    """Return whether a single model is shown to do in the baseline's place, and is known to be cheaper."""
    return is_fine(other.found.to_baseline) and other.cost_to_baseline.is_less


def evidence_against(case: VerdictBasis) -> str:
    """Return whose answers the mixture's were compared with."""
    return case.opponent or case.baseline


MEASURES = {
    "equal_length": "win rate at equal length",
    "length_controlled_v1": "length-controlled (LC) win rate",
    "length_controlled_noreg": "length-controlled (LC) win rate",
    "length_controlled_minimal": "length-controlled (LC) win rate",
}
"""What the figure of each length model is called."""


MODEL_NAMES = {
    "equal_length": "ours: logistic, in the difference and the ratio of lengths and in which answer is longer",
    "length_controlled_v1": "AlpacaEval's: logistic, in length and difficulty, regularised",
    "length_controlled_noreg": "AlpacaEval's without its regulariser",
    "length_controlled_minimal": "AlpacaEval's in length alone",
}
"""How a report calls each length model."""


def table(found: Recommendation) -> list[tuple[str, bool]]:
    """Return every line of the table in words, and whether it is the one that holds."""
    texts = [" ".join(str(line.__doc__).split()) for line in LINES]
    return [(text, found.line == title_of(line)) for text, line in zip(texts, LINES, strict=True)]


def title_of(line: Callable[..., object]) -> str:
    """Return a line's title."""
    return line.__name__.replace("_", " ")


def _found(
    advice: Advice, sentence: str, case: VerdictBasis, evidence: Evidence, line: Callable[..., object]
) -> Recommendation:
    figures = [(case.measure, evidence.raw)]
    if evidence.model is not None:
        figures.insert(0, (MEASURES[evidence.model], evidence.controlled))
    lines = "; ".join(f"{measure} {_figure(found, case)}" for measure, found in figures)
    equal = "equal is 0" if case.is_indirect else "equal is 50%"
    of = f" of {case.planned:,}" if np.count_nonzero(evidence.rows) < case.planned else ""
    looks = "; every interval is valid at every look" if case.looked else ""
    prompts = f"{evidence.n:,}{of} prompts" if of else _prompts(evidence.n)
    proof = f"{lines}; {equal}; {prompts}{looks}"
    return Recommendation(advice=advice, sentence=sentence, proof=proof, line=title_of(line))


def _figure(found: Assessment, case: VerdictBasis) -> str:
    if case.is_indirect:
        return f"{found.gap.value:+.1f} points against {case.baseline}'s, {_ends(found.gap)}"
    gap = found.gap.interval
    rate = Interval(low=max(0.0, 50.0 + gap.low), high=min(100.0, 50.0 + gap.high), level=gap.level)
    return f"{50 + found.gap.value:.1f}%, {100 * rate.level:g}% interval {rate:.1f}"


def _ends(gap: Estimate) -> str:
    return f"{100 * gap.interval.level:g}% interval {gap.interval:+.1f}"


def _amount(found: Assessment, case: VerdictBasis, *, to: str | None = None) -> str:
    other, margin = to or case.baseline, f"{found.margin:g} points"
    return {
        Finding.BETTER: f"better than {other}",
        Finding.GOOD_ENOUGH: f"as good as {other} to within {margin}",
        Finding.SLIGHTLY_WORSE: f"worse than {other}, by less than {margin}",
        Finding.WORSE: f"worse than {other} by more than {margin}",
        Finding.UNDECIDED: f"not shown to be better or worse than {other}",
    }[found.finding]


def _price(case: VerdictBasis) -> str:
    cost = times(case.cost, "cost")
    return cost if case.latency.value is None else f"{cost} and {times(case.latency, 'latency')}"


def _forecast(found: SingleModel) -> str:
    more = found.to_mixture.more_prompts
    return "" if more is None else f" (at least {_about(more)} more prompts would show it)"


def _prompts(number: int) -> str:
    return count(number, "prompt")


def _about(prompts: int) -> str:
    """A forecast in words, no more precise than two digits."""
    unit = 10 ** max(0, len(str(prompts)) - 2)
    return f"{unit * math.ceil(prompts / unit):,}"
