"""Two systems that were judged against the same baseline, on the same prompts."""

from dataclasses import dataclass

from moa.errors import EvaluationDataError
from moa.evaluation._data.reference_data import AlpacaEvalData
from moa.evaluation._length_control.models import WITH_DIFFICULTY, LengthModel
from moa.evaluation._length_control.standard_errors import predicted_estimate
from moa.evaluation._metrics.evidence import Evidence, weigh
from moa.evaluation._metrics.metrics import Align, choose_model, fit_verdicts, with_difficulty
from moa.evaluation._metrics.verdicts import Annotations, common_rows
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
    first: Annotations,
    second: Annotations,
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
        first: Verdicts on the system, e.g. a mixture.
        second: Verdicts on the other, e.g. the expensive model, against the same baseline.
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
    baselines = {*first.opponents, *second.opponents}
    if len(baselines) > 1:
        raise EvaluationDataError(
            f"systems are comparable against one baseline only, not against {', '.join(sorted(baselines))}"
        )
    common = common_rows([first, second])
    if common is None:
        raise EvaluationDataError("the two files have no prompt in common")
    name, _ = choose_model(common[0], data, align)
    sides = [with_difficulty(one, data, name, align) for one in common]
    evidence = weigh(sides, name, None if data is None else data.gamed, margin=margin)
    raw = gap = predicted = None
    if evidence is not None and len(evidence.raw_gaps) >= MIN_PROMPTS:
        raw, gap = (
            mean_with_interval(gaps, most=DIFFERENCE, level=level)
            for gaps in (evidence.raw_gaps, evidence.controlled_gaps)
        )
        gap = None if evidence.model is None else gap
    if name in WITH_DIFFICULTY and gap is not None:
        fits = [fit_verdicts(one, data, name, align) for one in common]
        if fits[0] is not None and fits[1] is not None:
            predicted = predicted_estimate(fits[0], fits[1], seed=seed, resamples=resamples, level=level)
    return Comparison(
        win_rate_difference=raw,
        lc_difference=gap,
        lc_model=name,
        predicted_win_rate=predicted,
        evidence=evidence,
        n=len(common[0]),
    )
