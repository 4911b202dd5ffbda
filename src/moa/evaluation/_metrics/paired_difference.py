"""Two systems that were judged against the same baseline, on the same prompts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from moa.errors import EvaluationDataError
from moa.evaluation._data.annotations import Annotation
from moa.evaluation._data.reference_data import AlpacaEvalData
from moa.evaluation._length_control.models import WITH_DIFFICULTY, LengthModel
from moa.evaluation._length_control.standard_errors import predicted_estimate
from moa.evaluation._metrics.evidence import Evidence, weigh
from moa.evaluation._metrics.metrics import Align, choose_model, comparable_verdicts, fit_annotations
from moa.evaluation._statistics.estimates import LEVEL, Estimate
from moa.evaluation._statistics.sample_means import (
    DIFFERENCE,
    MARGIN,
    MIN_PROMPTS,
    RESAMPLES,
    mean_with_interval,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How a system compares with another, both judged against a common baseline.

    Attributes:
        win_rate_difference: Percentage points, paired by prompt; None on too little data.
        lc_difference: Of the win rates at equal length, percentage points; None on too little data.
        lc_model: The length model of both.
        predicted_win_rate: Percent 0-100 of the first against the second, as the official model predicts it;
            None where the model has no difficulties.
        evidence: What the verdicts show, at `findings.LEVEL`; None without any.
        n: Common prompts.
    """

    win_rate_difference: Estimate | None
    lc_difference: Estimate | None
    lc_model: LengthModel
    predicted_win_rate: Estimate | None
    evidence: Evidence | None
    n: int


def compare(
    first: Sequence[Annotation],
    second: Sequence[Annotation],
    data: AlpacaEvalData | None = None,
    *,
    align: Align = "instruction",
    margin: float = MARGIN,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Comparison:
    """Return how much better the first system is than the second, on the prompts that both have.

    Args:
        first: Annotations of the system, e.g. a mixture.
        second: Annotations of the other, e.g. the expensive model, against the same baseline.
        data: AlpacaEval's reference data, or None for other prompts.
        align: How rows find their difficulty.
        margin: Percentage points by which the first may be worse and still be comparable.
        seed: Seed of the bootstrap.
        resamples: How many bootstrap samples.
        level: Confidence, between 0 and 1.

    Returns:
        Paired differences, first minus second.

    Raises:
        EvaluationDataError: The baselines differ, or no prompt is common to both.
    """
    mine, theirs = common_prompts(first, second)
    name, _ = choose_model(mine, data, align)
    sides = comparable_verdicts((mine, theirs), data, name, align)
    evidence = weigh(sides, name, None if data is None else data.gamed, margin=margin)
    raw = gap = predicted = None
    if evidence is not None and len(evidence.raw_gaps) >= MIN_PROMPTS:
        raw, gap = (
            mean_with_interval(gaps, most=DIFFERENCE, level=level)
            for gaps in (evidence.raw_gaps, evidence.controlled_gaps)
        )
        gap = None if evidence.model is None else gap
    if name in WITH_DIFFICULTY and gap is not None:
        fits = [fit_annotations(rows, data, name, align) for rows in (mine, theirs)]
        if fits[0] is not None and fits[1] is not None:
            predicted = predicted_estimate(fits[0], fits[1], seed=seed, resamples=resamples, level=level)
    return Comparison(
        win_rate_difference=raw,
        lc_difference=gap,
        lc_model=name,
        predicted_win_rate=predicted,
        evidence=evidence,
        n=len(mine),
    )


def common_prompts(
    first: Sequence[Annotation], second: Sequence[Annotation]
) -> tuple[list[Annotation], list[Annotation]]:
    """Return the annotations of the prompts that both systems have, in the first's order.

    Args:
        first: The one system's annotations.
        second: The other's.

    Returns:
        Two lists of equal length, row by row about the same prompt; of a prompt with several rows the first goes
        with the first, the second with the second.

    Raises:
        EvaluationDataError: The baselines differ, or no prompt is common to both.
    """
    baselines = {a.generator_1 for a in (*first, *second)}
    if len(baselines) > 1:
        raise EvaluationDataError(
            f"systems are comparable against one baseline only, not against {', '.join(sorted(baselines))}"
        )
    theirs = _by_occurrence(second)
    pairs = [(a, theirs[key]) for key, a in _by_occurrence(first).items() if key in theirs]
    if not pairs:
        raise EvaluationDataError("the two files have no prompt in common")
    return [one for one, _ in pairs], [other for _, other in pairs]


def common_to_all(systems: Sequence[Sequence[Annotation]]) -> list[list[Annotation]] | None:
    """Return the annotations of the prompts that all systems have, in the first's order; None if there is none.

    Args:
        systems: The annotations of each, all against the same opponent.

    Returns:
        A list for each system, row by row about the same prompt.
    """
    known = [_by_occurrence(rows) for rows in systems]
    keys = [key for key in known[0] if all(key in one for one in known)]
    return [[one[key] for key in keys] for one in known] if keys else None


def _by_occurrence(annotations: Sequence[Annotation]) -> dict[tuple[str, int], Annotation]:
    """Return the annotations by their prompt and how many rows about it came before."""
    seen: Counter[str] = Counter()
    found = {}
    for annotation in annotations:
        found[annotation.instruction, seen[annotation.instruction]] = annotation
        seen[annotation.instruction] += 1
    return found
