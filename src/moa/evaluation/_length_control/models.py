"""Length-controlled win rates: the models, their point estimates, and predictions at equal length.

A system's preferences are regressed on tanh(length difference / its standard deviation), on how hard the
instruction is and on a constant; the win rate is then predicted for a length difference of zero.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from moa.evaluation._length_control.folds import FoldOrder, fold_of_rows
from moa.evaluation._length_control.glm_path import STRENGTHS, Rows, fit_by_cross_validation
from moa.evaluation._length_control.l1_logistic import fit_exactly
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

LOOK_STRENGTH = float(STRENGTHS[5])
"""C of a fit to a part of the prompts, at full count: what the official cross-validation chooses for about half of the
leaderboard's models; for the others the figure moves by less than 0.2 points. Cross-validation would take a hundred
times as long and choose another strength at each look."""

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

    @property
    def n_verdicts(self) -> int:
        """How many rows have one."""
        return int(np.count_nonzero(self.present))

    @property
    def n_prompts(self) -> int:
        """How many prompts the rows are about."""
        return len(self) if self.prompt is None else int(self.prompt.max()) + 1


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

    Raises:
        ValueError: The model needs difficulties and there are none.
    """

    name: LengthModel
    judged: Judged
    gamed: GamedBaselines | None = None
    gamed_weight: float = GAMED_WEIGHT

    def __post_init__(self) -> None:
        if self.name in WITH_DIFFICULTY and self.judged.difficulty is None:
            raise ValueError("this length model needs the difficulty of every instruction")

    @property
    def has_folds(self) -> bool:
        """Whether the strength of the penalty is chosen by cross-validation, as the official code does."""
        return self.name != "equal_length"

    @property
    def length_features(self) -> int:
        """How many features, the first ones, are about length: 1, or 3 as for `MIN_FOR_FORMS`."""
        has_forms = self.name == "equal_length" and self.judged.doublings is not None
        return 3 if has_forms and self.judged.n_verdicts >= MIN_FOR_FORMS else 1

    @property
    def at_equal_length(self) -> Floats:
        """Features of the system's rows at zero length difference, shape (features, rows)."""
        ones, difficulty = np.ones(len(self.judged)), self.judged.difficulty
        others = [ones] if difficulty is None or self.name not in WITH_DIFFICULTY else [difficulty, ones]
        return np.stack([*[0.0 * ones] * self.length_features, *others])

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

    def predicted(self, weights: Floats) -> Floats:
        """Return the probability 0-1 of a win at equal length on each row, shape (..., rows).

        Args:
            weights: Shape (..., features). The difference of two systems' weights, both against one baseline, predicts
                the one against the other.
        """
        return sigmoid(weights @ self.at_equal_length)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LengthFit:
    """What was fitted, and how it came out.

    Attributes:
        design: What was fitted.
        weights: Of the features, in the order length (one or three), difficulty (if used), constant.
        strength: C, as cross-validation chose it, or as it was given.
    """

    design: Design
    weights: Floats
    strength: float

    @property
    def win_rate(self) -> float:
        """The length-controlled win rate, percent 0-100."""
        return 100.0 * float(np.mean(self.design.predicted(self.weights)))

    @property
    def official_standard_error(self) -> float:
        """What the official code calls `lc_standard_error`, in percentage points.

        It is the spread of the fitted probabilities, which leaves out the error of the weights. Not for tests.
        """
        predicted = self.design.predicted(self.weights)
        return 100.0 * standard_deviation(predicted) / float(np.sqrt(len(predicted)))


def design_for(name: LengthModel, judged: Judged, gamed: GamedBaselines | None = None, *, share: float = 1.0) -> Design:
    """Return the design of the named model.

    Args:
        name: Which model.
        judged: The system's rows; those of the first two models need difficulties.
        gamed: The regulariser, needed by `length_controlled_v1` and ignored by the others.
        share: Which part of the planned prompts is judged, 0-1. The regulariser weighs that much less, so that
            a look at half of the prompts aims at the same figure as the look at all.

    Raises:
        ValueError: The model needs difficulties or the regulariser and they are not given.

    Source:
        alpaca_eval, `metrics/glm_winrate.py`: `GLM_INFO`.
    """
    regularised = name == "length_controlled_v1"
    if regularised and gamed is None:
        raise ValueError("length_controlled_v1 needs the rows of the gamed baselines (df_gamed.csv)")
    used = gamed if regularised else None
    return Design(name=name, judged=judged, gamed=used, gamed_weight=share * GAMED_WEIGHT)


