"""The best of a mixture's models alone, by figures in which its being picked as the best plays no part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moa.evaluation._length_control.models import GamedBaselines, LengthModel
from moa.evaluation._metrics.evidence import Evidence, weigh
from moa.evaluation._metrics.verdicts import Verdicts
from moa.evaluation._statistics.array_types import Bools
from moa.evaluation._statistics.findings import Assessment, assess
from moa.evaluation._statistics.position_consistency import least
from moa.evaluation._statistics.sample_means import DIFFERENCE, MARGIN

FOLDS = 2

STRICT = 0.99
"""Level at which a single model has to be good enough where the mixture is not: there it is a second way to a yes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleModel:
    """The best single model against the mixture and against the baseline.

    Attributes:
        name: The one with the highest figure on all prompts.
        of: Among how many.
        to_mixture: What is shown about it and the mixture: the gap is the model's less the mixture's.
        to_baseline: What is shown about it and the baseline.
        strictly: The same at the level `STRICT`.
    """

    name: str
    of: int
    to_mixture: Assessment
    to_baseline: Assessment
    strictly: Assessment


def best_single_model(
    mixture: Evidence, models: Mapping[str, Evidence], *, margin: float = MARGIN, looks: int | None = None
) -> SingleModel | None:
    """Return the best of several models by cross-fitting; None without any.

    Each half of the prompts is judged by the model that is the best on the other half: the best of several looks
    better than it is on the prompts that it was picked by.

    Args:
        mixture: What the verdicts show about the mixture and the baseline.
        models: The same about each single model, on the same prompts. Those whose length can't be told from their
            quality are left out.
        margin: Percentage points.
        looks: As for `findings.assess`.

    Source:
        Chernozhukov et al. 2018, The Econometrics Journal 21(1): cross-fitting.
    """
    names = [name for name, found in models.items() if found.length.is_identified]
    if not names:
        return None
    values = np.stack([models[name].controlled_gaps for name in names])
    fold = np.arange(values.shape[1]) % FOLDS
    totals = values.sum(axis=1)
    picked = np.empty(values.shape[1])
    for number in range(FOLDS):
        held_out = fold == number
        picked[held_out] = values[np.argmax(totals - values[:, held_out].sum(axis=1))][held_out]
    name = names[int(np.argmax(totals))]
    consistency = least([mixture.consistency, models[name].consistency])
    return SingleModel(
        name=name,
        of=len(names),
        to_mixture=assess(picked - mixture.controlled_gaps, consistency, margin=margin, most=DIFFERENCE, looks=looks),
        to_baseline=assess(picked, consistency, margin=margin, most=mixture.most, looks=looks),
        strictly=assess(picked, consistency, margin=margin, most=mixture.most, looks=looks, level=STRICT),
    )


def weigh_all(
    sides: Sequence[Verdicts],
    models: Mapping[str, Verdicts],
    name: LengthModel | None,
    gamed: GamedBaselines | None = None,
    *,
    margin: float = MARGIN,
    looks: int | None = None,
) -> tuple[Evidence | None, SingleModel | None]:
    """Return what is shown about a mixture and a baseline, and about the best of its models alone.

    Args:
        sides: As for `weigh`.
        models: Verdicts on each model alone, on the same prompts in the same order.
        name: Which length model.
        gamed: The official regulariser, if the model needs it.
        margin: Percentage points.
        looks: As for `findings.assess`.
    """
    evidence = weigh(sides, name, gamed, margin=margin, looks=looks)
    # All of them on the same prompts: those on which each has a verdict.
    rows: Bools = np.logical_and.reduce([~np.isnan(one.won) for one in (*sides, *models.values())])
    if evidence is None or not models or not rows.any():
        return evidence, None
    mixture = evidence
    if not np.array_equal(rows, evidence.rows):
        mixture = weigh([side.at(rows) for side in sides], name, gamed, margin=margin, looks=looks) or evidence
    others = [side.at(rows) for side in sides[1:]]
    alone = {
        model: found
        for model, verdicts in models.items()
        if (found := weigh([verdicts.at(rows), *others], name, gamed, margin=margin, looks=looks)) is not None
    }
    return evidence, best_single_model(mixture, alone, margin=margin, looks=looks)
