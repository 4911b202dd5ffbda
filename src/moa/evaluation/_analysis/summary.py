"""Everything that an evaluation found, as plain values: what `summary.json` holds and the report shows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from moa.evaluation._analysis.cost_latency import CostLatency, economics
from moa.evaluation._analysis.effects import VARIANTS, Effect, Side, effect
from moa.evaluation._analysis.judge_stats import JudgeStats, judge_record
from moa.evaluation._analysis.output_issues import OutputIssues, hygiene
from moa.evaluation._analysis.quality import Stopped, difference_quality, settled_quality, win_rate_quality
from moa.evaluation._analysis.recommendation import Ratio, Recommendation, conclude, prefer_single_model, ratio, times
from moa.evaluation._analysis.verbatim_overlap import Copied, copied, mean_copied
from moa.evaluation._data.annotations import Annotation, win_probabilities
from moa.evaluation._data.outputs import Output
from moa.evaluation._data.reference_data import BASELINE, AlpacaEvalData
from moa.evaluation._length_control.models import FoldSensitivity, fold_sensitivity
from moa.evaluation._length_control.standard_errors import SERIOUS_INFLATION, length_inflation
from moa.evaluation._metrics.leaderboard import Rank, rank
from moa.evaluation._metrics.metrics import FEW_COVER, FEW_PROMPTS, Metrics, metrics
from moa.evaluation._metrics.paired_difference import compare
from moa.evaluation._runner.records import Record
from moa.evaluation._statistics.estimates import LEVEL, Estimate
from moa.evaluation._statistics.non_inferiority import MARGIN, ByCategory, by_category
from moa.evaluation._statistics.sequential import SequentialResult

_NAMED = 3
"""How many systems a warning names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """One system with all that is known of it.

    Attributes:
        name: Its name.
        role: As in `systems.System`.
        records: By the prompt's index.
        outputs: By the prompt's index.
        is_filed: Whether its outputs, and times if any, come out of a file.
        rows: Its annotations as JSON values, if it was judged.
        annotations: The same, checked.
    """

    name: str
    role: str
    records: Mapping[int, Record]
    outputs: Mapping[int, Output]
    is_precomputed: bool = False
    rows: Sequence[Mapping[str, Any]] = ()
    annotations: Sequence[Annotation] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What an evaluation left behind.

    Attributes:
        systems: The mixture first.
        opponent: Name of the system that all others were judged against; None if nothing was judged.
        judge: The judge's name.
        comparable: Whether its verdicts may be compared with the published leaderboard.
        warnings: What has to be known to read the figures right.
        how: How it was measured, by topic: versions, seeds, prices.
        settlement: What the verdicts have settled, if judging was to stop as soon as it was; else None.
        planned: How many prompts there are in all.
    """

    systems: tuple[Evaluated, ...]
    opponent: str | None
    judge: str | None
    comparable: bool
    warnings: tuple[str, ...]
    how: Mapping[str, Any]
    settlement: SequentialResult | None = None
    planned: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemSummary:
    """The figures of one system; None where they are unknown or make no sense."""

    name: str
    role: str
    hygiene: OutputIssues
    economics: CostLatency | None
    avg_length: float
    metrics: Metrics | None = None
    folds: FoldSensitivity | None = None
    categories: ByCategory | None = None
    judged: JudgeStats | None = None
    copied: Mapping[str, Copied] | None = None
    rank: Rank | None = None

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {
            "name": self.name,
            "role": self.role,
            "avg_length": self.avg_length,
            "metrics": None if self.metrics is None else self.metrics.as_dict(),
            "fold_spread": None if self.folds is None else self.folds.spread,
            "leaderboard": None if self.rank is None else {"place": self.rank.place, "of": self.rank.of},
            "economics": None if self.economics is None else self.economics.as_dict(),
            "hygiene": self.hygiene.as_dict(),
            "copied": None
            if self.copied is None
            else {
                agent: {"share": found.share, "only_here": found.only_here, "longest_run": found.longest_run}
                for agent, found in self.copied.items()
            },
            "judge": None if self.judged is None else self.judged.as_dict(),
            "categories": None if self.categories is None else _category_dict(self.categories),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What an evaluation found.

    Attributes:
        systems: The mixture first.
        opponent: As in `Collected`; likewise judge, comparable, warnings, how.
        conclusion: What to do.
        best_member: How the mixture compares with the best of its members; None if there is none to compare with.
        effects: Of leaving out each proposer, and of another order of proposals, where that was asked for.
        stopped: What came of stopping as soon as it was settled; None where that was not asked for.
    """

    systems: tuple[SystemSummary, ...]
    opponent: str | None
    judge: str | None
    comparable: bool
    conclusion: Recommendation
    best_member: "BestMember | None"
    warnings: tuple[str, ...]
    how: Mapping[str, Any]
    effects: tuple[Effect, ...] = ()
    stopped: Stopped | None = None

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        best = self.best_member
        return {
            "verdict": self.conclusion.sentence,
            "advice": self.conclusion.advice,
            "rule": self.conclusion.rule,
            "settlement": None if self.stopped is None else self.stopped.as_dict(),
            "best_member": None if best is None else {"name": best.name, "of": best.of, "sentence": best.sentence},
            "effects": [one.as_dict() for one in self.effects],
            "opponent": self.opponent,
            "judge": self.judge,
            "comparable_with_leaderboard": self.comparable,
            "warnings": list(self.warnings),
            "systems": [system.as_dict() for system in self.systems],
            "how": dict(self.how),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BestMember:
    """The best of a mixture's models alone, the aggregator's too, against the mixture.

    Attributes:
        name: The one with the highest win rate.
        of: Among how many; the interval holds for all of them at once.
        difference: Mixture less model, in points; None on too little data.
        cost: What it costs in relation to the mixture.
        sentence: What it says.
    """

    name: str
    of: int
    difference: Estimate | None
    cost: Ratio
    sentence: str

    @property
    def is_better(self) -> bool:
        """Whether it was shown to be better than the mixture."""
        return self.difference is not None and self.difference.interval.high < 0


def summarize(
    evaluation: Collected,
    data: AlpacaEvalData | None = None,
    *,
    margin: float = MARGIN,
    seed: int = 0,
    board: Mapping[str, float] | None = None,
) -> Summary:
    """Return what an evaluation found.

    Args:
        evaluation: All of it.
        data: AlpacaEval's reference data, or None for other prompts.
        margin: Percentage points by which a system may be worse and still be comparable.
        seed: Of the bootstraps.
        board: Published length-controlled win rates, for a rank; used only where judge and baseline are the
            leaderboard's.

    Raises:
        EvaluationDataError: Annotations don't belong together.
    """
    rated = board if evaluation.comparable and evaluation.opponent == BASELINE else None
    first, *others = (_system_summary(system, data, seed, rated) for system in evaluation.systems)
    # A dozen fits: shown for the system that it is all about.
    fit = None if first.metrics is None else first.metrics.fit
    systems = (replace(first, folds=None if fit is None else fold_sensitivity(fit.design)), *others)
    stopped = _stopped(evaluation)
    conclusion = _conclusion(evaluation, systems, stopped, data, margin, seed)
    best = _best_member(evaluation, systems, data, seed)
    if best is not None and best.is_better:
        conclusion = prefer_single_model(conclusion, first.name, best.name, _points(first.name, best.difference))
    return Summary(
        systems=systems,
        opponent=evaluation.opponent,
        judge=evaluation.judge,
        comparable=evaluation.comparable,
        conclusion=conclusion,
        best_member=best,
        warnings=(*evaluation.warnings, *_warnings(evaluation, systems)),
        how=evaluation.how,
        effects=_effects(evaluation, data, seed),
        stopped=stopped,
    )


def _stopped(evaluation: Collected) -> Stopped | None:
    if evaluation.settlement is None:
        return None
    judged = len(evaluation.systems[0].annotations)
    return Stopped(settlement=evaluation.settlement, judged=judged, planned=evaluation.planned)


def _effects(evaluation: Collected, data: AlpacaEvalData | None, seed: int) -> tuple[Effect, ...]:
    mixture, *others = evaluation.systems
    found = [system for system in others if system.role in VARIANTS]
    roles = [system.role for system in found]
    return tuple(
        effect(_side(mixture), _side(one), one.role, of=roles.count(one.role), data=data, seed=seed) for one in found
    )


def _side(system: Evaluated) -> Side:
    return Side(name=system.name, records=system.records, annotations=system.annotations)


def _system_summary(
    system: Evaluated, data: AlpacaEvalData | None, seed: int, board: Mapping[str, float] | None
) -> SystemSummary:
    outputs = list(system.outputs.values())
    summary = SystemSummary(
        name=system.name,
        role=system.role,
        hygiene=hygiene(outputs),
        economics=economics(list(system.records.values())),
        avg_length=sum(len(output.output) for output in outputs) / len(outputs) if outputs else 0.0,
        copied=_copied(system),
    )
    if not system.annotations:
        return summary
    found = metrics(system.annotations, data, seed=seed)
    win_rate = found.length_controlled_win_rate
    return replace(
        summary,
        metrics=found,
        categories=_categories(system.annotations),
        judged=judge_record(system.rows),
        rank=None if board is None or win_rate is None else rank(win_rate, board),
    )


def _categories(annotations: Sequence[Annotation]) -> ByCategory | None:
    labels = [annotation.dataset or "" for annotation in annotations]
    if len(set(labels)) < 2:
        return None
    return by_category(100.0 * win_probabilities(annotations), labels)


def _copied(system: Evaluated) -> Mapping[str, Copied] | None:
    found = [
        copied(record.output, {one["agent"]: one["text"] for one in last["proposals"] if one["status"] == "used"})
        for record in system.records.values()
        if record.layers and record.has_output and (last := record.layers[-1])
    ]
    return mean_copied(found) if found else None


def _conclusion(
    evaluation: Collected,
    systems: Sequence[SystemSummary],
    stopped: Stopped | None,
    data: AlpacaEvalData | None,
    margin: float,
    seed: int,
) -> Recommendation:
    mixture = evaluation.systems[0]
    baseline = _baseline(evaluation)
    if baseline is None or not (mixture.annotations and (baseline.annotations or _is_opponent(baseline, evaluation))):
        sentence = f"Undecided: nothing has judged {mixture.name} yet."
        return Recommendation(advice="undecided", sentence=sentence, rule="")
    if stopped is not None:
        quality = settled_quality(stopped, margin)
    elif baseline.name == evaluation.opponent:
        quality = win_rate_quality(systems[0].metrics, mixture.annotations, margin)
    else:
        both = compare(mixture.annotations, baseline.annotations, data, margin=margin, seed=seed)
        quality = difference_quality(both, margin)
    if quality.n < evaluation.planned:
        quality = replace(quality, of=evaluation.planned)
    common = sorted(set(mixture.records) & set(baseline.records))
    mine, theirs = (economics([one.records[index] for index in common]) for one in (mixture, baseline))
    return conclude(
        mixture.name,
        baseline.name,
        quality,
        ratio((mixture.name, _usd(mine)), (baseline.name, _usd(theirs))),
        replace(
            ratio((mixture.name, _median(mine)), (baseline.name, _median(theirs))),
            is_precomputed=baseline.is_precomputed,
        ),
    )


def _baseline(evaluation: Collected) -> Evaluated | None:
    """The system that the mixture is to replace: one that was judged like the mixture, or else the opponent."""
    named = [system for system in evaluation.systems if system.role == "baseline"]
    return next(iter(named), next((s for s in evaluation.systems if s.name == evaluation.opponent), None))


def _is_opponent(system: Evaluated, evaluation: Collected) -> bool:
    return system.name == evaluation.opponent


def _best_member(
    evaluation: Collected, systems: Sequence[SystemSummary], data: AlpacaEvalData | None, seed: int
) -> BestMember | None:
    mixture = evaluation.systems[0]
    both = zip(systems, evaluation.systems, strict=True)
    models = [(one, all_of) for one, all_of in both if one.role in ("member", "aggregator")]
    rated = [(figure, one, all_of) for one, all_of in models if (figure := _figure(one)) is not None]
    if not rated or not mixture.annotations:
        return None
    _, summary, best = max(rated, key=lambda entry: entry[0])
    # The best of several looks better than it is: its interval holds for all of them at once (Bonferroni).
    level = 1.0 - (1.0 - LEVEL) / len(rated)
    compared = compare(mixture.annotations, best.annotations, data, seed=seed, level=level)
    difference = compared.lc_difference or compared.win_rate_difference
    cost = ratio((best.name, _usd(summary.economics)), (mixture.name, _usd(systems[0].economics)))
    return BestMember(
        name=best.name,
        of=len(rated),
        difference=difference,
        cost=cost,
        sentence=_member_sentence(mixture.name, best.name, len(rated), difference, cost),
    )


def _member_sentence(mixture: str, member: str, of: int, difference: Estimate | None, cost: Ratio) -> str:
    named = f"The best of its models alone, {member}" + (
        f" (of {of}, which the interval accounts for)" if of > 1 else ""
    )
    if difference is None:
        return f"{named}: too little data to compare it with {mixture}."
    figure, price = _points(mixture, difference), f" at {times(cost, 'cost')}" if cost.value is not None else ""
    if difference.interval.low > 0:
        return f"{named}, is worse{price}: {figure}. Mixing pays in quality."
    if difference.interval.high < 0:
        return f"{named}, is better{price}: {figure}. Use it in place of the mixture."
    return f"{named}, can't be told apart from it{price}: {figure}. Whether mixing pays is not shown."


def _points(mixture: str, difference: Estimate | None) -> str:
    if difference is None:
        return "unknown"
    low, high = difference.interval.low, difference.interval.high
    return f"{difference.value:+.1f} points for {mixture}, {low:+.1f} to {high:+.1f}"


def _figure(system: SystemSummary) -> float | None:
    found = system.metrics
    if found is None:
        return None
    return found.counts.win_rate if found.length_controlled_win_rate is None else found.length_controlled_win_rate


def _warnings(evaluation: Collected, systems: Sequence[SystemSummary]) -> list[str]:
    found = []
    if evaluation.judge is not None and not evaluation.comparable:
        found.append(f"The judge {evaluation.judge} is not the leaderboard's: figures are not comparable with it.")
    missing = [f"{s.judged.missing} of {s.judged.n} for {s.name}" for s in systems if s.judged and s.judged.missing]
    if missing:
        named, more = missing[:_NAMED], len(missing) - _NAMED
        others = f", and some for {more} more" if more > 0 else ""
        found.append(f"Verdicts are missing: {', '.join(named)}{others}; a missing verdict counts for neither side.")
    found += _incomplete(evaluation, systems) + _elsewhere(evaluation) + _extrapolated(systems)
    if evaluation.settlement is not None:
        found += _after_looking(evaluation.settlement, systems[0])
    for system in systems:
        if system.hygiene.judge_marks:
            found.append(
                f"{system.name}: {system.hygiene.judge_marks} outputs hold marks that change a judge's prompt."
            )
    return found


def _incomplete(evaluation: Collected, systems: Sequence[SystemSummary]) -> list[str]:
    """Say what there is too little of."""
    judged, planned = len(evaluation.systems[0].annotations), evaluation.planned
    found = []
    if evaluation.settlement is None and 0 < judged < planned:
        found.append(f"Only {judged:,} of {planned:,} prompts are judged so far: the same command goes on.")
    if 0 < judged < FEW_PROMPTS:
        found.append(f"{judged:,} prompts are few: {FEW_COVER}.")
    categories = systems[0].categories
    if categories is not None and not any(categories.estimates.values()):
        found.append("No category has enough prompts, or verdicts that differ, for a win rate of its own.")
    for system in evaluation.systems:
        failed = [record for record in system.records.values() if not record.has_output]
        if failed:
            codes = Counter(str((record.error or {}).get("code", record.status)) for record in failed)
            (why, _), *_ = codes.most_common(1)
            found.append(f"{system.name}: {len(failed):,} of {len(system.records):,} answers failed ({why}).")
    return found


def _elsewhere(evaluation: Collected) -> list[str]:
    """Say whose times were not measured here."""
    names = [
        one.name
        for one in evaluation.systems
        if one.is_precomputed and any(record.seconds is not None for record in one.records.values())
    ]
    if not names:
        return []
    return [
        f"The times of {', '.join(names)} come out of a file: they were measured elsewhere, under another load, and "
        "are a hint at most."
    ]


def _extrapolated(systems: Sequence[SystemSummary]) -> list[str]:
    """Say so where the length-controlled win rate is mostly an extrapolation."""
    fits = [(one.name, one.metrics.fit) for one in systems if one.metrics is not None and one.metrics.fit is not None]
    found = [
        f"{name} ({np.count_nonzero(fit.design.judged.shorter_by < 0):,} answers longer, "
        f"{np.count_nonzero(fit.design.judged.shorter_by > 0):,} shorter than what they are judged against)"
        for name, fit in fits
        if length_inflation(fit.design) >= SERIOUS_INFLATION
    ]
    if not found:
        return []
    return [
        f"Length and quality can hardly be told apart for {', '.join(found)}: the length-controlled win rate "
        f"extrapolates there, and means little."
    ]


def _after_looking(settlement: SequentialResult, mixture: SystemSummary) -> list[str]:
    found = [
        "Judging was to stop as soon as the answer was settled: the verdict's interval allows for that, the others "
        "here are for a number of prompts fixed beforehand, and too narrow."
    ]
    controlled = None if mixture.metrics is None else mixture.metrics.length_controlled_win_rate
    by_preference = settlement.measure == "win rate" and not settlement.is_difference
    if by_preference and controlled is not None and (settlement.estimate - 50.0) * (controlled - 50.0) < 0:
        found.append(
            f"The verdict rests on the win rate, {settlement.estimate:.1f} %; the length-controlled one, "
            f"{controlled:.1f} %, lies on the other side of 50 (--until decided-lc goes by that)."
        )
    return found


def _usd(found: CostLatency | None) -> float | None:
    return None if found is None else found.cost.usd


def _median(found: CostLatency | None) -> float | None:
    return None if found is None or found.total is None else found.total.p50


def _category_dict(categories: ByCategory) -> dict[str, Any]:
    return {
        name: None
        if estimate is None
        else {
            "win_rate": estimate.value,
            "interval": [estimate.interval.low, estimate.interval.high],
            "n": estimate.n,
            "p_value": categories.p_values.get(name),
        }
        for name, estimate in categories.estimates.items()
    }
