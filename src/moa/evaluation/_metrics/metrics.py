"""All figures of one system's annotations: counts, win rate, length-controlled win rate and its error."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from moa.errors import EvaluationDataError
from moa.evaluation._data.annotations import Annotation, WinRate, count_wins, win_probabilities
from moa.evaluation._data.reference_data import BASELINE, AlpacaEvalData
from moa.evaluation._length_control.models import (
    MIN_JUDGED,
    WITH_DIFFICULTY,
    LengthFit,
    LengthModel,
    design_for,
    fit_length_model,
)
from moa.evaluation._length_control.standard_errors import influence_values, lc_standard_error
from moa.evaluation._metrics.evidence import Verdicts, fit_decided, spread_out
from moa.evaluation._statistics.array_types import Floats
from moa.evaluation._statistics.estimates import LEVEL, Interval
from moa.evaluation._statistics.sample_means import by_prompt, mean_with_interval, numbered

Align = Literal["instruction", "row"]
"""How a row finds its difficulty: by its instruction, or, as the official code does, by its position in the
file, which is wrong for files with a row missing but is what was published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What one file of annotations says; rates in percent 0-100, errors in percentage points.

    Attributes:
        system: The system's name; `baseline` the other's.
        counts: Win rate and counts, equal to the official code's.
        avg_length: Mean length of the system's outputs in characters, rounded down as on the leaderboard.
        length_controlled_win_rate: None on too few verdicts.
        lc_standard_error: Sampling error, with that of the weights (influence values); None where all verdicts
            are equal.
        lc_interval: From the influence values; see `sample_means.mean_with_interval`.
        official_lc_standard_error: What the official code calls `lc_standard_error`: 2 to 6 times too small.
        lc_model: Which length model.
        lc_reason: Why that model, or why there is no figure; for the report.
        fit: The fit itself, None where there is none.
    """

    system: str
    baseline: str
    counts: WinRate
    avg_length: int
    length_controlled_win_rate: float | None
    lc_standard_error: float | None
    lc_interval: Interval | None
    official_lc_standard_error: float | None
    lc_model: LengthModel
    lc_reason: str
    fit: LengthFit | None

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values, under the names that the official code uses where it has one."""
        interval = self.lc_interval
        return {
            "win_rate": self.counts.win_rate,
            "standard_error": self.counts.standard_error,
            "n_wins": self.counts.n_wins,
            "n_wins_base": self.counts.n_wins_base,
            "n_draws": self.counts.n_draws,
            "n_total": self.counts.n_total,
            "discrete_win_rate": self.counts.discrete_win_rate,
            "avg_length": self.avg_length,
            "length_controlled_win_rate": self.length_controlled_win_rate,
            "lc_standard_error": self.lc_standard_error,
            "lc_interval": None if interval is None else interval.ends,
            "lc_model": self.lc_model,
            "lc_reason": self.lc_reason,
            "official_lc_standard_error": self.official_lc_standard_error,
        }


def metrics(
    annotations: Sequence[Annotation],
    data: AlpacaEvalData | None = None,
    *,
    align: Align = "instruction",
    model: LengthModel | None = None,
    level: float = LEVEL,
) -> Metrics:
    """Return all figures of one system's annotations.

    Args:
        annotations: Of one system against one baseline.
        data: AlpacaEval's reference data, or None for other prompts.
        align: How rows find their difficulty.
        model: Which length model; if not given, the official one where prompts and baseline are AlpacaEval's,
            else `equal_length`.
        level: Confidence of the interval, between 0 and 1.

    Returns:
        The figures.

    Raises:
        EvaluationDataError: There is no annotation, there are several systems or baselines, or the model that
            was asked for does not fit the prompts.
    """
    system, baseline = _only(annotations, "generator_2"), _only(annotations, "generator_1")
    name, reason = choose_model(annotations, data, align) if model is None else (model, _asked_for(model, baseline))
    fit = None if system == baseline else fit_annotations(annotations, data, name, align)
    by_construction = 50.0 if system == baseline else None
    if system == baseline:
        reason = "50 by construction: the system is the baseline"
    elif fit is None:
        reason = f"no figure: fewer than {MIN_JUDGED} verdicts"
    interval, win_rate = None, by_construction if fit is None else fit.win_rate
    if fit is not None:
        found = mean_with_interval(_values(annotations, fit), center=50.0, level=level)
        interval, win_rate = found.interval, found.value if name == "equal_length" else fit.win_rate
    return Metrics(
        system=system,
        baseline=baseline,
        counts=count_wins(win_probabilities(annotations)),
        avg_length=int(np.mean([len(a.output_2) for a in annotations])),
        length_controlled_win_rate=win_rate,
        lc_standard_error=None if fit is None else lc_standard_error(fit),
        lc_interval=interval,
        official_lc_standard_error=None if fit is None else fit.official_standard_error,
        lc_model=name,
        lc_reason=reason,
        fit=fit,
    )


def _values(annotations: Sequence[Annotation], fit: LengthFit) -> Floats:
    """A pseudo-value of the figure at equal length for each prompt, in percent."""
    if fit.design.name == "equal_length":
        verdicts = verdicts_of(annotations)
        verdicts = verdicts.at(~np.isnan(verdicts.won))
        decided = fit_decided(verdicts, "equal_length")
        if decided is not None:
            return by_prompt(spread_out(verdicts, decided), verdicts.prompt)
    return by_prompt(fit.win_rate + influence_values(fit), fit.design.judged.prompt)


