"""`--until decided` from end to end: what it stops, what it says then, and what it leaves when it is called again."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest

from moa.errors import UsageError
from moa.evaluation._analysis.load_run import collect
from moa.evaluation._analysis.summary import summarize
from moa.evaluation._data.outputs import Output, write_outputs
from moa.evaluation._data.reference_data import BASELINE
from moa.evaluation._pipeline import Evaluation
from moa.evaluation._reporting import write_report
from moa.evaluation._runner.run_directory import RunDirectory
from moa.providers._base import ModelRequest
from moa.providers._scripted import Pause, Script, ScriptedProvider
from tests.evaluation.conftest import Reference
from tests.support.engines import user_text
from tests.support.evaluations import VERDICT, asked, evaluated, judged, models, trio

pytestmark = pytest.mark.slow


def _prefers(share: int) -> ScriptedProvider:
    """Models of which the baseline's loses in both orders, but for one prompt in `share`."""

    def verdict(request: ModelRequest) -> Script:
        text = request.messages[-1].text
        number = int(text.split("question ")[1].split()[0])
        is_first = text.index("answer of big") > text.index("_B>")
        return [Pause(0.001), VERDICT if is_first == (number % share > 0) else VERDICT.replace("A", "B")]

    return models(agg=lambda r: _long(r, "agg"), big=lambda r: _long(r, "big"), judge=verdict)


def _long(request: ModelRequest, name: str) -> Script:
    number = int(user_text(request).split("question ")[1].split()[0])
    return [f"answer of {name} " + "and more " * (20 + number * (7 if name == "agg" else 5) % 11)]


PROMPTS = [f"question {number} ?" for number in range(240)]


async def _stopped(folder: Path, provider: ScriptedProvider, until: str = "decided") -> Evaluation:
    return await evaluated(folder, provider, prompts=PROMPTS, until=until, concurrency=4, **judged())


