"""What people's labels of some pairs say about the judge's win rate."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from moa._render.format import count
from moa.evaluation._data.annotations import preferred
from moa.evaluation._runner.labels import Label
from moa.evaluation._statistics.agreement import cohen_kappa, krippendorff_alpha
from moa.evaluation._statistics.prediction_powered import MIN_LABELS, Corrected, corrected_win_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanCheck:
    """A system's win rate by people, and how far the judge agrees with them.

    Attributes:
        system: Its name; `against` the other's.
        judged: The judge's win rate on all pairs, percent 0-100.
        corrected: People's win rate, by their labels and the judge's verdicts.
        raters: How many people.
        kappa: Cohen's, of the judge and the mean of the people; None where chance alone explains everything.
        alpha: Krippendorff's, of the people; None for one of them.
    """

    system: str
    against: str
    judged: float
    corrected: Corrected
    raters: int
    kappa: float | None
    alpha: float | None

    @property
    def sentence(self) -> str:
        """What it says."""
        found, people = self.corrected.estimate, "1 person" if self.raters == 1 else f"{self.raters} people"
        low, high, n = found.interval.low, found.interval.high, self.corrected.n
        how = "by the labels alone, as they are few" if n < MIN_LABELS else "by the labels and the judge's verdicts"
        kappa = ""
        if self.kappa is not None:
            kappa = f" The judge's agreement with them is a kappa of {self.kappa:.2f} (chance is 0, full agreement 1)."
        alpha = "" if self.alpha is None else f" Among themselves they agree by an alpha of {self.alpha:.2f}."
        return (
            f"{people} labelled {count(n, 'pair')}: {self.system} wins {found.value:.1f}% against {self.against} "
            f"({low:.1f} to {high:.1f}, {how}); by the judge alone it is {self.judged:.1f}%.{kappa}{alpha} "
            "Figures at equal length are not corrected by labels."
        )

    def against_the_judge(self, margin: float) -> str:
        """Return what people say against the judge's win rate, as a clause; empty if they bear it out.

        They do unless the judge's figure is outside of the interval of theirs. Where both are above one half, or both
        below it by more than the margin, they give the same advice all the same.

        Args:
            margin: Points by which a system may be worse and still be comparable.
        """
        found = self.corrected.estimate
        low, high = found.interval.low, found.interval.high
        better = min(low, self.judged) > 50.0
        worse = max(high, self.judged) < 50.0 - margin
        if low <= self.judged <= high or better or worse:
            return ""
        pairs = "1 pair" if self.corrected.n == 1 else f"{self.corrected.n:,} pairs"
        return (
            f"by people's labels of {pairs} {self.system} wins {found.value:.1f}% ({low:.1f} to {high:.1f}), by the "
            f"judge {self.judged:.1f}%"
        )

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        found = self.corrected
        return {
            "system": self.system,
            "against": self.against,
            "labels": found.n,
            "raters": self.raters,
            "judged_win_rate": self.judged,
            "win_rate": found.estimate.value,
            "interval": found.estimate.interval.ends,
            "weight_of_the_judge": found.power,
            "kappa": self.kappa,
            "alpha": self.alpha,
            "sentence": self.sentence,
        }


def human_check(
    system: str, against: str, judged: Mapping[int, float], labels: Mapping[int, Label]
) -> HumanCheck | None:
    """Return what labels say; None without any on a pair that the judge has a verdict on.

    Args:
        system: The system's name.
        against: The opponent's.
        judged: The judge's preference (1 to 2) by the prompt's index, of all pairs that were judged.
        labels: People's, of some of them.
    """
    indices = sorted(judged)
    known = [labels[index] for index in indices if index in labels]
    preferences = np.array([judged[index] - 1.0 for index in indices])
    given = np.array([labels[index].preference - 1.0 if index in labels else np.nan for index in indices])
    chances = np.array([(labels[index].probability if index in labels else None) or 1.0 for index in indices])
    # Pairs that were drawn with the same, unknown probability weigh the same.
    weighted = any(label.probability is not None for label in known)
    corrected = corrected_win_rate(preferences, given, chances if weighted else None) if indices else None
    if corrected is None:
        return None
    both = [(preferred(judged[index]), preferred(labels[index].preference)) for index in indices if index in labels]
    raters = list(dict.fromkeys(name for label in known for name in label.by_rater))
    ratings = [
        [preferred(value) if (value := label.by_rater.get(name)) else None for name in raters] for label in known
    ]
    return HumanCheck(
        system=system,
        against=against,
        judged=100.0 * float(preferences.mean()),
        corrected=corrected,
        raters=len(raters),
        kappa=cohen_kappa(*map(list, zip(*both, strict=True))),
        alpha=krippendorff_alpha(ratings) if len(raters) > 1 else None,
    )
