"""All figures of one system's annotations: counts, win rate, length-controlled win rate and its error."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from moa.errors import EvaluationDataError
from moa.evaluation._data.annotations import WinRate, count_wins
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
from moa.evaluation._metrics.evidence import fit_decided, spread_out
from moa.evaluation._metrics.verdicts import Annotations
from moa.evaluation._statistics.array_types import Floats
from moa.evaluation._statistics.estimates import LEVEL, Interval
from moa.evaluation._statistics.sample_means import by_prompt, mean_with_interval

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
    verdicts: Annotations,
    data: AlpacaEvalData | None = None,
    *,
    align: Align = "instruction",
    model: LengthModel | None = None,
    level: float = LEVEL,
) -> Metrics:
    """Return all figures of one system's annotations.

    Args:
        verdicts: Of one system against one baseline.
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
    system, baseline = _only(verdicts.systems, "generator_2"), _only(verdicts.opponents, "generator_1")
    name, reason = choose_model(verdicts, data, align) if model is None else (model, _asked_for(model, baseline))
    fit = None if system == baseline else fit_verdicts(verdicts, data, name, align)
    by_construction = 50.0 if system == baseline else None
    if system == baseline:
        reason = "50 by construction: the system is the baseline"
    elif fit is None:
        reason = f"no figure: fewer than {MIN_JUDGED} verdicts"
    interval, win_rate = None, by_construction if fit is None else fit.win_rate
    if fit is not None:
        found = mean_with_interval(_values(verdicts, fit), center=50.0, level=level)
        interval, win_rate = found.interval, found.value if name == "equal_length" else fit.win_rate
    return Metrics(
        system=system,
        baseline=baseline,
        counts=count_wins(verdicts.won),
        avg_length=int(np.mean(verdicts.length)),
        length_controlled_win_rate=win_rate,
        lc_standard_error=None if fit is None else lc_standard_error(fit),
        lc_interval=interval,
        official_lc_standard_error=None if fit is None else fit.official_standard_error,
        lc_model=name,
        lc_reason=reason,
        fit=fit,
    )


def _values(verdicts: Annotations, fit: LengthFit) -> Floats:
    """A pseudo-value of the figure at equal length for each prompt, in percent."""
    if fit.design.name == "equal_length":
        verdicts = verdicts.at(~np.isnan(verdicts.won))
        decided = fit_decided(verdicts, "equal_length")
        if decided is not None:
            return by_prompt(spread_out(verdicts, decided), verdicts.prompt)
    return by_prompt(fit.win_rate + influence_values(fit), fit.design.judged.prompt)


def choose_model(
    verdicts: Annotations, data: AlpacaEvalData | None, align: Align = "instruction"
) -> tuple[LengthModel, str]:
    """Return the length model that fits prompts and baseline, and why; as `model_for`."""
    return model_for(verdicts.opponents[0], verdicts.instruction.tolist(), data, align)


def model_for(
    baseline: str, instructions: Sequence[str], data: AlpacaEvalData | None, align: Align = "instruction"
) -> tuple[LengthModel, str]:
    """Return the length model that fits a baseline's name and these instructions, and why.

    Args:
        baseline: Its name.
        instructions: The prompts' texts.
        data: AlpacaEval's reference data, or None.
        align: How rows find their difficulty.

    Returns:
        The model's name and a sentence.
    """
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


def fit_verdicts(
    verdicts: Annotations, data: AlpacaEvalData | None, name: LengthModel, align: Align
) -> LengthFit | None:
    """Return the fit of the named length model, or None on too few verdicts; see `with_difficulty` for the rest."""
    judged = with_difficulty(verdicts, data, name, align).judged(name)
    return fit_length_model(design_for(name, judged, None if data is None else data.gamed))


def with_difficulty(
    verdicts: Annotations, data: AlpacaEvalData | None, name: LengthModel, align: Align = "instruction"
) -> Annotations:
    """Return verdicts with the difficulties that a length model needs.

    Args:
        verdicts: Of one system against one baseline.
        data: AlpacaEval's reference data, or None.
        name: Which model.
        align: How rows find their difficulty.

    Raises:
        EvaluationDataError: The model needs difficulties and the prompts have none, or there are more rows than
            could be aligned by row.
    """
    if name not in WITH_DIFFICULTY:
        return verdicts
    difficulty = None if data is None else _difficulties(verdicts, data, align)
    if difficulty is None:
        raise EvaluationDataError(
            f"{name} needs AlpacaEval's reference data and only its prompts; use equal_length for other prompts"
        )
    return replace(verdicts, difficulty=difficulty)


def _difficulties(verdicts: Annotations, data: AlpacaEvalData, align: Align) -> Floats | None:
    if align == "instruction":
        places = data.places(verdicts.instruction.tolist())
        return None if places is None else data.difficulty[places]
    if len(verdicts) > len(data.difficulty):
        raise EvaluationDataError(
            f"{len(verdicts)} annotations can't be aligned by row with {len(data.difficulty)} instructions: "
            "align them by instruction"
        )
    return data.difficulty[: len(verdicts)]


def _asked_for(model: LengthModel, baseline: str) -> str:
    if baseline == BASELINE or model not in WITH_DIFFICULTY:
        return "as asked for"
    return f"as asked for, though difficulties were measured against {BASELINE}, not against {baseline}"


def _only(names: Sequence[str], field: Literal["generator_1", "generator_2"]) -> str:
    if len(names) != 1:
        found = ", ".join(names) if names else "none"
        raise EvaluationDataError(f"needs annotations of exactly one {field}, found {found}")
    return names[0]
