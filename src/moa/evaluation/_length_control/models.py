"""Length-controlled win rates: the models, their point estimates, and predictions at equal length.

A system's preferences are regressed on tanh(length difference / its standard deviation), on how hard the
instruction is and on a constant; the win rate is then predicted for a length difference of zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from moa.evaluation._length_control.folds import FoldOrder, fold_of_rows, shuffled_folds
from moa.evaluation._length_control.glm_path import PathFit, Rows, fit_at, fit_by_cross_validation
from moa.evaluation._statistics.array_types import Bools, Floats, Ints, sigmoid

LengthModel = Literal["length_controlled_v1", "length_controlled_noreg", "length_controlled_minimal", "equal_length"]
"""The first three are the official code's. `equal_length` is ours, for where there is no difficulty and no
regulariser to be had: other prompts, or another baseline. It has no penalty worth the name, and three length features
where there is data enough: the difference, the ratio, and which output is longer. A judge may like length in any of
these forms."""

WITH_DIFFICULTY: tuple[LengthModel, ...] = ("length_controlled_v1", "length_controlled_noreg")
"""The models that have the instruction's difficulty among their features."""

GAMED_WEIGHT = 0.2 / 2
"""Weight of a gamed baseline's row: lambda 0.2, shared by two baselines (`GLM_INFO` in the official code)."""

EQUAL_LENGTH_STRENGTH = 100.0
"""C of `equal_length`: it moves the win rate by less than 0.1 points at 50 prompts, and only keeps the weights finite
where length decides every verdict. The official cross-validation often chooses a penalty that pins a system about as
good as the baseline to exactly 50%; with two weights and dozens of prompts there is nothing to penalise."""

MIN_JUDGED = 10
"""Fewest preferences for which a length model is fitted: two for each of the five folds."""

MIN_FOR_FORMS = 100
"""Fewest prompts for which `equal_length` has three length features. With fewer, four weights are too many: of 95%
intervals for 40 prompts, 65 to 96 in 100 held the truth, against 92 to 98 with one feature (planted verdicts, win rates
from 10% to 85%)."""

LONGEST_RATIO = 3.0
"""Doublings at which the ratio of lengths is cut: an empty output has no ratio."""

_FOLD_SHUFFLES = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """One system's verdicts against one baseline, usually a row for each prompt.

    Attributes:
        preference: Probability 0-1 that the system wins; NaN where the verdict is missing.
        shorter_by: Characters by which the system's output is shorter than the baseline's.
        difficulty: The official difficulty of each instruction, or None where there is none.
        doublings: How often the system's output would have to be doubled to be as long as the baseline's: the logarithm
            to base 2 of the ratio of lengths, negative where the system's is longer. None if only differences are
            known.
        prompt: Which prompt, numbered from 0 without gaps, each row is about; None where each row has its own.
    """

    preference: Floats
    shorter_by: Floats
    difficulty: Floats | None = None
    doublings: Floats | None = None
    prompt: Ints | None = None

    def __len__(self) -> int:
        return len(self.preference)

    @property
    def present(self) -> Bools:
        """Whether each row has a verdict."""
        return ~np.isnan(self.preference)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GamedBaselines:
    """The official regulariser: the verdicts of the baseline told to be verbose, or concise.

    Attributes:
        preference: Probability 0-1, one for each row.
        std_delta_len: Standardised length difference of each row.
        difficulty: Difficulty of each row's instruction.
    """

    preference: Floats
    std_delta_len: Floats
    difficulty: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Design:
    """What a length model is fitted to, before the length differences are standardised.

    Attributes:
        name: Which model.
        judged: The system's rows.
        gamed: The regulariser's rows, for `length_controlled_v1` only.
        gamed_weight: Weight of each of the regulariser's rows.
    """

    name: LengthModel
    judged: Judged
    gamed: GamedBaselines | None = None
    gamed_weight: float = GAMED_WEIGHT

    @property
    def uses_difficulty(self) -> bool:
        """Whether the instruction's difficulty is one of the features."""
        return self.name in WITH_DIFFICULTY

    @property
    def has_folds(self) -> bool:
        """Whether the strength of the penalty is chosen by cross-validation, as the official code does."""
        return self.name != "equal_length"

    @property
    def length_features(self) -> int:
        """How many features, the first ones, are about length: 1, or 3 as for `MIN_FOR_FORMS`."""
        has_forms = self.name == "equal_length" and self.judged.doublings is not None
        return 3 if has_forms and np.count_nonzero(self.judged.present) >= MIN_FOR_FORMS else 1

    @property
    def at_equal_length(self) -> Floats:
        """Features of the system's rows at zero length difference, shape (features, rows)."""
        ones = np.ones(len(self.judged))
        lengths = [0.0 * ones] * self.length_features
        if not self.uses_difficulty:
            return np.stack([*lengths, ones])
        return np.stack([*lengths, _known(self.judged.difficulty), ones])

    @property
    def prior_features(self) -> Floats:
        """Features of the regulariser's rows, shape (features, rows); no rows if there is none."""
        if self.gamed is None:
            return np.empty((len(self.at_equal_length), 0))
        length = np.tanh(self.gamed.std_delta_len)
        return np.stack([length, self.gamed.difficulty, np.zeros_like(length)])

    @property
    def prior_preference(self) -> Floats:
        """Targets of the regulariser's rows."""
        return np.empty(0) if self.gamed is None else self.gamed.preference


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LengthFit:
    """A length-controlled win rate and the fit that it comes from.

    Attributes:
        design: What was fitted.
        win_rate: Percent 0-100.
        official_standard_error: Percentage points, what the official code calls `lc_standard_error`: the
            spread of the fitted probabilities, which leaves out the error of the weights. Not for tests.
        weights: Of the features, in the order length (one or three), difficulty (if used), constant.
        strength: C, as cross-validation chose it, or `EQUAL_LENGTH_STRENGTH`.
    """

    design: Design
    win_rate: float
    official_standard_error: float
    weights: Floats
    strength: float


