"""Everything that an evaluation found, as plain values: what `summary.json` holds and the report shows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from moa._mixture.schema import Mixture
from moa.evaluation._analysis.calibration import (
    Calibration,
    OnOfficialScale,
    on_official_scale,
    opponent_digest,
    why_unreadable,
)
from moa.evaluation._analysis.cautions import cautions
from moa.evaluation._analysis.collected import Collected, Evaluated, Texts
from moa.evaluation._analysis.cost_latency import CostLatency, economics
from moa.evaluation._analysis.effects import Effect, effect
from moa.evaluation._analysis.human import HumanCheck
from moa.evaluation._analysis.measured import Measured, Scores
from moa.evaluation._analysis.recommendation import (
    Alternative,
    JudgeChecks,
    Recommendation,
    VerdictBasis,
    judge_cannot_tell,
    ratio,
    recommend,
    times,
    title_of,
)
from moa.evaluation._analysis.stopped import Stopped
from moa.evaluation._analysis.system_summary import SystemSummary, system_summary
from moa.evaluation._data.reference_data import BASELINE, AlpacaEvalData
from moa.evaluation._metrics.evidence import Evidence
from moa.evaluation._metrics.metrics import choose_model, with_difficulty
from moa.evaluation._metrics.single_model import SingleModel, weigh_all
from moa.evaluation._metrics.verdicts import common_rows
from moa.evaluation._statistics.findings import Assessment, Finding
from moa.evaluation._statistics.sample_means import MARGIN, ByCategory


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What an evaluation found.

    Attributes:
        systems: In the order of the run.
        about: Name of the system that the verdict is about.
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
    about: str
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

    @property
    def candidate(self) -> SystemSummary:
        """The system that the verdict is about."""
        return next(system for system in self.systems if system.name == self.about)

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        best = self.best_member
        return {
            "candidate": self.about,
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
    stopped = _stopped(evaluation)
    evidence, single = _weighed(evaluation, data, margin, None if stopped is None else evaluation.planned)
    with evaluation.reading() as texts:
        systems = tuple(system_summary(system, evaluation, texts, data, rated) for system in evaluation.systems)
        readings, unreadable = _readings(evaluation, systems, texts, calibration)
    case = _case(evaluation, systems, evidence, single)
    conclusion = _nothing_judged(evaluation.about) if case is None else recommend(case)
    is_compared = conclusion.line != title_of(judge_cannot_tell)
    with evaluation.reading() as texts:
        effects = _effects(evaluation, texts, data, seed, is_compared=is_compared)
    return Summary(
        systems=systems,
        about=evaluation.about,
        opponent=evaluation.opponent,
        judge=evaluation.judge,
        comparable=evaluation.comparable,
        baseline=None if case is None else case.baseline,
        conclusion=conclusion,
        evidence=evidence,
        best_member=None
        if case is None or case.alternative is None or not is_compared
        else _best_member(case.alternative),
        warnings=(*evaluation.warnings, *cautions(evaluation, systems, evidence, unreadable)),
        how=evaluation.how,
        effects=effects,
        stopped=stopped,
        human=evaluation.human,
        measured=evaluation.measured,
        readings=readings,
    )


def _readings(
    evaluation: Collected, systems: Sequence[SystemSummary], texts: Texts, calibration: Calibration | None
) -> tuple[tuple[OnOfficialScale, ...], str | None]:
    """What figures read as by a calibration, and why it can't be used for all of the verdicts, if it can't."""
    if calibration is None:
        return (), None
    judged = [one for one in evaluation.systems if one.verdicts is not None and one.name != evaluation.opponent]
    prompts = {one.index: one.text for one in evaluation.instructions}
    against = texts.answers(str(evaluation.opponent)) if judged else ()
    digests = {record.index: opponent_digest(prompts[record.index], record.output) for record, _ in against}
    pairs = {
        one.name: [digests.get(index, "") for index in one.verdicts.index.tolist()] for one in judged if one.verdicts
    }
    readings = tuple(
        reading
        for one in systems
        if one.name in pairs and one.metrics is not None
        for reading in on_official_scale(calibration, one.name, evaluation.judge, pairs[one.name], one.metrics)
    )
    return readings, why_unreadable(calibration, evaluation.judge, [pair for some in pairs.values() for pair in some])


def _stopped(evaluation: Collected) -> Stopped | None:
    if evaluation.settlement is None:
        return None
    found = evaluation.deciding.get(evaluation.about)
    judged = 0 if found is None else len(found)
    if found is not None and evaluation.rests_on is not None:
        judged = int(np.count_nonzero(~np.isnan(found.won)))
    return Stopped(settlement=evaluation.settlement, judged=judged, planned=evaluation.planned)


def _effects(
    evaluation: Collected, texts: Texts, data: AlpacaEvalData | None, seed: int, *, is_compared: bool
) -> tuple[Effect, ...]:
    """Of other proposals alone: what answers from some of the candidate's, or from all in another order.

    Of a judge that can't tell, no difference is taken.
    """
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
        effect(
            mixture,
            one,
            evaluation,
            texts,
            leaves_out=kind,
            of=kinds.count(kind),
            data=data,
            seed=seed,
            is_compared=is_compared,
        )
        for one, kind in found
    )


def _proposals(mixture: Mixture) -> int:
    return sum(layer.size for layer in mixture.layers)


def _weighed(
    evaluation: Collected, data: AlpacaEvalData | None, margin: float, looks: int | None
) -> tuple[Evidence | None, SingleModel | None]:
    """What is shown about mixture and baseline, and about the best of the mixture's models alone."""
    baseline, known = evaluation.replaced, evaluation.deciding
    if baseline is None:
        return None, None
    if evaluation.settlement is not None:  # what was looked at when judging was stopped
        seen = evaluation.settlement.prompts
        known = {name: found.take(np.isin(found.index, seen)) for name, found in known.items()}
        known = {name: found for name, found in known.items() if len(found)}
    # By a measure of one output, figures are shares of right answers, and their differences.
    is_direct = evaluation.rests_on is None and baseline.name == evaluation.opponent
    sides = [evaluation.about, *(() if is_direct else (baseline.name,))]
    models = [one.name for one in evaluation.single_models if one.name in known]
    if not all(side in known for side in sides):
        return None, None
    rows = common_rows([known[name] for name in (*sides, *models)])
    if rows is None:  # a model alone was judged on other prompts
        models, rows = [], common_rows([known[name] for name in sides])
    if rows is None:
        return None, None
    name = None
    if evaluation.rests_on is None:
        name, _ = choose_model(rows[0], data)
        rows = [with_difficulty(one, data, name) for one in rows]
    alone = dict(zip(models, rows[len(sides) :], strict=True))
    gamed = None if data is None else data.gamed
    return weigh_all(rows[: len(sides)], alone, name, gamed, margin=margin, looks=looks)


