"""A length model fitted to a part of the prompts, so that it aims at the same figure as the fit to all of them."""

import numpy as np

from moa.evaluation._length_control.glm_path import STRENGTHS, PathFit
from moa.evaluation._length_control.l1_logistic import fit_exactly
from moa.evaluation._length_control.models import (
    EQUAL_LENGTH_STRENGTH,
    MIN_JUDGED,
    GamedBaselines,
    Judged,
    LengthFit,
    LengthModel,
    as_length_fit,
    design_for,
)
from moa.evaluation._length_control.refit import weighted_rows

STRENGTH = float(STRENGTHS[5])
"""C of the fit to all prompts: what the official cross-validation chooses for about half of the leaderboard's models;
for the others the figure moves by less than 0.2 points."""


def fit_so_far(judged: Judged, name: LengthModel, gamed: GamedBaselines | None, *, planned: int) -> LengthFit | None:
    """Return the exact fit to a part of the prompts; None for fewer than `MIN_JUDGED` verdicts.

    Regulariser and penalty weigh as much for each prompt as they will in the end; cross-validation would take a
    hundred times as long and choose another strength at each look.

    Args:
        judged: The verdicts so far.
        name: Which length model.
        gamed: The official regulariser, if the model needs it.
        planned: How many prompts there are in all.
    """
    if np.count_nonzero(judged.present) < MIN_JUDGED:
        return None
    share = min(1.0, len(judged) / planned)
    design = design_for(name, judged, gamed, share=share)
    strength = STRENGTH / share if design.has_folds else EQUAL_LENGTH_STRENGTH
    weight, target, features = weighted_rows(design, np.ones((1, len(judged)), dtype=np.int64))
    weights = fit_exactly(features, target, weight, strength)[0]
    return as_length_fit(design, PathFit(weights=weights, strength=strength))