def fit_length_model(design: Design, folds: FoldOrder | int = "published") -> LengthFit | None:
    """Return the win rate at equal length, by the official models as the official code computes it.

    Args:
        design: The model and its rows. Rows without a verdict are left out of the fit but not of the mean.
        folds: As for `fold_of_rows`; ignored by `equal_length`.

    Returns:
        The fit, or None for fewer than `MIN_JUDGED` verdicts.

    Source:
        Dubois et al. 2024, "Length-Controlled AlpacaEval", arXiv 2404.04475, section 3; alpaca_eval,
        `metrics/glm_winrate.py` (`get_length_controlled_winrate`).
    """
    if design.judged.n_verdicts < MIN_JUDGED:
        return None
    if not design.has_folds:
        return _fit_at(design, EQUAL_LENGTH_STRENGTH)
    rows = fitted_rows(design)
    weights, strength = fit_by_cross_validation(rows, fold_of_rows(len(rows), folds))
    return LengthFit(design=design, weights=weights, strength=strength)


def fit_so_far(judged: Judged, name: LengthModel, gamed: GamedBaselines | None, *, planned: int) -> LengthFit | None:
    """Return the exact fit to a part of the prompts, which aims at the same figure as the fit to all of them.

    Regulariser and penalty weigh as much for each prompt as they will in the end.

    Args:
        judged: The verdicts so far.
        name: Which length model.
        gamed: The official regulariser, if the model needs it.
        planned: How many prompts there are in all.

    Returns:
        The fit, or None for fewer than `MIN_JUDGED` verdicts.
    """
    if judged.n_verdicts < MIN_JUDGED:
        return None
    share = min(1.0, len(judged) / planned)
    design = design_for(name, judged, gamed, share=share)
    return _fit_at(design, LOOK_STRENGTH / share if design.has_folds else EQUAL_LENGTH_STRENGTH)


def _fit_at(design: Design, strength: float) -> LengthFit:
    weight, target, features = weighted_rows(design, np.ones((1, len(design.judged)), dtype=np.int64))
    weights = fit_exactly(features, target, weight, strength)[0]
    return LengthFit(design=design, weights=weights, strength=strength)


def fold_spread(design: Design) -> float | None:
    """Return how far the choice of cross-validation folds moves the win rate, in percentage points.

    From the lowest to the highest figure under every documented fold order and ten seeded shuffles; None on too few
    verdicts and for `equal_length`, which is fitted without folds.
    """
    if not design.has_folds:
        return None
    fits = [fit_length_model(design, order) for order in ("published", "stable", *range(_FOLD_SHUFFLES))]
    rates = [fit.win_rate for fit in fits if fit is not None]
    return max(rates) - min(rates) if rates else None


def fitted_rows(design: Design) -> Rows:
    """Return the rows that the official code fits, in its order: those with a verdict, after the regulariser's."""
    weight, target, features = weighted_rows(design, np.ones((1, len(design.judged)), dtype=np.int64))
    return Rows(features=np.ascontiguousarray(features[0].T), target=target, weight=weight[0]).at(weight[0] > 0)


def weighted_rows(design: Design, counts: Ints) -> tuple[Floats, Floats, Floats]:
    """Return what is fitted when prompts count differently.

    Args:
        design: The model and its rows.
        counts: How often each row of the system counts, shape (samples, rows of the system).

    Returns:
        Weights, shape (samples, rows); targets, shape (rows,); features, shape (samples, features, rows); the
        regulariser's rows first. A length feature that is equal everywhere explains nothing, and is 0.
    """
    judged, present = design.judged, design.judged.present
    spread = _spreads(judged.shorter_by, counts)
    features = np.tile(design.at_equal_length, (len(counts), 1, 1))
    features[:, 0, :] = np.tanh(judged.shorter_by / np.where(spread > 0, spread, np.inf)[:, None])
    if design.length_features > 1 and judged.doublings is not None:
        features[:, 1, :] = np.clip(judged.doublings, -LONGEST_RATIO, LONGEST_RATIO)
        features[:, 2, :] = np.sign(judged.shorter_by)
    prior = np.broadcast_to(design.prior_features, (len(counts), *design.prior_features.shape))
    prior_weight = np.full((len(counts), prior.shape[2]), design.gamed_weight)
    weight = np.concatenate([prior_weight, counts * present], axis=1)
    # A missing verdict has weight 0; its target must only be a number.
    target = np.concatenate([design.prior_preference, np.where(present, judged.preference, 0.0)])
    return weight, target, np.concatenate([prior, features], axis=2)


def _spreads(values: Floats, counts: Ints) -> Floats:
    """Return the sample standard deviation of each reweighted sample."""
    total = counts.sum(axis=1)
    centred = values - values.mean()
    mean = counts @ centred / total
    squares = np.maximum(counts @ centred**2 - total * mean**2, 0.0)
    spreads: Floats = np.sqrt(squares / (total - 1))
    return spreads


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
