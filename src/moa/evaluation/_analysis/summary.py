"""Everything that an evaluation found, as plain values: what `summary.json` holds and the report shows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from moa._mixture.schema import Mixture
from moa.evaluation._analysis.calibration import (
    Calibration,
    OnOfficialScale,
    on_official_scale,
    why_unreadable,
)
from moa.evaluation._analysis.collected import Collected, Evaluated
from moa.evaluation._analysis.cost_latency import CostLatency, economics
from moa.evaluation._analysis.effects import Effect, effect
from moa.evaluation._analysis.human import HumanCheck
from moa.evaluation._analysis.judge_stats import JudgeStats, judge_record
from moa.evaluation._analysis.measured import Measured
from moa.evaluation._analysis.output_issues import OutputIssues, output_issues
from moa.evaluation._analysis.recommendation import (
    MEASURES,
    Alternative,
    JudgeChecks,
    Recommendation,
    VerdictBasis,
    ratio,
    recommend,
    times,
)
from moa.evaluation._analysis.stopped import Stopped
from moa.evaluation._analysis.verbatim_overlap import Copied, copied, mean_copied
from moa.evaluation._data.annotations import Annotation, win_probabilities
from moa.evaluation._data.reference_data import BASELINE, AlpacaEvalData
from moa.evaluation._length_control.models import FoldSensitivity, fold_sensitivity
from moa.evaluation._length_control.standard_errors import SERIOUS_INFLATION, length_inflation
from moa.evaluation._metrics.evidence import Evidence, scores_as_verdicts
from moa.evaluation._metrics.leaderboard import Rank, rank
from moa.evaluation._metrics.metrics import Metrics, choose_model, comparable_verdicts, metrics
from moa.evaluation._metrics.paired_difference import common_to_all
from moa.evaluation._metrics.single_model import SingleModel, weigh_all
from moa.evaluation._runner.records import AnswerTrace, Record
from moa.evaluation._statistics.findings import Assessment, Finding
from moa.evaluation._statistics.sample_means import MARGIN, ByCategory, by_category

_NAMED = 3
"""How many systems a warning names."""

FEW_PROMPTS = 200
"""Prompts below which a warning says how wide intervals are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemSummary:
    """The figures of one system; None where they are unknown or make no sense."""

    name: str
    role: str
    output_issues: OutputIssues
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
            "hygiene": self.output_issues.as_dict(),
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
        baseline: Name of the system that the mixture is to replace; None if nothing was judged.
        conclusion: What to do.
        evidence: What the verdicts show; None without any.
        best_member: How the mixture compares with the best of its models alone; None if there is none to compare with.
        effects: Of leaving out each proposer, and of another order of proposals, where that was asked for.
        stopped: What came of stopping as soon as it was settled; None where that was not asked for.
        readings: What figures read as on the official judge's scale, where the judge was calibrated.
    """

    systems: tuple[SystemSummary, ...]
    opponent: str | None
    judge: str | None
    comparable: bool
    baseline: str | None
    conclusion: Recommendation
    evidence: Evidence | None
    best_member: "BestMember | None"
    warnings: tuple[str, ...]
    how: Mapping[str, Any]
    effects: tuple[Effect, ...] = ()
    stopped: Stopped | None = None
    human: tuple[HumanCheck, ...] = ()
    measured: tuple[Measured, ...] = ()
    readings: tuple[OnOfficialScale, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        best = self.best_member
        return {
            "verdict": self.conclusion.sentence,
            "advice": self.conclusion.advice,
            "use": self.conclusion.system,
            "line": self.conclusion.line,
            "proof": self.conclusion.proof,
            "evidence": None if self.evidence is None else _evidence_dict(self.evidence),
            "settlement": None if self.stopped is None else self.stopped.as_dict(),
            "best_member": None if best is None else {"name": best.name, "of": best.of, "sentence": best.sentence},
            "effects": [one.as_dict() for one in self.effects],
            "human_labels": [one.as_dict() for one in self.human],
            "measures": [one.as_dict() for one in self.measured],
            "opponent": self.opponent,
            "judge": self.judge,
            "comparable_with_leaderboard": self.comparable,
            "on_official_scale": [asdict(one) for one in self.readings],
            "warnings": list(self.warnings),
            "systems": [system.as_dict() for system in self.systems],
            "how": dict(self.how),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BestMember:
    """The best of a mixture's models alone, the aggregator's too, against the mixture.

    Attributes:
        name: The system's name.
        of: Among how many.
        found: What is shown about it.
        sentence: What it says.
    """

    name: str
    of: int
    found: SingleModel
    sentence: str


def summarize(
    evaluation: Collected,
    data: AlpacaEvalData | None = None,
    *,
    margin: float = MARGIN,
    seed: int = 0,
    board: Mapping[str, float] | None = None,
    calibration: Calibration | None = None,
) -> Summary:
    """Return what an evaluation found.

    Args:
        evaluation: All of it.
        data: AlpacaEval's reference data, or None for other prompts.
        margin: Percentage points by which a system may be worse and still be comparable.
        seed: Of the bootstraps.
        board: Published length-controlled win rates, for a rank; used only where judge and baseline are the
            leaderboard's.
        calibration: How the judge's figures read on another's scale, if that was measured.

    Raises:
        EvaluationDataError: Annotations don't belong together.
    """
    rated = board if evaluation.comparable and evaluation.opponent == BASELINE else None
    first, *others = (_system_summary(system, data, rated) for system in evaluation.systems)
    mixture = evaluation.candidate
    # What takes long is shown for the system that it is all about.
    first = replace(first, copied=_copied(mixture.records, mixture.traces()))
    fit = None if first.metrics is None else first.metrics.fit
    systems = (replace(first, folds=None if fit is None else fold_sensitivity(fit.design)), *others)
    stopped = _stopped(evaluation)
    weighed = _weighed(evaluation, data, margin, None if stopped is None else evaluation.planned)
    case = _case(evaluation, systems, *weighed)
    return Summary(
        systems=systems,
        opponent=evaluation.opponent,
        judge=evaluation.judge,
        comparable=evaluation.comparable,
        baseline=None if case is None else case.baseline,
        conclusion=_nothing_judged(first.name) if case is None else recommend(case),
        evidence=weighed[0],
        best_member=None if case is None or case.alternative is None else _best_member(case, case.alternative),
        warnings=(
            *evaluation.warnings,
            *_warnings(evaluation, systems, weighed[0]),
            *_uncalibrated(evaluation, calibration),
        ),
        how=evaluation.how,
        effects=_effects(evaluation, data, seed),
        stopped=stopped,
        human=evaluation.human,
        measured=evaluation.measured,
        readings=_readings(evaluation, systems, calibration),
    )


def _readings(
    evaluation: Collected, systems: Sequence[SystemSummary], calibration: Calibration | None
) -> tuple[OnOfficialScale, ...]:
    if calibration is None or evaluation.judge is None:
        return ()
    return tuple(
        reading
        for one, figures in zip(evaluation.systems, systems, strict=True)
        if figures.metrics is not None and one.name != evaluation.opponent
        for reading in on_official_scale(calibration, one.name, evaluation.judge, one.annotations, figures.metrics)
    )


def _uncalibrated(evaluation: Collected, calibration: Calibration | None) -> list[str]:
    """Say why a calibration says nothing here."""
    if calibration is None:
        return []
    judged = [row for one in evaluation.systems if one.name != evaluation.opponent for row in one.annotations]
    why = why_unreadable(calibration, evaluation.judge, judged)
    if why is None:
        return []
    return [f"The calibration can't be used here: {why}."]


def _stopped(evaluation: Collected) -> Stopped | None:
    if evaluation.settlement is None:
        return None
    scored = next((one.n for one in evaluation.measured if one.measure == evaluation.rests_on), None)
    judged = len(evaluation.candidate.annotations) if scored is None else scored
    return Stopped(settlement=evaluation.settlement, judged=judged, planned=evaluation.planned)


def _effects(evaluation: Collected, data: AlpacaEvalData | None, seed: int) -> tuple[Effect, ...]:
    """Of other proposals alone: what answers from some of the candidate's, or from all in another order."""
    mixture = evaluation.candidate
    if mixture.mixture is None:
        return ()
    found = [
        (one, _proposals(one.mixture) < _proposals(mixture.mixture))
        for one in evaluation.systems
        if one.parent == mixture.name and one.mixture and one.mixture.aggregation == mixture.mixture.aggregation
    ]
    kinds = [leaves_out for _, leaves_out in found]
    return tuple(
        effect(mixture, one, leaves_out=kind, of=kinds.count(kind), data=data, seed=seed) for one, kind in found
    )


