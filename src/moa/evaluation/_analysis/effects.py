"""What each proposer adds to a mixture, and what the order of proposals does to its answers."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from moa.evaluation._analysis.collected import Collected, Evaluated, Texts
from moa.evaluation._analysis.verbatim_overlap import differs
from moa.evaluation._data.reference_data import AlpacaEvalData
from moa.evaluation._metrics.paired_difference import compare
from moa.evaluation._statistics.estimates import LEVEL, Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """The mixture against its aggregator over the same proposals without one proposer's, or in another order.

    Attributes:
        name: The other system's name.
        leaves_out: Whether a proposer is left out; else the order is another one.
        difference: Mixture less the other, in points, paired by prompt; None where nothing was judged, or on too
            little data. Length-controlled where there is such a figure.
        of: How many such systems the interval holds for at once.
        changed: Prompts on which the two answers differ materially; see `copying.differs`.
        n: Prompts on which the aggregator answered again, and both have an answer.
        sentence: What it says.
    """

    name: str
    leaves_out: bool
    difference: Estimate | None
    of: int
    changed: int
    n: int
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        found = self.difference
        return {
            "name": self.name,
            "role": "without" if self.leaves_out else "shuffled",
            "difference": None if found is None else found.value,
            "interval": None if found is None else found.interval.ends,
            "level": None if found is None else found.interval.level,
            "of": self.of,
            "changed": self.changed,
            "n": self.n,
            "sentence": self.sentence,
        }


def effect(
    mixture: Evaluated,
    other: Evaluated,
    evaluation: Collected,
    texts: Texts,
    *,
    leaves_out: bool,
    of: int = 1,
    data: AlpacaEvalData | None = None,
    seed: int = 0,
    is_compared: bool = True,
) -> Effect:
    """Return how the mixture compares with one of its variants.

    Args:
        mixture: The full mixture.
        other: The variant.
        evaluation: Of which both are part.
        texts: What they wrote.
        leaves_out: As in `Effect`.
        of: How many variants are looked at together: the interval holds for all of them at once (Bonferroni).
        data: AlpacaEval's reference data, or None for other prompts.
        seed: Of the bootstrap.
        is_compared: Whether the judge can tell: no difference is taken by one that can't.

    Raises:
        EvaluationDataError: Annotations don't belong together.
    """
    difference = _difference(mixture, other, 1.0 - (1.0 - LEVEL) / of, data, seed) if is_compared else None
    both = np.flatnonzero(mixture.answers.has_output & other.answers.has_output).tolist()
    changed = 0
    for index in (evaluation.instructions[row].index for row in both):
        found = texts.records((mixture.name, other.name), index)
        changed += differs(found[mixture.name].output, found[other.name].output)
    finding = f"{other.name}: the judge can't tell them apart."
    if is_compared:
        finding = _difference_sentence(mixture.name, other.name, difference, leaves_out=leaves_out)
    return Effect(
        name=other.name,
        leaves_out=leaves_out,
        difference=difference,
        of=of,
        changed=changed,
        n=len(both),
        sentence=f"{finding} {changed} of {len(both)} answers differ materially.",
    )


def _difference(
    mixture: Evaluated, other: Evaluated, level: float, data: AlpacaEvalData | None, seed: int
) -> Estimate | None:
    if mixture.verdicts is None or other.verdicts is None:
        return None
    both = compare(mixture.verdicts, other.verdicts, data, seed=seed, level=level)
    return both.lc_difference or both.win_rate_difference


def _difference_sentence(mixture: str, other: str, difference: Estimate | None, *, leaves_out: bool) -> str:
    if difference is None:
        return f"{other}: too little is judged to compare it with {mixture}."
    found = difference.interval
    finding = "That proposer helps." if found.low > 0 else "That proposer harms: leave it out."
    if found.low <= 0 <= found.high:
        finding = "No effect is shown."
    elif not leaves_out:
        finding = "The order of proposals matters."
    return f"{mixture} less {other}: {difference.value:+.1f} points, {found:+.1f}. {finding}"