def choose_model(
    annotations: Sequence[Annotation], data: AlpacaEvalData | None, align: Align = "instruction"
) -> tuple[LengthModel, str]:
    """Return the length model that fits prompts and baseline, and why.

    Args:
        annotations: Of one system against one baseline.
        data: AlpacaEval's reference data, or None.
        align: How rows find their difficulty.

    Returns:
        The model's name and a sentence.
    """
    return model_for(annotations[0].generator_1, [a.instruction for a in annotations], data, align)


def model_for(
    baseline: str, instructions: Sequence[str], data: AlpacaEvalData | None, align: Align = "instruction"
) -> tuple[LengthModel, str]:
    """Return the length model that fits a baseline's name and these instructions, and why; as `choose_model`."""
    if data is None:
        return "equal_length", "no AlpacaEval reference data was given"
    places = data.places(instructions)
    if places is None:
        return "equal_length", "not all prompts are AlpacaEval's, so their difficulty is unknown"
    if baseline != BASELINE:
        return "equal_length", f"difficulties were measured against {BASELINE}, not against {baseline}"
    reason = f"AlpacaEval's prompts against {BASELINE}"
    missing = len(data.difficulty) - len(set(places))
    if missing and align == "instruction":
        reason += (
            f", {missing} of {len(data.difficulty)} missing: published figures of such files align by row (--align row)"
        )
    return "length_controlled_v1", reason


def fit_annotations(
    annotations: Sequence[Annotation], data: AlpacaEvalData | None, name: LengthModel, align: Align
) -> LengthFit | None:
    """Return the fit of the named length model, or None on too few verdicts.

    Args:
        annotations: Of one system against one baseline.
        data: AlpacaEval's reference data, or None.
        name: Which model.
        align: How rows find their difficulty.

    Returns:
        The fit.

    Raises:
        EvaluationDataError: The model needs difficulties and the prompts have none, or there are more rows than
            could be aligned by row.
    """
    needs_difficulty = name in WITH_DIFFICULTY
    difficulty = _difficulties(annotations, data, align) if needs_difficulty and data is not None else None
    if needs_difficulty and difficulty is None:
        raise EvaluationDataError(
            f"{name} needs AlpacaEval's reference data and only its prompts; use equal_length for other prompts"
        )
    judged = verdicts_of(annotations, difficulty).judged(name)
    return fit_length_model(design_for(name, judged, None if data is None else data.gamed))


def comparable_verdicts(
    systems: Sequence[Sequence[Annotation]],
    data: AlpacaEvalData | None,
    name: LengthModel,
    align: Align = "instruction",
) -> list[Verdicts]:
    """Return systems' verdicts as arrays, each with the difficulties that the length model needs.

    Args:
        systems: Annotations of each, on the same prompts in the same order.
        data: AlpacaEval's reference data, or None.
        name: Which length model.
        align: How rows find their difficulty.
    """
    needs_difficulty = name in WITH_DIFFICULTY and data is not None
    return [
        verdicts_of(rows, _difficulties(rows, data, align) if needs_difficulty and data is not None else None)
        for rows in systems
    ]


def verdicts_of(annotations: Sequence[Annotation], difficulty: Floats | None = None) -> Verdicts:
    """Return annotations as arrays."""
    orders = [a.orders if len(a.orders) == 2 else (None, None) for a in annotations]
    tried = np.array([[math.nan if one is None else one - 1.0 for one in both] for both in orders]).reshape(-1, 2)
    return Verdicts(
        won=win_probabilities(annotations),
        length=np.array([float(len(a.output_2)) for a in annotations]),
        opponent_length=np.array([float(len(a.output_1)) for a in annotations]),
        baseline_first=tried[:, 0],
        system_first=tried[:, 1],
        same=np.array([a.output_1 == a.output_2 for a in annotations]),
        difficulty=difficulty,
        prompt=numbered([a.instruction for a in annotations]),
    )


def _difficulties(annotations: Sequence[Annotation], data: AlpacaEvalData, align: Align) -> Floats | None:
    if align == "instruction":
        places = data.places([a.instruction for a in annotations])
        return None if places is None else data.difficulty[places]
    if len(annotations) > len(data.difficulty):
        raise EvaluationDataError(
            f"{len(annotations)} annotations can't be aligned by row with {len(data.difficulty)} instructions: "
            "align them by instruction"
        )
    return data.difficulty[: len(annotations)]


def _asked_for(model: LengthModel, baseline: str) -> str:
    if baseline == BASELINE or model not in WITH_DIFFICULTY:
        return "as asked for"
    return f"as asked for, though difficulties were measured against {BASELINE}, not against {baseline}"


def _only(annotations: Sequence[Annotation], field: Literal["generator_1", "generator_2"]) -> str:
    names = sorted({getattr(a, field) for a in annotations})
    if len(names) != 1:
        found = ", ".join(names) if names else "none"
        raise EvaluationDataError(f"needs annotations of exactly one {field}, found {found}")
    return str(names[0])