def _proposals(mixture: Mixture) -> int:
    return sum(layer.size for layer in mixture.layers)


def _system_summary(system: Evaluated, data: AlpacaEvalData | None, board: Mapping[str, float] | None) -> SystemSummary:
    outputs, traces = list(system.outputs.values()), system.traces()
    summary = SystemSummary(
        name=system.name,
        role=system.role,
        output_issues=output_issues(outputs),
        economics=economics(list(system.records.values()), traces),
        avg_length=sum(len(output.output) for output in outputs) / len(outputs) if outputs else 0.0,
    )
    if not system.annotations:
        return summary
    found = metrics(system.annotations, data)
    win_rate = found.length_controlled_win_rate
    return replace(
        summary,
        metrics=found,
        categories=_categories(system.annotations),
        judged=judge_record(system.annotations),
        rank=None if board is None or win_rate is None else rank(win_rate, board),
    )


def _categories(annotations: Sequence[Annotation]) -> ByCategory | None:
    labels = [annotation.dataset or "" for annotation in annotations]
    if len(set(labels)) < 2:
        return None
    return by_category(100.0 * win_probabilities(annotations), labels)


def _copied(records: Mapping[int, Record], traces: Mapping[int, AnswerTrace]) -> Mapping[str, Copied] | None:
    found = [
        copied(record.output, {one.agent: one.text for one in trace.layers[-1].proposals})
        for index, trace in traces.items()
        if trace.layers and (record := records[index]).has_output
    ]
    return mean_copied(found) if found else None


