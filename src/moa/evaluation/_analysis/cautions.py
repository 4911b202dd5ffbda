"""What a reader has to know before relying on an evaluation, in sentences."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from moa._render.format import count
from moa.evaluation._analysis.collected import Collected
from moa.evaluation._analysis.recommendation import MEASURES
from moa.evaluation._analysis.system_summary import SystemSummary
from moa.evaluation._length_control.standard_errors import SERIOUS_INFLATION, length_inflation
from moa.evaluation._metrics.evidence import Evidence

_NAMED = 3
"""How many systems a sentence names."""

FEW_PROMPTS = 200
"""Prompts below which a sentence says how wide intervals are."""


def cautions(
    evaluation: Collected, systems: Sequence[SystemSummary], evidence: Evidence | None, unreadable: str | None
) -> tuple[str, ...]:
    """Return what has to be known to read the figures right.

    Args:
        evaluation: All of it.
        systems: The figures of its systems.
        evidence: What the verdicts show; None without any.
        unreadable: Why the judge's calibration says nothing here; None if it does, or there is none.
    """
    return (
        *_about_the_judge(evaluation, systems),
        *_incomplete(evaluation, systems),
        *_elsewhere(evaluation),
        *_extrapolated(evaluation, systems),
        *(() if evidence is None else _misfit(evidence)),
        *_settled(evaluation),
        *(
            f"{one.name}: {one.output_issues.judge_marks} outputs hold marks that change a judge's prompt."
            for one in systems
            if one.output_issues.judge_marks
        ),
        *(() if unreadable is None else (f"The calibration can't be used here: {unreadable}.",)),
    )


def _about_the_judge(evaluation: Collected, systems: Sequence[SystemSummary]) -> Iterator[str]:
    if evaluation.judge is not None and not evaluation.comparable:
        yield f"The judge {evaluation.judge} is not the official one: not the leaderboard's scale."
    if evaluation.rests_on is not None and any(one.judged for one in systems):
        yield f"The first sentence rests on {evaluation.rests_on}; the charts show the judge's figures."
    yield from _missing("Verdicts", [(s.name, s.judged.missing, s.judged.n) for s in systems if s.judged])
    for scores in evaluation.scores:
        found = [(one.system, one.missing, one.n + one.missing) for one in scores.measured(None)]
        yield from _missing(f"Scores by {scores.measure}", found)
    if dropped := sorted({part for system in systems if system.judged for part in system.judged.dropped}):
        yield (
            f"The judge's service refuses {', '.join(dropped)}: it was asked without, and not quite as its preset says."
        )


def _missing(what: str, found: Sequence[tuple[str, int, int]]) -> Iterator[str]:
    """Say of which systems something is missing, given name, how many are, and of how many."""
    lacking = [f"{missing} of {n} for {name}" for name, missing, n in found if missing]
    if lacking:
        more = len(lacking) - _NAMED
        others = f", and some for {more} more" if more > 0 else ""
        yield f"{what} are missing: {', '.join(lacking[:_NAMED])}{others}; what is missing counts for neither side."


def _incomplete(evaluation: Collected, systems: Sequence[SystemSummary]) -> Iterator[str]:
    """Say what there is too little of."""
    candidate, planned = evaluation.candidate, evaluation.planned
    judged = 0 if candidate.verdicts is None else len(candidate.verdicts)
    if evaluation.settlement is None and 0 < judged < planned:
        yield f"Only {judged:,} of {planned:,} prompts are judged so far: the same command goes on."
    if 0 < judged < FEW_PROMPTS:
        few = f"{count(judged, 'prompt')} {'is' if judged == 1 else 'are'} few"
        yield f"{few}: at worst, a win rate is known to ± {100.0 / judged**0.5:.0f} points only."
    there = candidate.answers.is_there.tolist()
    prompts = [one.text for one, is_there in zip(evaluation.instructions, there, strict=True) if is_there]
    rows = len(prompts)
    if repeated := rows - len(set(prompts)):
        yield f"{repeated:,} of {rows:,} prompts repeat others: all rows about one prompt count as one draw."
    for one in systems:
        if one.name == evaluation.about and one.categories is not None and not any(one.categories.estimates.values()):
            yield "No category has enough prompts for a win rate of its own."
    for system in evaluation.systems:
        answers = system.answers
        if failed := answers.failed:
            errors = answers.error[answers.is_there & ~answers.has_output]
            (why, _), *_ = Counter(str((error or {}).get("code", "failed")) for error in errors).most_common(1)
            yield f"{system.name}: {failed:,} of {answers.asked:,} answers failed ({why})."


def _elsewhere(evaluation: Collected) -> Iterator[str]:
    """Say whose times were not measured here."""
    if names := [one.name for one in evaluation.systems if one.was_timed_elsewhere]:
        yield (
            f"The times of {', '.join(names)} come out of a file: they were measured elsewhere, under another load, "
            "and are a hint at most."
        )


def _extrapolated(evaluation: Collected, systems: Sequence[SystemSummary]) -> Iterator[str]:
    """Say so where the length-controlled win rate is mostly an extrapolation; of the candidate the verdict says so."""
    fits = [(one.name, one.metrics.fit) for one in systems if one.name != evaluation.about and one.metrics is not None]
    found = [
        f"{name} ({np.count_nonzero(fit.design.judged.shorter_by < 0):,} answers longer, "
        f"{np.count_nonzero(fit.design.judged.shorter_by > 0):,} shorter than what they are judged against)"
        for name, fit in fits
        if fit is not None and length_inflation(fit.design) >= SERIOUS_INFLATION
    ]
    if found:
        yield (
            f"Length can't be told from quality for {', '.join(found)}: the win rate at equal length extrapolates "
            "there, and means little."
        )


def _misfit(evidence: Evidence) -> Iterator[str]:
    """Say so where the length model does not fit the verdicts."""
    misfit = evidence.length.misfit
    if misfit is not None and misfit < 0.01 and evidence.model is not None:
        yield (
            f"The model of length does not fit these verdicts well (p = {misfit:.2g}): take the "
            f"{MEASURES[evidence.model]} with caution, and compare it with the win rate."
        )


def _settled(evaluation: Collected) -> Iterator[str]:
    if evaluation.settlement is not None:
        yield (
            "Judging was to stop as soon as the answer was settled: the intervals of the first sentences allow for "
            "that, those of the tables are for a number of prompts fixed beforehand, and too narrow."
        )
