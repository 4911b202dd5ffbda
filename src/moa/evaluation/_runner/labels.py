"""People's verdicts on pairs: which pair is shown next, blind and in which order, and what is kept of it."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from statistics import fmean

from pydantic import TypeAdapter

from moa.errors import EvaluationDataError, UsageError
from moa.evaluation._data.annotations import DRAW
from moa.evaluation._data.datasets import without_white_space
from moa.evaluation._data.rows import read_rows
from moa.evaluation._judges.base import Pair
from moa.evaluation._runner.store import CellStore, Paid, outputs_key
from moa.evaluation._runner.table import Table

HUMAN = "human"
"""The measure under which labels are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What people say about one pair.

    Attributes:
        by_rater: Each one's preference, from 1 (the baseline's output is better) to 2 (the system's is).
        probability: With which probability the pair was drawn, above 0; None if all with the same.
    """

    by_rater: Mapping[str, float] = field(default_factory=dict)
    probability: float | None = None

    @property
    def preference(self) -> float:
        """The mean of all raters."""
        return fmean(self.by_rater.values())


_LABELS = TypeAdapter(Label)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One pair as a rater sees it: without names, in an order drawn for this rater.

    Attributes:
        pair: Which pair.
        swapped: Whether the system's output is shown first.
        number: From 1; `of`: how many in all.
    """

    pair: Pair
    swapped: bool
    number: int
    of: int

    @property
    def outputs(self) -> tuple[str, str]:
        """A and B."""
        both = (self.pair.output_1, self.pair.output_2)
        return (both[1], both[0]) if self.swapped else both

    def preference(self, choice: str) -> float:
        """Return the preference that `a`, `b` or `tie` stands for."""
        if choice == "tie":
            return DRAW
        return 2.0 if (choice == "a") == self.swapped else 1.0


class Labels:
    """The labels of one system's pairs.

    Args:
        table: What the run has.
        store: Its cells.
        system: The system's name; its outputs are compared with the opponent's.
        seed: Of the order of pairs, and of who is shown first.

    Raises:
        UsageError: The system has no pairs.
    """

    def __init__(self, table: Table, store: CellStore, system: str, *, seed: int = 0) -> None:
        if system not in table.judging.found:
            known = ", ".join(table.judging.found) or "none: nothing has been judged yet"
            raise UsageError(f"there are no judged pairs of {system}; there are of {known}")
        self._store, self._seed = store, seed
        pairs = [pair for one in table.instructions if (pair := table.cells.pair(system, one.index)) is not None]
        # In one random order: whenever people stop, those that are labelled are a simple random sample.
        self.pairs = random.Random(f"labels/{seed}").sample(pairs, len(pairs))
        self._keys = {one.index: one.key for one in table.instructions}
        self.found = labels_of(store)

    def _key(self, pair: Pair) -> tuple[str, str]:
        return self._keys[pair.index], outputs_key(pair.output_1, pair.output_2)

    def left(self, rater: str, count: int) -> list[Shown]:
        """Return which of the first so many pairs a rater has still to see, in their order."""
        first = self.pairs[:count]
        shown = []
        for number, pair in enumerate(first, 1):
            label = self.found.get(self._key(pair))
            if label is None or rater not in label.by_rater:
                swapped = random.Random(f"order/{self._seed}/{rater}/{pair.index}").random() < 0.5
                shown.append(Shown(pair=pair, swapped=swapped, number=number, of=len(first)))
        return shown

    async def keep(self, pair: Pair, rater: str, preference: float, probability: float | None = None) -> None:
        """Keep what a rater says about a pair."""
        key = self._key(pair)
        before = self.found.get(key, Label())
        label = Label(by_rater={**before.by_rater, rater: preference}, probability=probability or before.probability)
        await self._store.put_score(HUMAN, key, _LABELS.dump_python(label, mode="json"), Paid())
        self.found[key] = label

    async def read(self, path: Path, rater: str) -> int:
        """Keep the labels of a table and return how many they are.

        Args:
            path: CSV, JSON, JSON Lines or Parquet; a row has `instruction` (or `prompt`) or `index`, `preference` (1
                to 2, the system's name, the baseline's, or `tie`), maybe `rater` and `probability` (with which it was
                drawn). An instruction may differ in line ends and in the white space around it.
            rater: Whose labels they are where a row doesn't say.

        Raises:
            EvaluationDataError: The file can't be read, or a row can't be used; none of it is kept then.
        """
        by_text = {without_white_space(pair.instruction): pair for pair in self.pairs}
        by_index = {str(pair.index): pair for pair in self.pairs}
        rows: list[tuple[Pair, str, float, float | None]] = []
        first: dict[tuple[int, str], tuple[int, float]] = {}

        def refused(message: str, key: str | None = None) -> EvaluationDataError:
            return EvaluationDataError(message, path=path, row=number, key=key)

        for number, row in enumerate(read_rows(path), 1):
            if not isinstance(row, Mapping):
                raise refused("is no object")
            names = ", ".join(f"`{name}`" for name in row)
            row = {str(name).strip().casefold(): value for name, value in row.items()}
            text = row.get("instruction", row.get("prompt"))
            if text is None and "index" not in row:
                raise refused(f"has neither `instruction` nor `index`: its columns are {names}")
            pair = by_text.get(without_white_space(str(text))) or by_index.get(str(row.get("index")))
            if pair is None:
                raise refused("is about no pair of this run")
            preference, share = _preference(row.get("preference"), pair), row.get("probability")
            if not 1.0 <= preference <= 2.0:
                wanted = f"1 to 2, {pair.generator_2}, {pair.generator_1} or tie"
                raise refused(f"has no preference: write {wanted}", "preference")
            probability = None if share in (None, "") else _number(share)
            if probability is not None and not 0 < probability <= 1:
                raise refused("is no probability above 0", "probability")
            who = str(row.get("rater") or rater)
            at, other = first.setdefault((pair.index, who), (number, preference))
            if other != preference:
                what = f"has another preference of {who} about the pair of row {at}: keep one of them"
                raise refused(what, "preference")
            rows.append((pair, who, preference, probability))
        for pair, who, preference, probability in rows:
            await self.keep(pair, who, preference, probability)
        return len(rows)


def labels_of(store: CellStore) -> dict[tuple[str, str], Label]:
    """Return all labels of a run, by the keys of prompt and outputs."""
    return {key: _LABELS.validate_python(body) for key, body in store.scores(HUMAN)}


def _preference(given: object, pair: Pair) -> float:
    """From 1 to 2; anything else, or NaN, if the cell holds none."""
    text = str(given).strip()
    words = {"tie": DRAW, "draw": DRAW, pair.generator_1.casefold(): 1.0, pair.generator_2.casefold(): 2.0}
    return {pair.generator_1: 1.0, pair.generator_2: 2.0}.get(text, words.get(text.casefold(), _number(given)))


def _number(given: object) -> float:
    """A cell's number; NaN if it holds none."""
    try:
        return float(str(given).replace(",", "."))  # as spreadsheets write it where the comma is the decimal point
    except ValueError:
        return nan