def _weighed(
    evaluation: Collected, data: AlpacaEvalData | None, margin: float, looks: int | None
) -> tuple[Evidence | None, SingleModel | None]:
    """What is shown about mixture and baseline, and about the best of the mixture's models alone."""
    if evaluation.settlement is not None:
        seen = frozenset(evaluation.settlement.prompts)
        evaluation = replace(evaluation, systems=tuple(_only_at(one, seen) for one in evaluation.systems))
    mixture, baseline = evaluation.candidate, evaluation.replaced
    if baseline is not None and evaluation.rests_on is not None:
        return _weighed_by_scores(evaluation, baseline, margin, looks)
    if baseline is None or not mixture.annotations:
        return None, None
    sides = [mixture, *(() if baseline.name == evaluation.opponent else (baseline,))]
    models = [one for one in evaluation.single_models if one.annotations]
    if not all(side.annotations for side in sides):
        return None, None
    rows = common_to_all([one.annotations for one in (*sides, *models)])
    if rows is None:  # a model alone was judged on other prompts
        models, rows = [], common_to_all([one.annotations for one in sides])
    if rows is None:
        return None, None
    name, _ = choose_model(rows[0], data)
    verdicts = comparable_verdicts(rows, data, name)
    alone = {one.name: found for one, found in zip(models, verdicts[len(sides) :], strict=True)}
    gamed = None if data is None else data.gamed
    return weigh_all(verdicts[: len(sides)], alone, name, gamed, margin=margin, looks=looks)


def _weighed_by_scores(
    evaluation: Collected, baseline: Evaluated, margin: float, looks: int | None
) -> tuple[Evidence | None, SingleModel | None]:
    """The same by a measure of one output: figures are shares of right answers, and their differences."""
    seen = None if evaluation.settlement is None else set(evaluation.settlement.prompts)
    scores = {
        one.system: scores_as_verdicts(
            np.array([point for index, point in one.points.items() if seen is None or index in seen]) / 100.0
        )
        for one in evaluation.measured
        if one.measure == evaluation.rests_on
    }
    alone = {one.name: scores[one.name] for one in evaluation.single_models}
    sides = [scores[one.name] for one in (evaluation.candidate, baseline)]
    return weigh_all(sides, alone, None, margin=margin, looks=looks)


