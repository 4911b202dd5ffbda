"""How a judge did: what it cost, how long it took, which verdicts are missing, where it changed its mind."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moa.evaluation._data.annotations import DRAW, NO_BASELINE, Judgement
from moa.evaluation._judges.panel import Agreement, agreement


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


def judge_record(rows: Sequence[Judgement]) -> JudgeStats:
    """Return how the judge did. Verdicts of other programs have no orders, prices or failures: these are unknown."""
    rows = [row for row in rows if row.verdict != NO_BASELINE]
    given = [row.preference for row in rows if row.preference is not None]
    flips = [row.flipped for row in rows if row.flipped is not None]
    consistent = [(row.preference or DRAW) - 1.0 for row in rows if row.flipped is False and row.preference is not None]
    reasons = Counter(row.failure["code"] for row in rows if row.failure)
    return JudgeStats(
        n=len(rows),
        missing=len(rows) - len(given),
        reasons=dict(reasons.most_common()),
        ties=sum(preference in (0, DRAW) for preference in given) / len(given) if given else None,
        flips=sum(flips) / len(flips) if flips else None,
        consistent_win_rate=100.0 * sum(consistent) / len(consistent) if consistent else None,
        usd=_sum([row.price_per_example for row in rows]),
        seconds=_sum([row.time_per_example for row in rows]),
        dropped=tuple(sorted({part for row in rows for part in row.dropped})),
        agreement=agreement([dict(row.by_judge) for row in rows if row.by_judge]),
    )


def _sum(figures: Sequence[float | None]) -> float | None:
    """The sum of a figure over all rows, None if one of them lacks it."""
    known = [one for one in figures if one is not None]
    return sum(known) if len(known) == len(figures) else None
