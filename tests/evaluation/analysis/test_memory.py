"""What the analysis and a running evaluation hold: figures of every answer and verdict, and the text of none."""

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType

import numpy as np

from moa.evaluation._analysis.load_run import collect, table_in
from moa.evaluation._analysis.summary import summarize
from moa.evaluation._runner.run_directory import RunDirectory
from moa.evaluation._runner.store import CellStore
from tests.support.evaluations import evaluated, judged, models

ANSWER, REASON = "a text that an answer has", "a text that a judge wrote"


def texts_in(value: object) -> Iterator[str]:
    """Every text that can be reached from a value, other than by the globals of functions."""
    seen, left = set[int](), [value]
    while left:
        one = left.pop()
        if id(one) in seen or isinstance(one, FunctionType | ModuleType | type):
            continue
        seen.add(id(one))
        if isinstance(one, str):
            yield one
        left += one.tolist() if isinstance(one, np.ndarray) and one.dtype == np.object_ else gc.get_referents(one)


def held(value: object) -> set[str]:
    """Which of the planted texts are among them."""
    return {mark for text in texts_in(value) for mark in (ANSWER, REASON) if mark in text}


async def test_no_text_of_an_answer_or_a_verdict_is_held(tmp_path: Path) -> None:
    provider = models(
        agg=f"{ANSWER} of agg", big=f"{ANSWER} of big", judge=json.dumps({"reason": REASON, "verdict": "A"})
    )
    await evaluated(tmp_path, provider, measures=["regex:agg"], leave_one_out=True, **judged())
    folder = RunDirectory(tmp_path)

    found = collect(folder)
    store = CellStore(folder.cells)
    table = table_in(folder.manifest(), store)

    assert (held(found), held(summarize(found)), held(table)) == (set(), set(), set())
    # Both are where they were, and found where they are held.
    with found.reading() as texts:
        records = texts.records(("test", "fake/big"), 0)
        assert held(list(texts.judgements(("test",), records).values())) == {ANSWER, REASON}
    store.close()
    assert found.candidate.verdicts is not None
    assert found.candidate.verdicts.length.tolist() == [len(f"{ANSWER} of agg")] * 6