def _only_at(system: Evaluated, prompts: frozenset[int]) -> Evaluated:
    """A system with its annotations on some prompts: those that were looked at when judging was stopped."""
    return replace(system, annotations=[one for one in system.annotations if one.index in prompts])


def _case(
    evaluation: Collected, systems: Sequence[SystemSummary], evidence: Evidence | None, single: SingleModel | None
) -> VerdictBasis | None:
    """All that the first sentence depends on; None if nothing is judged."""
    mixture, baseline, judged = evaluation.candidate, evaluation.replaced, systems[0].judged
    if baseline is None or evidence is None:
        return None
    common = sorted(set(mixture.records) & set(baseline.records))
    mine, theirs = (economics([one.records[index] for index in common]) for one in (mixture, baseline))
    cost = ratio((mixture.name, _usd(mine)), (baseline.name, _usd(theirs)))
    latency = ratio((mixture.name, _median(mine)), (baseline.name, _median(theirs)))
    controls = [row.control for one in evaluation.systems for row in one.annotations if row.control is not None]
    alternative = None
    if single is not None:
        summary = next(one for one in systems if one.name == single.name)
        alternative = Alternative(
            name=_plain_name(next(one for one in evaluation.systems if one.name == single.name), mixture.name),
            found=single,
            cost=ratio((single.name, _usd(summary.economics)), (mixture.name, _usd(systems[0].economics))),
            cost_to_baseline=ratio((single.name, _usd(summary.economics)), (baseline.name, _usd(theirs))),
        )
    scored = next((one for one in evaluation.measured if one.measure == evaluation.rests_on), None)
    if scored is not None and scored.n + scored.missing:
        checks = JudgeChecks(missing=scored.missing / (scored.n + scored.missing))
        opponent: str | None = "the right answers"
    else:
        opponent = None if baseline.name == evaluation.opponent else evaluation.opponent
        labels = next((one for one in evaluation.human if one.system == mixture.name), None)
        checks = JudgeChecks(
            contradicted=labels.against_the_judge(evidence.controlled.margin) if labels and opponent is None else "",
            missing=judged.missing / judged.n if judged is not None and judged.n else 0.0,
            controls=len(controls),
            controls_right=sum(controls),
        )
    return VerdictBasis(
        mixture=mixture.name,
        baseline=baseline.name,
        evidence=evidence,
        judge=checks,
        cost=cost,
        latency=replace(latency, is_precomputed=baseline.is_precomputed),
        alternative=alternative,
        planned=evaluation.planned,
        opponent=opponent,
        looked=evaluation.settlement is not None,
        measure=evaluation.rests_on or "win rate",
    )


def _plain_name(system: Evaluated, mixture: str) -> str:
    """What to call a part of the mixture in a sentence: its model, where that is one and the same."""
    models = {record.model for record in system.records.values() if record.model is not None}
    part = models.pop() if len(models) == 1 else system.name.removeprefix(f"{mixture}.").removeprefix("member.")
    return f"{part} alone"


def _nothing_judged(mixture: str) -> Recommendation:
    return Recommendation(advice="undecided", sentence=f"Undecided: nothing has judged {mixture} yet.")


def _best_member(case: VerdictBasis, other: Alternative) -> BestMember:
    found, gap = other.found, other.found.to_mixture.gap
    of = f" of {found.of}, picked on other prompts than those that its figures come from" if found.of > 1 else ""
    price = "" if other.cost.value is None else f" at {times(other.cost, 'cost')}"
    figure = f"{gap.value:+.1f} points, {gap.interval.low:+.1f} to {gap.interval.high:+.1f}"
    meaning = {
        Finding.BETTER: "is better than the mixture",
        Finding.GOOD_ENOUGH: f"is as good as the mixture to within {found.to_mixture.margin:g} points",
        Finding.SLIGHTLY_WORSE: "is a little worse than the mixture",
        Finding.WORSE: "is worse than the mixture: mixing pays in quality",
        Finding.UNDECIDED: "is not told apart from the mixture yet: whether mixing pays is not shown",
    }[found.to_mixture.finding]
    sentence = f"The best single model ({other.name}{of}){price} {meaning} ({figure})."
    return BestMember(name=found.name, of=found.of, found=found, sentence=sentence)