def design_for(name: LengthModel, judged: Judged, gamed: GamedBaselines | None = None, *, share: float = 1.0) -> Design:
    """Return the design of the named model.

    Args:
        name: Which model.
        judged: The system's rows; those of the first two models need difficulties.
        gamed: The regulariser, needed by `length_controlled_v1` and ignored by the others.
        share: Which part of the planned prompts is judged, 0-1. The regulariser weighs that much less, so that
            a look at half of the prompts aims at the same figure as the look at all.

    Returns:
        The design.

    Raises:
        ValueError: The model needs difficulties or the regulariser and they are not given.

    Source:
        alpaca_eval, `metrics/glm_winrate.py`: `GLM_INFO`.
    """
    regularised = name == "length_controlled_v1"
    if regularised and gamed is None:
        raise ValueError("length_controlled_v1 needs the rows of the gamed baselines (df_gamed.csv)")
    used = gamed if regularised else None
    design = Design(name=name, judged=judged, gamed=used, gamed_weight=share * GAMED_WEIGHT)
    if design.uses_difficulty:
        _known(judged.difficulty)
    return design


def fit_length_model(design: Design, folds: Ints | FoldOrder = "published") -> LengthFit | None:
    """Return the win rate at equal length, by the official models as the official code computes it.

    Args:
        design: The model and its rows. Rows without a verdict are left out of the fit but not of the mean.
        folds: A named fold order, or the fold of each fitted row (the regulariser's first); ignored by `equal_length`.

    Returns:
        The fit, or None for fewer than `MIN_JUDGED` verdicts.

    Source:
        Dubois et al. 2024, "Length-Controlled AlpacaEval", arXiv 2404.04475, section 3; alpaca_eval,
        `metrics/glm_winrate.py` (`get_length_controlled_winrate`).
    """
    if np.count_nonzero(design.judged.present) < MIN_JUDGED:
        return None
    rows = fitted_rows(design)
    if not design.has_folds:
        return as_length_fit(design, fit_at(rows, EQUAL_LENGTH_STRENGTH))
    fold_numbers = fold_of_rows(len(rows), folds) if isinstance(folds, str) else folds
    return as_length_fit(design, fit_by_cross_validation(rows, fold_numbers))


def fitted_rows(design: Design) -> Rows:
    """Return the rows that the official code fits, in its order."""
    present = design.judged.present
    spread = np.array([standard_deviation(design.judged.shorter_by)])
    features = np.concatenate([design.prior_features, system_features(design, spread)[0][:, present]], axis=1)
    n_prior = design.prior_features.shape[1]
    weight = np.ones(features.shape[1])
    weight[:n_prior] = design.gamed_weight
    target = np.concatenate([design.prior_preference, design.judged.preference[present]])
    return Rows(features=np.ascontiguousarray(features.T), target=target, weight=weight)


