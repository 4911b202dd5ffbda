"""From verdicts to what they show: by preference alone, at equal length, and whether length hides quality."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import gammaincc

from moa.evaluation._length_control.bounded_taste import STEEPEST, with_taste
from moa.evaluation._length_control.models import (
    GamedBaselines,
    LengthFit,
    LengthModel,
    design_for,
    doublings,
    fit_length_model,
    fit_so_far,
    fitted_rows,
)
from moa.evaluation._length_control.standard_errors import SERIOUS_INFLATION, influence_values, length_inflation
from moa.evaluation._metrics.verdicts import Verdicts
from moa.evaluation._statistics.array_types import Bools, Floats, sigmoid
from moa.evaluation._statistics.findings import Assessment, Finding, assess, effective_number, either
from moa.evaluation._statistics.position_consistency import PositionConsistency, least, position_consistency
from moa.evaluation._statistics.sample_means import DIFFERENCE, MARGIN, WIN, by_prompt

MIN_EFFECTIVE = 10.0
"""Fewest prompts on which a figure's error may effectively rest (see `effective_number`) for it to decide anything."""

MISFIT = 0.001
"""Probability below which the length model is said not to fit: verdicts of hundreds of prompts show every small
fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthCheck:
    """Whether length can be told from quality.

    Attributes:
        ratio: Length of the system's outputs to the opponent's, the geometric mean.
        moves: Points by which the steepest taste that is allowed for could move the figure; see `STEEPEST`.
        inflation: As `length_inflation`, the largest of all systems that are compared.
        misfit: Probability of verdicts that fit the model as badly, if the model holds; None where it was not tested.
        is_identified: Whether the figure at equal length means anything.
        is_bounded: Whether it holds for any taste up to `STEEPEST`, as the verdicts don't say how strong the taste is.
    """

    ratio: float
    moves: float
    inflation: float
    misfit: float | None
    is_identified: bool
    is_bounded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """What verdicts show about a system and the baseline.

    Attributes:
        raw: By the preferences as they are.
        controlled: At equal length; as raw where no length model was fitted.
        model: Which length model; None without.
        length: Whether it can be told from quality.
        consistency: On which pairs the judge keeps its side; None if that was not tried.
        raw_gaps: One value in points for each prompt that counts.
        controlled_gaps: Pseudo-values in points, likewise.
        rows: Which of the rows count: those with all verdicts.
        most: How far from equality one prompt can be; see `mean_with_interval`.
    """

    raw: Assessment
    controlled: Assessment
    model: LengthModel | None
    length: LengthCheck
    consistency: PositionConsistency | None
    raw_gaps: Floats
    controlled_gaps: Floats
    rows: Bools
    most: float = WIN

    @property
    def n(self) -> int:
        """How many prompts count; several rows about one prompt are one."""
        return len(self.raw_gaps)

    @property
    def left_out(self) -> float:
        """Share of the rows, 0-1, that don't count, as a verdict is missing."""
        return 1.0 - float(np.mean(self.rows))

    @property
    def disagree(self) -> bool:
        """Whether raw and controlled figures give opposite advice."""
        return (_side(self.raw), _side(self.controlled)) in ((1, -1), (-1, 1))


def weigh(
    sides: Sequence[Verdicts],
    model: LengthModel | None,
    gamed: GamedBaselines | None = None,
    *,
    margin: float = MARGIN,
    looks: int | None = None,
) -> Evidence | None:
    """Return what verdicts show; None where there is no prompt with a verdict.

    Args:
        sides: The system's verdicts against the baseline; or its verdicts and the baseline's, both against a third
            system.
        model: Which length model; None for scores by a measure of one output, which no length and no order can sway.
        gamed: The official regulariser, if the model needs it.
        margin: Percentage points by which the system may be worse.
        looks: As for `findings.assess`.
    """
    rows: Bools = np.logical_and.reduce([~np.isnan(side.won) for side in sides])
    if not rows.any():
        return None
    sides = [side.at(rows) for side in sides]
    prompt, most = sides[0].prompt, WIN if len(sides) == 1 else DIFFERENCE
    raw_gaps = by_prompt(_gap([100.0 * side.won for side in sides]), prompt)
    consistency = (
        PositionConsistency.all_of(len(raw_gaps)) if model is None else least([_consistency(side) for side in sides])
    )
    raw = assess(raw_gaps, consistency, margin=margin, most=most, looks=looks)
    fits = [] if model is None else [fit_decided(side, model, gamed, looks=looks) for side in sides]
    fitted = [fit for fit in fits if fit is not None]
    if model is None or len(fitted) < len(sides):
        length = LengthCheck(ratio=_ratio(sides[0]), moves=0.0, inflation=1.0, misfit=None, is_identified=True)
        return Evidence(
            raw=raw,
            controlled=raw,
            model=None,
            length=length,
            consistency=consistency,
            raw_gaps=raw_gaps,
            controlled_gaps=raw_gaps,
            rows=rows,
            most=most,
        )
    gaps = by_prompt(_gap([spread_out(*both) for both in zip(sides, fitted, strict=True)]), prompt)
    controlled = assess(gaps, consistency, margin=margin, most=most, looks=looks)
    inflation = max(length_inflation(fit.design) for fit in fitted)
    misfit = min((p for fit in fitted if (p := fit_test(fit)) is not None), default=None)
    fits_well = model != "equal_length" or misfit is None or misfit >= MISFIT
    rests_on = min(MIN_EFFECTIVE, len(gaps) / 2.0)
    # Where wins are rare, a handful of prompts carries the error. A loss by both figures stands all the same, where
    # the regulariser, and not those few prompts, tells how strong the taste is.
    lost = model != "equal_length" and {raw.finding, controlled.finding} == {Finding.WORSE}
    known = fits_well and inflation < SERIOUS_INFLATION and (lost or effective_number(gaps) >= rests_on)
    liked, disliked = (
        by_prompt(_gap([_with_taste(side, model, slope) for side in sides]), prompt) for slope in (STEEPEST, -STEEPEST)
    )
    moves = abs(float(liked.mean() - disliked.mean())) / 2.0
    is_identified = True
    if not known:
        bounds = (assess(one, consistency, margin=margin, most=most, looks=looks) for one in (liked, disliked))
        controlled, gaps = either(*bounds), 0.5 * (liked + disliked)
        is_identified = moves <= margin or controlled.finding is Finding.WORSE
    length = LengthCheck(
        ratio=_ratio(sides[0]),
        moves=moves,
        inflation=inflation,
        misfit=misfit,
        is_identified=is_identified,
        is_bounded=not known,
    )
    return Evidence(
        raw=raw,
        controlled=controlled,
        model=model,
        length=length,
        consistency=consistency,
        raw_gaps=raw_gaps,
        controlled_gaps=gaps,
        rows=rows,
        most=most,
    )