def _warnings(evaluation: Collected, systems: Sequence[SystemSummary], evidence: Evidence | None) -> list[str]:
    found = []
    if evaluation.judge is not None and not evaluation.comparable:
        found.append(f"The judge {evaluation.judge} is not the official one: not the leaderboard's scale.")
    missing = [f"{s.judged.missing} of {s.judged.n} for {s.name}" for s in systems if s.judged and s.judged.missing]
    if missing:
        named, more = missing[:_NAMED], len(missing) - _NAMED
        others = f", and some for {more} more" if more > 0 else ""
        found.append(f"Verdicts are missing: {', '.join(named)}{others}; a missing verdict counts for neither side.")
    if dropped := sorted({part for system in systems if system.judged for part in system.judged.dropped}):
        found.append(
            f"The judge's service refuses {', '.join(dropped)}: it was asked without, and not quite as its preset says."
        )
    found += _incomplete(evaluation, systems) + _elsewhere(evaluation) + _extrapolated(systems)
    if evidence is not None:
        found += _misfit(evidence)
    if evaluation.settlement is not None:
        found.append(
            "Judging was to stop as soon as the answer was settled: the intervals of the first sentences allow for "
            "that, those of the tables are for a number of prompts fixed beforehand, and too narrow."
        )
    for system in systems:
        if system.output_issues.judge_marks:
            found.append(
                f"{system.name}: {system.output_issues.judge_marks} outputs hold marks that change a judge's prompt."
            )
    return found


def _incomplete(evaluation: Collected, systems: Sequence[SystemSummary]) -> list[str]:
    """Say what there is too little of."""
    judged, planned = len(evaluation.candidate.annotations), evaluation.planned
    found = []
    if evaluation.settlement is None and 0 < judged < planned:
        found.append(f"Only {judged:,} of {planned:,} prompts are judged so far: the same command goes on.")
    if 0 < judged < FEW_PROMPTS:
        wide = 100.0 / judged**0.5
        found.append(f"{judged:,} prompts are few: a win rate is known to about ± {wide:.0f} points only.")
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
    others = systems[1:]  # of the mixture, the first sentence says so
    fits = [(one.name, one.metrics.fit) for one in others if one.metrics is not None and one.metrics.fit is not None]
    found = [
        f"{name} ({np.count_nonzero(fit.design.judged.shorter_by < 0):,} answers longer, "
        f"{np.count_nonzero(fit.design.judged.shorter_by > 0):,} shorter than what they are judged against)"
        for name, fit in fits
        if length_inflation(fit.design) >= SERIOUS_INFLATION
    ]
    if not found:
        return []
    return [
        f"Length can't be told from quality for {', '.join(found)}: the win rate at equal length extrapolates there, "
        "and means little."
    ]


def _misfit(evidence: Evidence) -> list[str]:
    """Say so where the length model does not fit the verdicts."""
    length = evidence.length
    if length.misfit is None or length.misfit >= 0.01 or evidence.model is None:
        return []
    return [
        f"The model of length does not fit these verdicts well (p = {length.misfit:.2g}): take the "
        f"{MEASURES[evidence.model]} with caution, and compare it with the win rate."
    ]


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


def _evidence_dict(evidence: Evidence) -> dict[str, Any]:
    def as_values(found: Assessment) -> dict[str, Any]:
        beyond = found.beyond_margin
        return {
            "finding": found.finding.value,
            "points": found.gap.value,
            "interval": [found.gap.interval.low, found.gap.interval.high],
            "beyond_margin": None if beyond is None else [beyond.interval.low, beyond.interval.high],
            "margin": found.margin,
            "more_prompts": found.more_prompts,
        }

    consistency, length = evidence.consistency, evidence.length
    return {
        "prompts": evidence.n,
        "model": evidence.model,
        "raw": as_values(evidence.raw),
        "controlled": as_values(evidence.controlled),
        "kept_sides": None
        if consistency is None
        else {"share": consistency.share, "flips": consistency.flips, "pairs": consistency.pairs},
        "length": {
            "ratio": length.ratio,
            "could_move": length.moves,
            "misfit_p": length.misfit,
            "told_from_quality": length.is_identified,
        },
    }
