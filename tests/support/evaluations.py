"""Evaluations of scripted models, in a line each."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from moa._config.settings import Settings
from moa._mixture.schema import Mixture
from moa.evaluation._analysis.load_run import collect
from moa.evaluation._data.annotations import Judgement
from moa.evaluation._pipeline import Evaluation, aevaluate
from moa.evaluation._runner.preparing import Candidates
from moa.evaluation._runner.records import AnswerTrace, Record
from moa.evaluation._runner.run_directory import RunDirectory
from moa.providers._base import ModelRequest
from moa.providers._scripted import Script, ScriptedProvider
from tests.support.engines import mixture_of, scripted

PROMPTS = [{"prompt": f"question {number}", "category": "ab"[number % 2]} for number in range(6)]

VERDICT = json.dumps({"reason": "r", "verdict": "A"})


PRICE = {"input": 0, "output": 1_000_000}
"""A dollar for each token that is written; `answer` has two by the scripts' count."""


def paid(model: str) -> dict[str, object]:
    """An agent at this price."""
    return {"model": model, "price": PRICE, "max_tokens": 4}


def trio(**keys: Any) -> Mixture:
    """A mixture of two proposers and an aggregator."""
    return mixture_of(("one", "two"), **keys)


def models(**scripts: Script | Callable[[ModelRequest], Script]) -> ScriptedProvider:
    """Models of the endpoint `fake`: each answers with its own name unless told otherwise; `judge` prefers A."""
    usual: dict[str, Script | Callable[[ModelRequest], Script]] = {
        name: f"answer of {name}" for name in ("one", "two", "agg", "big")
    }
    return scripted({**usual, "judge": VERDICT, **scripts})


async def evaluated(
    out: Path, provider: ScriptedProvider | None = None, mixture: Candidates = None, **options: Any
) -> Evaluation:
    """Evaluate the trio, or another mixture, on six prompts."""
    options.setdefault("seed", 0)
    # Counted calls are those of the verdicts; what checks a judge has tests of its own.
    options.setdefault("judge_checks", False)
    return await aevaluate(
        options.pop("prompts", PROMPTS),
        mixture or trio(),
        out=out,
        settings=Settings(endpoints={}),
        providers={"fake": provider or models()},
        **options,
    )


def judged(**options: Any) -> dict[str, Any]:
    """The options of an evaluation with a baseline and a scripted judge."""
    return {"baseline": "fake/big", "judge": "pairwise", "judge_model": "fake/judge", **options}


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON file."""
    loaded: list[dict[str, Any]] = json.loads(path.read_text())
    return loaded


def asked(provider: ScriptedProvider) -> Mapping[str, int]:
    """How often each model was asked."""
    counts: dict[str, int] = {}
    for request in provider.requests:
        counts[request.model] = counts.get(request.model, 0) + 1
    return counts


def records(run: Path, system: str) -> Mapping[int, Record]:
    """A system's records in a run directory, by the prompt's index."""
    with collect(RunDirectory(run)).reading() as texts:
        return {record.index: record for record, _ in texts.answers(system)}


def traces(run: Path, system: str) -> Mapping[int, AnswerTrace]:
    """How a system's answers came about, by the prompt's index."""
    with collect(RunDirectory(run)).reading() as texts:
        return {record.index: trace for record, trace in texts.answers(system)}


class GivenTexts:
    """What systems wrote, of values: answers by system, without how they came about."""

    def __init__(self, *given: Iterable[Record]) -> None:
        self._records = {(one.system, one.index): one for some in given for one in some}

    def answers(self, system: str) -> Iterator[tuple[Record, AnswerTrace]]:
        return ((one, AnswerTrace()) for (name, _), one in self._records.items() if name == system)

    def records(self, systems: Sequence[str], index: int) -> Mapping[str, Record]:
        return {name: self._records[name, index] for name in systems if (name, index) in self._records}

    def trace(self, system: str, index: int) -> AnswerTrace:
        return AnswerTrace()

    def judgements(self, systems: Sequence[str], records: Mapping[str, Record]) -> Mapping[str, Judgement]:
        return {}