def _case(
    evaluation: Collected, systems: Sequence[SystemSummary], evidence: Evidence | None, single: SingleModel | None
) -> VerdictBasis | None:
    """All that the first sentence depends on; None if nothing is judged."""
    mixture, baseline = evaluation.candidate, evaluation.replaced
    if baseline is None or evidence is None:
        return None
    common = mixture.answers.is_there & baseline.answers.is_there
    mine, theirs = (economics(one.answers.at(common)) for one in (mixture, baseline))
    cost = ratio((mixture.name, _usd(mine)), (baseline.name, _usd(theirs)))
    latency = ratio((mixture.name, _median(mine)), (baseline.name, _median(theirs)))
    alternative, failures = None, {one.name: _failures(one) for one in (mixture, baseline)}
    figures = {one.name: one for one in systems}
    if single is not None:
        model, price = evaluation.named(single.name), (single.name, _usd(figures[single.name].economics))
        alternative = Alternative(
            name=_plain_name(model, mixture.name),
            found=single,
            cost=ratio(price, (mixture.name, _usd(figures[mixture.name].economics))),
            cost_to_baseline=ratio(price, (baseline.name, _usd(theirs))),
        )
        failures[alternative.name] = _failures(model)
    if evaluation.rests_on is not None:
        known = Scores(measure=evaluation.rests_on, found=evaluation.deciding).measured(None)
        scored = next(one for one in known if one.system == mixture.name)
        equal = {one.all_equal for one in known if one.n}
        checks = JudgeChecks(
            missing=scored.missing / max(scored.n + scored.missing, 1),
            all_equal=equal.pop() if len(equal) == 1 else None,
        )
        opponent: str | None = "the right answers"
    else:
        opponent = None if baseline.name == evaluation.opponent else evaluation.opponent
        labels = next((one for one in evaluation.human if one.system == mixture.name), None)
        verdicts = evaluation.deciding[mixture.name]
        asked = verdicts.won[np.array([why is None for why in verdicts.unasked], dtype=np.bool_)]
        controls = np.concatenate([one.control for one in evaluation.deciding.values()])
        checks = JudgeChecks(
            contradicted=labels.against_the_judge(evidence.controlled.margin) if labels and opponent is None else "",
            missing=np.count_nonzero(np.isnan(asked)) / max(len(asked), 1),
            controls=int(np.count_nonzero(~np.isnan(controls))),
            controls_right=int(np.nansum(controls)),
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
        failures=failures,
        other_way=(
            *(() if opponent else _other_categories(figures[mixture.name].categories, evidence)),
            *_other_measures(evaluation, mixture, evidence),
        ),
        **({} if evaluation.rests_on is None else {"measure": evaluation.rests_on}),
    )