@pytest.fixture(scope="module")
def decided_once(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    return asyncio.run(_stopped(tmp_path_factory.mktemp("decided"), _prefers(5)))


@pytest.fixture
def decided(decided_once: Evaluation, tmp_path: Path) -> Evaluation:
    """An evaluation that `--until decided` has stopped, in a folder of its own."""
    return replace(decided_once, folder=copytree(decided_once.folder, tmp_path / "decided"))


@pytest.fixture
async def good_enough(tmp_path: Path) -> Evaluation:
    return await _stopped(tmp_path, _prefers(5), "good-enough")


@pytest.mark.parametrize("until", ["decided", "good_enough"])
def test_a_report_after_stopping_early_rests_on_what_stopped_it_and_says_what_that_saved(
    until: str, request: pytest.FixtureRequest
) -> None:
    done: Evaluation = request.getfixturevalue(until)
    summary = write_report(done.folder).summary

    assert done.ended == "decided"
    assert done.settlement is not None
    assert summary.stopped is not None
    assert summary.stopped.settlement == done.settlement
    assert summary.stopped.saved > 0
    assert summary.conclusion.line == "your call", "better, at a cost that is not known"
    assert "; every interval is valid at every look" in summary.conclusion.proof
    assert f"; {len(done.settlement.prompts)} of 240 prompts" in summary.conclusion.proof
    told = json.loads((done.folder / "summary.json").read_text())["settlement"]
    assert (told["decided"], told["saved"]["prompts"]) == (True, summary.stopped.saved)
    for name in ("report.html", "report.md"):
        assert "left unjudged" in (done.folder / name).read_text()


async def test_a_decided_evaluation_asks_nothing_when_it_is_resumed(decided: Evaluation) -> None:
    again = _prefers(5)

    second = await _stopped(decided.folder, again)

    assert asked(again) == {}
    assert (second.ended, second.settlement) == ("decided", decided.settlement)


async def test_outputs_that_are_added_leave_what_was_decided(decided: Evaluation) -> None:
    await evaluated(decided.folder, _prefers(5), mixture=trio(name="other"), prompts=PROMPTS[:2])

    stopped = summarize(collect(RunDirectory(decided.folder))).stopped
    assert stopped is not None
    assert stopped.settlement == decided.settlement


async def test_a_decided_evaluation_that_goes_on_with_all_prompts_is_a_plain_one_again(tmp_path: Path) -> None:
    prompts = [f"question {number} ?" for number in range(60)]
    await evaluated(tmp_path, _prefers(60), prompts=prompts, until="decided", concurrency=2, **judged())

    done = await evaluated(tmp_path, _prefers(60), prompts=prompts, **judged())
    summary = summarize(collect(RunDirectory(tmp_path)))

    assert (done.ended, done.settlement, summary.stopped) == ("complete", None, None)
    assert "valid at every look" not in summary.conclusion.proof


async def test_both_sides_against_a_third_are_settled_by_their_difference_in_points(tmp_path: Path) -> None:
    prompts = [f"question {number} ?" for number in range(120)]
    outputs = [Output(instruction=prompt, output="old", generator="gpt4") for prompt in prompts]
    write_outputs(tmp_path / "gpt4.json", outputs)

    def verdict(request: ModelRequest) -> Script:
        text = request.messages[-1].text
        if "answer of big" in text:
            return VERDICT
        is_first = "answer of agg" in text and text.index("answer of agg") < text.index("old")
        return VERDICT if is_first else VERDICT.replace("A", "B")

    options = judged(reference=tmp_path / "gpt4.json")
    done = await evaluated(tmp_path / "run", models(judge=verdict), prompts=prompts, until="decided", **options)
    summary = summarize(collect(RunDirectory(tmp_path / "run")))

    assert done.settlement is not None
    assert "win rate +50.0 points against fake/big's, 95% interval +" in summary.conclusion.proof
    assert summary.conclusion.line == "judge cannot tell", "it takes what is shown first where the baseline is judged"


async def test_looking_takes_fifty_prompts(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are 6: leave it out"):
        await evaluated(tmp_path, until="decided", **judged())


async def test_the_official_length_control_is_looked_at_where_prompts_and_baseline_are_alpaca_evals(
    tmp_path: Path, reference: Reference
) -> None:
    prompts = list(reference.data.position)[:200]
    outputs = [
        Output(instruction=text, output=f"FORMER {'w' * (len(text) % 90)}", generator=BASELINE) for text in prompts
    ]
    write_outputs(tmp_path / "old.json", outputs)

    def verdict(request: ModelRequest) -> Script:
        text = request.messages[-1].text
        wins = len(text) % 6 > 0
        is_first = text.index("answer of agg") < text.rindex("FORMER")
        return VERDICT if is_first == wins else VERDICT.replace("A", "B")

    done = await evaluated(
        tmp_path / "run",
        models(judge=verdict),
        prompts=prompts,
        until="good-enough",
        data_dir=reference.folder,
        **judged(baseline=tmp_path / "old.json"),
    )
    summary = summarize(collect(RunDirectory(tmp_path / "run")), reference.data)

    assert done.settlement is not None
    assert (done.settlement.decided, done.ended) == (True, "decided")
    assert "length-controlled (LC) win rate" in summary.conclusion.proof


async def test_a_measure_of_one_output_stops_it_too_by_its_paired_difference(tmp_path: Path) -> None:
    prompts = [{"prompt": f"question {number} ?", "reference": "right"} for number in range(240)]
    right = {"agg": 5, "big": 2, "one": 9, "two": 9}

    def answer(name: str) -> Callable[[ModelRequest], Script]:
        return lambda request: "right" if int(user_text(request).split()[1]) % right[name] else "wrong"

    provider = models(**{name: answer(name) for name in right})
    options = {"prompts": prompts, "baseline": "fake/big", "measures": ["exact"], "until": "decided", "concurrency": 4}
    done = await evaluated(tmp_path, provider, **options)
    again = models()
    rest = await evaluated(tmp_path, again, **options)
    summary = write_report(tmp_path).summary

    assert (done.ended, done.settlement is not None and done.settlement.decided) == ("decided", True)
    assert (rest.settlement, asked(again)) == (done.settlement, {})
    assert summary.stopped is not None
    assert summary.stopped.saved > 0
    assert "; every interval is valid at every look" in summary.conclusion.proof
    assert f"; {summary.evidence.n if summary.evidence else 0} of 240 prompts" in summary.conclusion.proof
    assert summary.evidence is not None
    assert summary.evidence.n == len(summary.stopped.settlement.prompts)


async def test_stopping_early_needs_something_that_compares_with_a_baseline(tmp_path: Path) -> None:
    prompts = [{"prompt": f"question {number} ?", "reference": "right"} for number in range(60)]
    for options in ({"measures": ["exact"]}, {"baseline": "fake/big"}):
        with pytest.raises(UsageError, match="needs a --baseline, and a --judge or a --measure"):
            await evaluated(tmp_path, prompts=prompts, until="decided", **options)
