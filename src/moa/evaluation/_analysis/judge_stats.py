"""How a judge did: what it cost, how long it took, which verdicts are missing, where it changed its mind."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from moa.evaluation._data.annotations import NO_BASELINE
from moa.evaluation._judges.panel import Agreement, agreement
from moa.evaluation._metrics.verdicts import Annotations
from moa.evaluation._statistics.array_types import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeStats:
    """How a judge did on one system's pairs.

    Attributes:
        n: Pairs; those in which the other side has no output are none.
        missing: Verdicts that could not be had.
        reasons: Why, with counts.
        ties: Share of the verdicts, 0-1, that are a draw; None without any.
        flips: Share of the pairs shown in both orders, 0-1, on which the judge changed sides; None if none was.
        consistent_win_rate: Win rate in percent among the pairs on which it did not; None if there is none.
        usd: US dollars for all pairs; None if any price is unknown. A verdict that was taken over, as another system
            had the same output, was paid there; its time counts there too.
        seconds: Time of all verdicts added up, in seconds, as if they had been asked for one after another; None if any
            is unknown.
        agreement: Of a panel's members; None for one judge.
        dropped: What the service of a judge refuses and was left out of what it was asked, e.g. `temperature`.
    """

    n: int
    missing: int
    reasons: Mapping[str, int]
    ties: float | None
    flips: float | None
    consistent_win_rate: float | None
    usd: float | None
    seconds: float | None
    agreement: Agreement | None
    dropped: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        found = self.agreement
        kappas = None
        if found is not None:
            pairs = [{"judges": list(names), "cohen_kappa": kappa} for names, kappa in found.pairs.items()]
            kappas = {"n": found.n, "fleiss_kappa": found.fleiss, "pairs": pairs}
        return {
            "n": self.n,
            "missing": self.missing,
            "missing_reasons": dict(self.reasons),
            "tie_rate": self.ties,
            "flip_rate": self.flips,
            "kept_win_rate": self.consistent_win_rate,
            "usd": self.usd,
            "seconds": self.seconds,
            "agreement": kappas,
            **({"dropped": list(self.dropped)} if self.dropped else {}),
        }


def judge_record(verdicts: Annotations) -> JudgeStats:
    """Return how the judge did. Verdicts of other programs have no orders, prices or failures: these are unknown."""
    rows = verdicts.at(np.array([why != NO_BASELINE for why in verdicts.unasked], dtype=np.bool_))
    given = rows.won[~np.isnan(rows.won)]
    orders = np.stack([rows.baseline_first, rows.system_first])
    is_tried = ~np.isnan(orders).any(axis=0)
    is_flipped = is_tried & (orders.min(axis=0) < 0.5) & (orders.max(axis=0) > 0.5)
    consistent = rows.won[is_tried & ~is_flipped & ~np.isnan(rows.won)]
    reasons = Counter(failure["code"] for failure in rows.failure if failure)
    panel = zip(*map(_known, rows.by_judge.values()), strict=True)
    return JudgeStats(
        n=len(rows),
        missing=len(rows) - len(given),
        reasons=dict(reasons.most_common()),
        ties=np.count_nonzero(given == 0.5) / len(given) if len(given) else None,
        flips=np.count_nonzero(is_flipped) / np.count_nonzero(is_tried) if is_tried.any() else None,
        consistent_win_rate=100.0 * sum(consistent.tolist()) / len(consistent) if len(consistent) else None,
        usd=_sum(rows.usd),
        seconds=_sum(rows.seconds),
        dropped=tuple(sorted(rows.dropped)),
        agreement=agreement([dict(zip(rows.by_judge, preferences, strict=True)) for preferences in panel]),
    )


def _known(column: Floats) -> list[float | None]:
    return [None if math.isnan(value) else value for value in column.tolist()]


def _sum(figures: Floats) -> float | None:
    """The sum of a figure over all rows, None if one of them lacks it."""
    return None if np.isnan(figures).any() else sum(figures.tolist())
