"""Several judges as one: the mean of their verdicts, and how far they agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import numpy as np

from moa._ledger import Ledger
from moa._runtime.engine import Engine
from moa.evaluation._data.annotations import SIDES, preferred
from moa.evaluation._judges.base import Judge, Pair, Verdict
from moa.evaluation._judges.judge_calls import carrying_ledgers, judgements, together
from moa.evaluation._statistics.agreement import cohen_kappa, fleiss_kappa


def panel(judges: Sequence[Judge]) -> Judge:
    """Return judges that each see every pair as one; its preference is the mean of those that gave a verdict."""

    async def judge(engine: Engine, pair: Pair, *, again: int = 0, both: bool = False) -> Verdict:
        ledgers = list[Ledger]()

        async def ask(one: Judge) -> Verdict:
            verdict = await one.judge(engine, pair, again=again, both=both)
            ledgers.append(verdict.ledger)
            return verdict

        with carrying_ledgers(ledgers):
            verdicts = await together(*map(ask, judges))
        known = [verdict.preference for verdict in verdicts if verdict.preference is not None]
        failures = [verdict.failure for verdict in verdicts if verdict.failure is not None]
        return Verdict(
            preference=fmean(known) if known else None,
            raw=tuple(text for verdict in verdicts for text in verdict.raw),
            orders=_mean_orders(verdicts),
            by_judge={one.name: verdict.preference for one, verdict in zip(judges, verdicts, strict=True)},
            ledger=judgements(verdict.ledger for verdict in verdicts),
            seconds=max(verdict.seconds for verdict in verdicts),
            failure=None if known or not failures else failures[0],
        )

    return Judge(
        name="panel:" + "+".join(one.name for one in judges),
        models=tuple(dict.fromkeys(model for one in judges for model in one.models)),
        judge=judge,
        shows_both=all(one.shows_both for one in judges),
    )


def _mean_orders(verdicts: Sequence[Verdict]) -> tuple[float | None, ...]:
    """The panel's preference under each order of showing, where all of its members were asked in both."""
    if not all(len(verdict.orders) == 2 for verdict in verdicts):
        return ()
    columns = zip(*(verdict.orders for verdict in verdicts), strict=True)
    return tuple(fmean(known) if (known := [v for v in column if v is not None]) else None for column in columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far judges agree beyond chance, on the pairs that all of them judged.

    Attributes:
        n: How many pairs those are.
        pairs: Cohen's kappa of every two judges; None where chance alone explains everything.
        fleiss: Fleiss' kappa of all of them.
    """

    n: int
    pairs: dict[tuple[str, str], float | None]
    fleiss: float | None


def agreement(by_judge: Sequence[dict[str, float | None]]) -> Agreement | None:
    """Return how far the members of a panel agree on baseline, draw or system.

    Args:
        by_judge: For each pair, each member's preference (1 to 2) by its name.

    Returns:
        The kappas, or None for fewer than two judges.
    """
    names = list(dict.fromkeys(name for verdicts in by_judge for name in verdicts))
    if len(names) < 2:
        return None
    rows = [[verdicts.get(name) for name in names] for verdicts in by_judge]
    labels = [[preferred(value) for value in row if value is not None] for row in rows if None not in row]
    columns = {name: [row[place] for row in labels] for place, name in enumerate(names)}
    counts = np.array([[row.count(label) for label in SIDES] for row in labels], dtype=np.int64)
    return Agreement(
        n=len(labels),
        pairs={(one, other): cohen_kappa(columns[one], columns[other]) for one, other in combinations(names, 2)},
        fleiss=fleiss_kappa(counts) if labels else None,
    )