def fit_test(fit: LengthFit) -> float | None:
    """Return the probability of verdicts that depart as far from the length model, if it holds.

    Squares and absolute values of the length features are added; the test asks whether they explain what the model
    leaves.

    Args:
        fit: The fitted model.

    Returns:
        Between 0 and 1; None where the additions say nothing new, or there are fewer than 10 prompts for each of them.

    Source:
        The robust score test: Boos 1992, The American Statistician 46(4).
    """
    design, rows = fit.design, fitted_rows(fit.design)
    n_prior = design.prior_features.shape[1]
    features, residual = rows.features[n_prior:], (rows.target - sigmoid(rows.features @ fit.weights))[n_prior:]
    lengths = features[:, : min(2, design.length_features)]
    bend = np.sqrt((variance := sigmoid(features @ fit.weights)) * (1.0 - variance))[:, None]
    added = np.concatenate([lengths**2, np.abs(lengths)], axis=1)
    shared = np.linalg.lstsq(features * bend, added * bend, rcond=None)[0]
    scores = (added - features @ shared) * residual[:, None]
    values, axes = np.linalg.eigh(scores.T @ scores)
    new = values > 1e-6 * max(float(values.max()), 1e-12)
    if len(scores) < 10 * (features.shape[1] + np.count_nonzero(new)) or not new.any():
        return None
    statistic = float(np.sum((scores.sum(axis=0) @ axes[:, new]) ** 2 / values[new]))
    return float(gammaincc(np.count_nonzero(new) / 2.0, statistic / 2.0))


def fit_decided(
    verdicts: Verdicts, model: LengthModel, gamed: GamedBaselines | None = None, *, looks: int | None = None
) -> LengthFit | None:
    """Return the length model of a system's verdicts, None on too few.

    `equal_length` is fitted to the pairs that are decided: no taste moves a tie, and ties would make a strong taste
    look like a weak one.

    Args:
        verdicts: All present.
        model: Which length model.
        gamed: The official regulariser, if the model needs it.
        looks: As for `findings.assess`.
    """
    judged = verdicts.at(_decided(verdicts, model)).judged(model)
    if looks is not None:
        return fit_so_far(judged, model, gamed, planned=max(looks, len(judged)))
    return fit_length_model(design_for(model, judged, gamed)) if len(judged) else None


def spread_out(verdicts: Verdicts, fit: LengthFit) -> Floats:
    """Return a pseudo-value of the win rate at equal length for each row, in percent; that of a tie is 50.

    Args:
        verdicts: All present.
        fit: Of `fit_decided`.
    """
    return _around_ties(verdicts, fit.design.name, fit.win_rate + influence_values(fit))


def _decided(verdicts: Verdicts, model: LengthModel) -> Bools:
    decided: Bools = verdicts.won != 0.5
    return decided if model == "equal_length" else np.ones(len(decided), dtype=bool)


def _around_ties(verdicts: Verdicts, model: LengthModel, of_decided: Floats) -> Floats:
    values = np.full(len(verdicts.won), 50.0)
    values[_decided(verdicts, model)] = of_decided
    return values


def _with_taste(verdicts: Verdicts, model: LengthModel, slope: float) -> Floats:
    judged = verdicts.at(_decided(verdicts, model)).judged(model)
    return _around_ties(verdicts, model, with_taste(judged, slope))


def _consistency(side: Verdicts) -> PositionConsistency | None:
    """On which pairs the judge keeps its side, by prompt; None if that was not tried."""
    found, prompt = position_consistency(side.baseline_first, side.system_first, side.same), side.prompt
    if found is None or prompt is None:
        return found
    tried = ~np.isnan(found.values)
    rows = np.bincount(prompt, weights=tried)
    sums = np.bincount(prompt, weights=np.where(tried, found.values, 0.0))
    values = np.where(rows > 0, sums / np.maximum(rows, 1), np.nan)
    return replace(found, values=values, pairs=int(np.count_nonzero(rows)))


def _gap(rates: Sequence[Floats]) -> Floats:
    """Points by which the system is better, from each side's rate in percent."""
    return rates[0] - 50.0 if len(rates) == 1 else rates[0] - rates[1]


def _ratio(side: Verdicts) -> float:
    return float(2.0 ** -doublings(side.length, side.opponent_length).mean())


def _side(found: Assessment) -> int:
    """On which side the advice is: 1 for the system, -1 for the baseline, 0 for neither."""
    if found.finding in (Finding.BETTER, Finding.GOOD_ENOUGH):
        return 1
    return -1 if found.finding in (Finding.WORSE, Finding.SLIGHTLY_WORSE) else 0