def _failures(system: Evaluated) -> tuple[int, int]:
    return system.answers.failed, system.answers.asked


def _other_categories(categories: ByCategory | None, evidence: Evidence) -> tuple[str, ...]:
    """The categories in which a mixture is shown to be on the other side of equality than in all."""
    known = {} if categories is None else {name: one for name, one in categories.estimates.items() if one is not None}
    better = evidence.raw.gap.value > 0
    return tuple(
        f"in {name} (win rate {one.value:.0f}%, {one.interval:.0f})"
        for name, one in known.items()
        if (one.interval.high < 50.0 if better else one.interval.low > 50.0)
    )


def _other_measures(evaluation: Collected, mixture: Evaluated, evidence: Evidence) -> Iterator[str]:
    """The measures, and the judge, by which a mixture is shown to be on the other side of equality than the verdict."""
    better = evidence.raw.gap.value > 0
    for one in evaluation.measured:
        gap = one.difference if one.system == mixture.name and one.measure != evaluation.rests_on else None
        if gap is not None and (gap.interval.high < 0.0 if better else gap.interval.low > 0.0):
            yield f"by {one.measure} ({gap.value:+.1f} points, {gap.interval:+.1f})"
    is_judged_beside = evaluation.rests_on is not None and evaluation.opponent == evaluation.baseline
    if is_judged_beside and mixture.verdicts is not None:
        (judged,) = Scores(measure="", found={mixture.name: mixture.verdicts}).measured(None)
        rate = judged.estimate
        if rate is not None and (rate.interval.high < 50.0 if better else rate.interval.low > 50.0):
            yield f"by the judge (win rate {rate.value:.0f}%, {rate.interval:.0f})"


def _plain_name(system: Evaluated, mixture: str) -> str:
    """What to call a part of the mixture in a sentence: its model, where that is one and the same."""
    models = {model for model in system.answers.model if model is not None}
    part = models.pop() if len(models) == 1 else system.name.removeprefix(f"{mixture}.").removeprefix("member.")
    return f"{part} alone"


def _nothing_judged(mixture: str) -> Recommendation:
    return Recommendation(advice="undecided", sentence=f"Undecided: nothing has judged {mixture} yet.")


def _best_member(other: Alternative) -> BestMember:
    found, gap = other.found, other.found.to_mixture.gap
    of = f" of {found.of}, picked on other prompts than those that its figures come from" if found.of > 1 else ""
    price = "" if other.cost.value is None else f" at {times(other.cost, 'cost')}"
    figure = f"{gap.value:+.1f} points, {gap.interval:+.1f}"
    meaning = {
        Finding.BETTER: "is better than the mixture",
        Finding.GOOD_ENOUGH: f"is as good as the mixture to within {found.to_mixture.margin:g} points",
        Finding.SLIGHTLY_WORSE: "is a little worse than the mixture",
        Finding.WORSE: "is worse than the mixture: mixing pays in quality",
        Finding.UNDECIDED: "is not told apart from the mixture yet: whether mixing pays is not shown",
    }[found.to_mixture.finding]
    sentence = f"The best single model ({other.name}{of}){price} {meaning} ({figure})."
    return BestMember(name=found.name, of=found.of, found=found, sentence=sentence)


def _usd(found: CostLatency | None) -> float | None:
    return None if found is None else found.cost.usd


def _median(found: CostLatency | None) -> float | None:
    return None if found is None or found.total is None else found.total.p50


def _evidence_dict(evidence: Evidence) -> dict[str, Any]:
    def as_values(found: Assessment) -> dict[str, Any]:
        beyond = found.beyond_margin
        return {
            "finding": found.finding.value,
            "points": found.gap.value,
            "interval": found.gap.interval.ends,
            "beyond_margin": None if beyond is None else beyond.interval.ends,
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