def system_features(design: Design, spread: Floats) -> Floats:
    """Return the system's features under each spread.

    Args:
        design: The model and its rows.
        spread: Standard deviations of the length difference, in characters, shape (problems,). Where it is 0
            all differences are equal, length explains nothing, and its feature is 0.

    Returns:
        Shape (problems, features, rows).
    """
    features = np.tile(design.at_equal_length, (len(spread), 1, 1))
    scale = np.where(spread > 0, spread, np.inf)[:, None]
    features[:, 0, :] = np.tanh(design.judged.shorter_by / scale)
    if design.length_features > 1 and design.judged.doublings is not None:
        features[:, 1, :] = np.clip(design.judged.doublings, -LONGEST_RATIO, LONGEST_RATIO)
        features[:, 2, :] = np.sign(design.judged.shorter_by)
    return features


def doublings(system: Floats, baseline: Floats) -> Floats:
    """Return how often each of the system's outputs would have to be doubled to be as long as the baseline's.

    Args:
        system: Characters of the system's outputs, shape (rows,).
        baseline: Characters of the baseline's, likewise; an empty output counts as one character.
    """
    return np.log2(np.maximum(baseline, 1.0) / np.maximum(system, 1.0))


def standard_deviation(values: Floats) -> float:
    """Return the sample standard deviation (n - 1 in the denominator)."""
    return float(np.std(values, ddof=1))


def predict_win_rate(of: Floats, against: Floats, difficulty: Floats) -> float:
    """Return the win rate, percent 0-100, of one model against another from their fitted weights.

    Args:
        of: Weights (length, difficulty, constant) of the model, both fitted against the same baseline.
        against: Weights of the model that it is compared with.
        difficulty: Difficulty of the instructions to predict for.

    Returns:
        The mean predicted probability at equal length, in percent.

    Source:
        alpaca_eval, `metrics/glm_winrate.py`: `predict_winrate`; arXiv 2404.04475, section 3.
    """
    gap = of - against
    return 100.0 * float(np.mean(sigmoid(gap[2] + gap[1] * difficulty)))


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldSensitivity:
    """How far the choice of cross-validation folds moves a length-controlled win rate.

    Attributes:
        by_order: Win rate, percent 0-100, under each documented order and each seeded shuffle.
    """

    by_order: dict[str, float]

    @property
    def spread(self) -> float:
        """Percentage points between the lowest and the highest figure."""
        return max(self.by_order.values()) - min(self.by_order.values())


def fold_sensitivity(design: Design, shuffles: Sequence[int] = range(_FOLD_SHUFFLES)) -> FoldSensitivity | None:
    """Return the win rate under every documented fold order and under seeded shuffles.

    Args:
        design: The model and its rows.
        shuffles: Seeds of the shuffles.

    Returns:
        The figures, or None on too few verdicts and for `equal_length`, which is fitted without folds.
    """
    if not design.has_folds:
        return None
    n_rows = len(fitted_rows(design))
    orders: dict[str, Ints | FoldOrder] = {"published": "published", "stable": "stable"}
    orders |= {f"shuffle {seed}": shuffled_folds(n_rows, seed) for seed in shuffles}
    fits = {name: fit_length_model(design, folds) for name, folds in orders.items()}
    figures = {name: fit.win_rate for name, fit in fits.items() if fit is not None}
    return FoldSensitivity(by_order=figures) if figures else None


def as_length_fit(design: Design, fit: PathFit) -> LengthFit:
    """Return a design's fitted weights together with the win rate that they predict at equal length."""
    predicted = sigmoid(fit.weights @ design.at_equal_length)
    return LengthFit(
        design=design,
        win_rate=100.0 * float(np.mean(predicted)),
        official_standard_error=100.0 * standard_deviation(predicted) / float(np.sqrt(len(predicted))),
        weights=fit.weights,
        strength=fit.strength,
    )


def _known(difficulty: Floats | None) -> Floats:
    if difficulty is None:
        raise ValueError("this length model needs the difficulty of every instruction")
    return difficulty
